// The map: all pins as WebGL points through plotly.js, and the same pins as a table. Loaded when the page is opened.
(() => {
  "use strict";
  const { el, fill, picture, load, words } = window.PinLab;
  // Okabe and Ito's colours, which people with any colour vision can tell apart; a shape goes with each.
  const LIGHT = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8f98", "#b59f00"];
  const DARK = ["#56b4e9", "#e69f00", "#2fc79b", "#e59ac4", "#4d8fd6", "#f0804a", "#9aa3ab", "#d6c13f"];
  const SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "x", "circle-open", "diamond-open"];
  const MARKS = {
    query: { symbol: "square-open", size: 15, dark: "#ffffff", light: "#111111" },
    held: { symbol: "star", size: 13, dark: "#58c9bc", light: "#0c6b64" },
    left: { symbol: "triangle-left-open", size: 17, dark: "#a9b7ff", light: "#3d4aa8" },
    right: { symbol: "triangle-right-open", size: 17, dark: "#ffb27a", light: "#b04a08" },
  };
  const PAGE = 25;

  function decode(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  }

  function hasWebgl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl") || canvas.getContext("webgl2"));
  }

  const isDark = () => document.body.classList.contains("dark");
  const pick = (array, rows) => Array.from(rows, (row) => array[row]);

  const palette = () => (isDark() ? DARK : LIGHT);

  // Rows by category: [{name, rows, colour, shape}], in drawing order.
  function categories(data, view) {
    if (view.colour === "board") {
      const own = new Set(view.groups.board), near = new Set(view.groups.group);
      const rest = data.ids.map((_, row) => row).filter((row) => !own.has(row) && !near.has(row));
      return [
        { name: words.groups.rest, rows: rest, colour: isDark() ? "#4b565c" : "#c4c9c7", shape: "circle" },
        { name: words.groups.group, rows: view.groups.group, colour: palette()[1], shape: "diamond" },
        { name: `${words.groups.board}${view.board ? ` (${view.board})` : ""}`, rows: view.groups.board, colour: palette()[0], shape: "circle" },
      ].filter((group) => group.rows.length);
    }
    const column = data[view.colour];
    return column.names.map((name, i) => ({
      name, colour: palette()[i % LIGHT.length], shape: SHAPES[i % SHAPES.length],
      rows: data.ids.map((_, row) => row).filter((row) => column.of[row] === i),
    })).filter((group) => group.rows.length);
  }

  // plotly reads legend text as a small HTML dialect; a name from the catalog must stay text.
  const plain = (name) => name.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function traces(data, view, space, selected) {
    const x = data.xy[space].x, y = data.xy[space].y;
    const points = (rows, name, marker) => ({
      type: "scattergl", mode: "markers", x: pick(x, rows), y: pick(y, rows), customdata: rows, name: plain(name), hoverinfo: "none", marker,
    });
    const all = categories(data, view).map((group) => points(group.rows, `${group.name} · ${group.rows.length}`,
      { size: 6, color: group.colour, symbol: group.shape, opacity: 0.75 }));
    for (const [name, style] of Object.entries(MARKS)) {
      const rows = view.marks[name];
      if (!rows.length) continue;
      const colour = isDark() ? style.dark : style.light;
      all.push(points(rows, words.marks[name], { size: style.size, color: colour, symbol: style.symbol, line: { width: 2, color: colour } }));
    }
    if (selected !== null) {
      const colour = isDark() ? "#ffffff" : "#111111";
      all.push({ ...points([selected], "", { size: 24, color: colour, symbol: "circle-open", line: { width: 3, color: colour } }), showlegend: false });
    }
    return all;
  }

  function layout(root, height) {
    const style = getComputedStyle(root), colour = (name) => style.getPropertyValue(name).trim();
    const axis = { visible: false, zeroline: false, showgrid: false };
    return {
      height, autosize: true, uirevision: "kept", hovermode: "closest", hoverdistance: 12,
      dragmode: matchMedia("(pointer: fine)").matches ? "pan" : false,
      margin: { l: 4, r: 4, t: 4, b: 4 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style.fontFamily, size: 12, color: colour("--pl-ink") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--pl-muted"), activecolor: colour("--pl-accent") },
      xaxis: axis, yaxis: { ...axis, scaleanchor: "x" }, legend: { orientation: "h", y: -0.02, yanchor: "top", itemsizing: "constant" },
    };
  }

  // ---- the hover card -----------------------------------------------------------------------------
  function hoverCard(root) {
    const card = el("div", { class: "pl-hover", hidden: true });
    root.append(card);
    return {
      show(data, row, event) {
        card.replaceChildren(picture({ src: data.src(row), alt: "" }, 96), el("span", { dir: "auto" }, data.titles[row] || words.untitled));
        card.hidden = false;
        const box = root.getBoundingClientRect();
        card.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 14, box.width - 150))}px`;
        const below = event.clientY - box.top + 14;
        card.style.top = `${below + 170 > box.height ? Math.max(0, below - 190) : below}px`;
      },
      hide() { card.hidden = true; },
    };
  }

  // ---- the table ----------------------------------------------------------------------------------
  function table(state, choose) {
    const body = el("tbody", {}), count = el("span", { class: "pl-muted", "aria-live": "polite" });
    const search = el("input", { type: "search", class: "pl-search", placeholder: words.search, "aria-label": words.search, oninput: () => { start = 0; draw(); } });
    const turn = (by) => () => { start += by; draw(); };
    const back = el("button", { type: "button", class: "pl-small", onclick: turn(-PAGE) }, words.back);
    const next = el("button", { type: "button", class: "pl-small", onclick: turn(PAGE) }, words.next);
    let start = 0;
    const marked = (row) => Object.keys(words.marks).filter((name) => state.view.marks[name].includes(row)).map((name) => words.marks[name]);

    function draw() {
      const { data } = state;
      const wanted = search.value.trim().toLocaleLowerCase();
      // Marked pins first, in the order of the legend; then as in the catalog.
      const place = new Map(Object.keys(words.marks).reverse().flatMap((name, i, all) => state.view.marks[name].map((row) => [row, all.length - i])));
      const order = (row) => place.get(row) ?? 99;
      const rows = data.ids.map((_, row) => row).filter((row) => !wanted || data.titles[row].toLocaleLowerCase().includes(wanted));
      rows.sort((a, b) => order(a) - order(b) || a - b);
      start = Math.max(0, Math.min(start, rows.length - 1));
      const shown = rows.slice(start, start + PAGE);
      body.replaceChildren(...shown.map((row) => el("tr", {},
        el("th", { scope: "row" }, el("button", { type: "button", class: "pl-link", dir: "auto", onclick: () => choose(row) },
          picture({ src: data.src(row), alt: "" }, 32, true), data.titles[row] || words.untitled)),
        el("td", {}, data.source.names[data.source.of[row]]), el("td", { dir: "auto" }, data.biggest[row]), el("td", {}, marked(row).join(", ")))));
      count.textContent = rows.length ? fill(words.page, { from: start + 1, to: start + shown.length, total: rows.length }) : words.noMatch;
      back.disabled = start === 0;
      next.disabled = start + PAGE >= rows.length;
    }

    const details = el("details", { class: "pl-table" }, el("summary", {}, words.table),
      el("div", { class: "pl-table-tools" }, search, count, back, next),
      el("div", { class: "pl-scroll" }, el("table", {}, el("thead", {}, el("tr", {}, words.columns.map((name) => el("th", { scope: "col" }, name)))), body)));
    details.addEventListener("toggle", () => { if (details.open) draw(); });
    return { details, draw: () => { if (details.open) draw(); } };
  }

  // ---- the widget ---------------------------------------------------------------------------------
  window.PinLab.map = (root, props, trigger) => {
    const state = { data: null, view: null, selected: null, ready: null };
    const messages = el("div", { class: "pl-map-messages" });
    const stage = el("div", { class: "pl-map-stage", role: "group", "aria-label": words.mapLabel });
    const webgl = hasWebgl();
    const choose = (row) => { state.selected = row; trigger("pick", { id: state.data.ids[row] }); draw(); };
    const twin = table(state, choose);
    root.replaceChildren(messages, stage, twin.details);
    const hover = hoverCard(stage);
    const panels = {};

    async function prepare(url) {
      const [answer] = await Promise.all([fetch(url), webgl ? load(words.urls.plotly) : null]);
      const data = await answer.json();
      for (const space of Object.values(data.xy)) { space.x = decode(space.x); space.y = decode(space.y); }
      data.src = (row) => `pins/${encodeURIComponent(data.ids[row])}.webp?h=${data.hashes[row]}`;
      state.data = data;
    }

    function panel(space) {
      const plot = el("div", { class: "pl-plot", "data-space": space.id });
      const figure = el("figure", {}, el("figcaption", {}, space.title), plot);
      new ResizeObserver(() => { if (plot.data && plot.offsetWidth) window.Plotly.Plots.resize(plot); }).observe(figure);
      return { figure, plot, wired: false };
    }

    async function drawPanel(space) {
      const { plot } = panels[space.id];
      const height = Math.round(Math.max(320, Math.min(640, window.innerHeight * 0.7, plot.offsetWidth * 1.1)));
      await window.Plotly.react(plot, traces(state.data, state.view, space.id, state.selected), layout(root, height), {
        displaylogo: false, responsive: false, scrollZoom: true, displayModeBar: true,
        modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
      });
      if (!panels[space.id].wired) {
        panels[space.id].wired = true;
        plot.on("plotly_hover", (event) => hover.show(state.data, event.points[0].customdata, event.event));
        plot.on("plotly_unhover", () => hover.hide());
        plot.on("plotly_click", (event) => choose(event.points[0].customdata));
      }
      plot.dataset.drawn = String(Number(plot.dataset.drawn || 0) + 1);
    }

    async function draw() {
      state.view = props.value;
      if (!state.view || !root.isConnected) return;
      state.ready ??= prepare(state.view.url);
      await state.ready;
      const notes = webgl ? state.view.messages : [words.noWebgl, ...state.view.messages];
      messages.replaceChildren(...notes.map((note) => el("p", { class: "pl-muted" }, note)));
      twin.draw();
      if (!webgl) { twin.details.open = true; return; }
      for (const space of state.view.spaces) panels[space.id] ??= panel(space);
      const wanted = state.view.spaces.map((space) => panels[space.id].figure);
      const present = Array.from(stage.querySelectorAll("figure"));
      for (const figure of present) if (!wanted.includes(figure)) figure.remove();
      for (const figure of wanted) if (!figure.isConnected) stage.insertBefore(figure, stage.querySelector(".pl-hover"));
      stage.dataset.panels = String(wanted.length);
      for (const space of state.view.spaces) await drawPanel(space);
      window.PinLab.mapPoint = (space, row) => screenPoint(panels[space].plot, state.data, space, row);
    }

    new MutationObserver(() => draw()).observe(document.body, { attributeFilter: ["class"] });
    return draw;
  };

  // Where a row's point is on the screen: for tests, and for whoever wants to point at one.
  function screenPoint(plot, data, space, row) {
    const { xaxis, yaxis } = plot._fullLayout;
    const box = plot.getBoundingClientRect();
    return {
      x: box.left + xaxis._offset + xaxis.c2p(data.xy[space].x[row]),
      y: box.top + yaxis._offset + yaxis.c2p(data.xy[space].y[row]),
    };
  }
})();
