// The parts around the maps: legend, selection with its gallery and downloads, boards of one's own, uploads, the table.
(() => {
  "use strict";
  const { el, fill, picture, words } = window.PinLab;
  const say = words.map;
  const PAGE = 25;
  const button = (label, onclick, attributes = {}) => el("button", { type: "button", class: "pl-small", onclick, ...attributes }, label);
  const titled = (title) => title ? el("span", { dir: "auto", class: "pl-name" }, title) : el("em", { class: "pl-name pl-untitled" }, words.untitled);

  // ---- legend: one button for each category, pressed while its pins are shown -----------------------
  function legend(state, changed) {
    const list = el("ul", { class: "pl-map-legend", "aria-label": say.legend });
    return {
      node: list,
      draw(groups) {
        const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
        list.replaceChildren(...groups.map((group) => {
          const sign = el("i", { class: `pl-sign is-${group.shape}`, "aria-hidden": "true" });
          sign.style.color = group.colour;
          const name = `${group.name} · ${group.rows.length.toLocaleString("en")}`;
          return el("li", {}, el("button", {
            type: "button", class: "pl-key", dir: "auto", "data-key": group.key, "aria-pressed": String(!state.hidden.has(group.key)),
            onclick: () => { if (!state.hidden.delete(group.key)) state.hidden.add(group.key); changed(); },
          }, sign, name));
        }));
        if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
      },
    };
  }

  // ---- selection ------------------------------------------------------------------------------------
  async function download(bits, kind, complain) {
    let answer = null;
    try {
      answer = await fetch(`ui/selection.${kind}`, { method: "POST", body: bits });
    } catch { /* the server may be gone; said below */ }
    if (!answer?.ok) { complain(say.downloadFailed); return; }
    const url = URL.createObjectURL(await answer.blob());
    el("a", { href: url, download: `pins.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  function selection(state, actions) {
    const count = el("p", { class: "pl-selected", role: "status", "aria-live": "polite" });
    const message = el("p", { class: "pl-map-problem", role: "alert" });
    const complain = (text) => { message.textContent = text; };
    const ask = button("", () => actions.ask(), { id: "map-ask" });
    const title = el("input", { type: "text", class: "pl-search", maxlength: 60, placeholder: say.ownTitle, "aria-label": say.ownTitle });
    const own = el("form", { class: "pl-tools", onsubmit: (event) => { event.preventDefault(); actions.keep(title.value); } }, title, el("button", { class: "pl-small" }, say.ownButton));
    const gallery = el("ol", { class: "pl-gallery" }), more = el("p", { class: "pl-muted" });
    const tools = el("div", { class: "pl-tools" }, ask,
      Object.entries(say.download).map(([kind, label]) => button(label, () => download(state.selected.bits, kind, complain))),
      button(say.clear, () => actions.clear()), own);
    const boards = el("div", { class: "pl-own" });
    const node = el("section", { class: "pl-selection", "aria-label": say.selection }, el("h2", { class: "pl-h" }, say.selection), count, message, tools, gallery, more, boards);

    function card(one) {
      return el("li", { class: "pl-card" }, el("button", { type: "button", class: "pl-tile", "data-pin": one.pin, "aria-label": one.alt, onclick: () => actions.open(one.pin) },
        el("span", { class: "pl-frame" }, picture(one, 96, true)), titled(one.title),
        el("span", { class: "pl-by", dir: "auto" }, one.by), el("span", { class: "pl-by" }, one.license)));
    }
    return {
      node,
      draw(view) {
        const some = Boolean(view && view.count);
        count.textContent = some ? view.words : say.selectionEmpty;
        complain(view?.message || "");
        tools.hidden = !some;
        ask.textContent = view?.ask || "";
        more.textContent = view?.more || "";
        gallery.replaceChildren(...(some ? view.cards.map(card) : []));
      },
      drawOwn(view) {
        if (!view) return;
        complain(view.message);
        if (view.added) title.value = "";
        boards.replaceChildren(...(view.boards.length ? [el("h3", {}, say.ownLabel), el("ul", { class: "pl-tools" }, view.boards.map((board) => el("li", { class: "pl-own-board" },
          button(`${board.title} · ${board.words}`, () => actions.select(board.bits), { dir: "auto" }),
          button("×", () => actions.forget(board.title), { "aria-label": fill(say.ownDrop, { title: board.title }) }))))] : []));
      },
    };
  }

  // ---- uploads ----------------------------------------------------------------------------------------
  function placedList(actions) {
    const node = el("section", { class: "pl-placed", role: "status", "aria-live": "polite", hidden: true });
    return {
      node,
      draw(view) {
        node.hidden = !view;
        if (!view) return;
        node.replaceChildren(
          ...view.messages.map((text) => el("p", { class: "pl-map-problem" }, text)),
          ...view.items.map((item) => el("p", {}, el("b", { class: "pl-star", "aria-hidden": "true" }, "★ "), item.words, " ",
            button(item.nearest.title || words.untitled, () => actions.open(item.nearest.pin), { dir: "auto", class: "pl-link" }))),
          el("p", { class: "pl-muted" }, view.note));
      },
    };
  }

  // ---- the table: the same pins, for keyboards and screen readers ----------------------------------------
  function table(state, actions) {
    const body = el("tbody", {}), count = el("span", { class: "pl-muted", "aria-live": "polite" });
    const which = el("select", { class: "pl-search", "aria-label": say.rowsLabel, onchange: () => { start = 0; draw(); } },
      Object.entries(say.rows).map(([value, label]) => el("option", { value }, label)));
    const turn = (by) => () => { start += by; draw(); };
    const back = button(say.back, turn(-PAGE)), next = button(say.next, turn(PAGE));
    let start = 0, column = 4, falling = false, order = null, ordered = "";
    // The colour's name of each pin, and whether the legend shows it: as on the maps.
    let grouped = null, group = null;
    function regroup() {
      if (grouped === state.groups) return;
      grouped = state.groups;
      if (column === 5) ordered = ""; // another board has other groups by the same names
      group = new Uint16Array(state.data.points.count);
      grouped.forEach(({ rows }, code) => rows.forEach((row) => { group[row] = code; }));
    }
    const marked = (row) => Object.keys(say.marks).filter((name) => state.view.marks[name].includes(row)).map((name) => say.marks[name]);
    const heads = say.columns.map((name, i) => el("th", { scope: "col" }, i === 0 ? name
      : el("button", { type: "button", class: "pl-sort", "aria-label": `${name}, ${fill(say.sort, { column: name })}`, onclick: () => { falling = column === i && !falling; column = i; start = 0; draw(); } }, name)));

    // Row -> what the chosen column sorts by. Marked pins first, in the order of the legend; ties as in the catalog.
    function sortKey() {
      const { names } = state, { points } = state.data;
      if (column === 1) return (row) => names.columns.titles(row) || "\uffff";
      if (column === 2) return (row) => points.columns.source[row];
      if (column === 3) return (row) => names.columns.biggest[row];
      if (column === 5) return (row) => group[row];
      const place = new Map(Object.keys(say.marks).reverse().flatMap((name, i, every) => state.view.marks[name].map((row) => [row, every.length - i])));
      return (row) => place.get(row) ?? 99;
    }

    function sorted() {
      const now = `${column}|${falling}|${column === 4 ? JSON.stringify(state.view.marks) : ""}`;
      if (now === ordered) return order;
      const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true }), key = sortKey(), sign = falling ? -1 : 1;
      const keys = Array.from({ length: state.data.points.count }, (_, row) => key(row));
      const compare = column === 1 ? (a, b) => collator.compare(keys[a], keys[b]) : (a, b) => keys[a] - keys[b];
      order = Array.from(keys, (_, row) => row).sort((a, b) => sign * compare(a, b) || a - b);
      ordered = now;
      return order;
    }

    function row(i) {
      const { points } = state.data, { names } = state, title = names.columns.titles(i);
      const tick = el("input", { type: "checkbox", "aria-label": fill(say.selectRow, { title: title || words.untitled }), onchange: (event) => actions.tick(i, event.target.checked) });
      tick.checked = Boolean(state.selected.has(i));
      return el("tr", {}, el("td", {}, tick),
        el("th", { scope: "row" }, el("button", { type: "button", class: "pl-link", dir: "auto", onclick: () => actions.choose(i) },
          picture({ src: state.src(i), alt: "" }, 32, true), title || words.untitled)),
        el("td", { dir: "auto" }, points.names.source[points.columns.source[i]]), el("td", { dir: "auto" }, names.columns.boards(names.columns.biggest[i])), el("td", {}, marked(i).join(", ")), el("td", { dir: "auto" }, grouped[group[i]].name));
    }

    function draw() {
      if (!details.open || !state.names || !state.view) return;
      regroup();
      const found = state.found, only = which.value === "selected", hides = grouped.map(({ key }) => state.hidden.has(key));
      const rows = sorted().filter((i) => (!found || found.has(i)) && (!only || state.selected.has(i)) && !hides[group[i]]);
      start = Math.max(0, Math.min(start, rows.length - 1));
      const shown = rows.slice(start, start + PAGE);
      const focused = [...body.querySelectorAll("input")].indexOf(document.activeElement);
      body.replaceChildren(...shown.map(row));
      if (focused >= 0) body.querySelectorAll("input")[Math.min(focused, shown.length - 1)]?.focus();
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? (falling ? "descending" : "ascending") : "none"));
      count.textContent = rows.length ? fill(say.page, { from: start + 1, to: start + shown.length, total: rows.length.toLocaleString("en") }) : only ? say.noneSelected : say.noMatch;
      back.disabled = start === 0;
      next.disabled = start + PAGE >= rows.length;
    }

    const details = el("details", { class: "pl-table" }, el("summary", {}, say.table),
      el("div", { class: "pl-tools" }, which, count, back, next),
      el("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": say.table }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body)));
    details.addEventListener("toggle", draw);
    return { node: details, draw, first: () => { start = 0; } };
  }

  // ---- the lasso: drawn here and not by plotly, which looks at every point at each move of the mouse ----------
  const SMALL = 5; // pixels: a press that moves less is a click

  // Whether each point is inside a closed outline (even-odd rule). xs, ys: coordinates; rows: which of them; outline: [x, y] pairs.
  function inside(outline, xs, ys, rows) {
    const left = Math.min(...outline.map(([x]) => x)), right = Math.max(...outline.map(([x]) => x));
    const low = Math.min(...outline.map(([, y]) => y)), high = Math.max(...outline.map(([, y]) => y));
    return rows.filter((row) => {
      const x = xs[row], y = ys[row];
      if (x < left || x > right || y < low || y > high) return false;
      let odd = false;
      for (let i = 0, j = outline.length - 1; i < outline.length; j = i, i += 1) {
        const [ax, ay] = outline[i], [bx, by] = outline[j];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
      return odd;
    });
  }

  // Takes over the mouse, pen or finger inside a plot's axes while `active()`.
  // drawn(outline in pixels of the plot, event of the press), clicked(what `under()` was at the press): what it led to.
  function freehand(plot, over, { active, under, drawn, clicked }) {
    const space = plot.querySelector("svg").namespaceURI, canvas = document.createElementNS(space, "svg"), line = document.createElementNS(space, "polygon");
    canvas.setAttribute("class", "pl-lasso");
    canvas.append(line);
    over.append(canvas);
    let outline = null, press = null, pressed = null;
    const at = (event) => { const box = plot.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    const show = () => line.setAttribute("points", (outline || []).map((point) => point.join(",")).join(" "));
    const ours = (event) => active() && event.button === 0 && event.target.closest?.(".nsewdrag");
    // plotly starts its own drag with these.
    for (const kind of ["mousedown", "touchstart"]) plot.addEventListener(kind, (event) => { if (active() && event.target.closest?.(".nsewdrag")) event.stopPropagation(); }, true);
    plot.addEventListener("pointerdown", (event) => {
      if (!ours(event)) return;
      press = event;
      pressed = under(); // plotly sees the mouse leave once it is captured
      outline = [at(event)];
      plot.setPointerCapture(event.pointerId);
    }, true);
    plot.addEventListener("pointermove", (event) => {
      if (!outline || event.pointerId !== press.pointerId) return;
      outline.push(at(event));
      show();
    }, true);
    const end = (event) => {
      if (!outline || event.pointerId !== press.pointerId) return;
      const whole = outline, [x, y] = whole[0];
      outline = null;
      show();
      if (event.type === "pointercancel") return;
      if (whole.every(([px, py]) => Math.hypot(px - x, py - y) < SMALL)) clicked(pressed); else drawn(whole, press);
    };
    plot.addEventListener("pointerup", end, true);
    plot.addEventListener("pointercancel", end, true);
  }

  Object.assign(window.PinLab, { mapParts: { legend, selection, placedList, table, button, inside, freehand } });
})();
