// Draws PinLab's widgets from data. Text is only ever set as text: nothing in this file writes HTML.
// Python side: pinlab/ui/widgets.py. Words: pinlab/ui/text.py, handed over as window.PinLabText.
(() => {
  "use strict";
  if (window.PinLab) return;
  const words = window.PinLabText;

  // Gradio moves its lists by script, where the style sheet's rule for people who want no motion does not reach.
  const calm = matchMedia("(prefers-reduced-motion: reduce)"), animate = Element.prototype.animate;
  Element.prototype.animate = function (frames, options) {
    if (!calm.matches) return animate.call(this, frames, options);
    const given = typeof options === "object" ? options : {};
    return animate.call(this, frames, { ...given, duration: 0, delay: 0, endDelay: 0, iterations: 1 });
  };

  // ---- building blocks -------------------------------------------------------------------------
  // el("p", {class: "x", onclick: f}, "text", child, null): attributes by name, functions as listeners.
  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
    return node;
  }

  const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  const tag = (name) => name ? el("abbr", { class: `pl-tag is-${name}`, title: words.tags[name] }, name) : null;

  function picture(card, size = 96, lazy = false) {
    const image = el("img", {
      src: card.src, alt: card.alt, width: size, height: size, decoding: "async", loading: lazy ? "lazy" : "eager",
    });
    image.addEventListener("error", () => image.replaceWith(el("span", { class: "pl-missing" }, words.missing)), { once: true });
    return image;
  }

  // A bar of `share` (0 to 1) for one side.
  const meter = (share, side) => {
    const inner = el("i", { class: `pl-bar-fill is-side${side}` });
    inner.style.width = `${Math.round(1000 * Math.min(1, Math.max(0, share))) / 10}%`;
    return el("span", { class: "pl-bar", "aria-hidden": "true" }, inner);
  };

  // Screen readers hear at most one message in three seconds, the latest.
  function announcer(root) {
    const node = el("p", { class: "pl-sr", role: "status", "aria-live": "polite" });
    root.before(node);
    let timer = 0, next = "", last = 0;
    return (message) => {
      if (!message || message === next) return;
      next = message;
      clearTimeout(timer);
      timer = setTimeout(() => { last = Date.now(); node.textContent = next; }, Math.max(250, 3000 - (Date.now() - last)));
    };
  }

  // ---- one pin ---------------------------------------------------------------------------------
  const titled = (card) => card.title
    ? el("span", { dir: "auto", class: "pl-name" }, card.title)
    : el("em", { class: "pl-name pl-untitled" }, words.untitled);

  function twins(pin, on) {
    for (const tile of document.querySelectorAll(".pl-side .pl-tile")) {
      tile.classList.toggle("is-twin", on && tile.dataset.pin === pin);
    }
  }

  function tile(card, open) {
    const kinds = ["pl-card", card.held && "is-held", card.copy_of && "is-copy"].filter(Boolean).join(" ");
    return el("li", { class: kinds, "data-copy-of": card.copy_of },
      el("button", {
        type: "button", class: "pl-tile", "data-pin": card.pin, "aria-label": card.label || card.alt,
        onclick: () => open(card), onmouseenter: () => twins(card.pin, true), onmouseleave: () => twins(card.pin, false),
        onfocus: () => twins(card.pin, true), onblur: () => twins(card.pin, false),
      },
        el("span", { class: "pl-frame" }, picture(card),
          card.held ? el("span", { class: "pl-tick" }, el("b", {}, "✓"), el("span", { class: "pl-tick-words" }, words.held.replace("✓", ""))) : null,
          el("span", { class: "pl-credit" }, el("span", { dir: "auto" }, card.by), el("span", {}, card.license))),
        card.rank ? el("span", { class: "pl-rank" }, el("b", {}, String(card.rank)), moved(card), el("span", { class: "pl-score" }, card.score)) : null,
        titled(card)),
      card.fold ? foldButton(card) : null);
  }

  function facts(card) {
    const boards = card.boards.map((board) => el("li", {},
      el("span", { dir: "auto" }, board.title), el("span", { class: "pl-kind" }, board.kind)));
    if (card.more) boards.push(el("li", { class: "pl-muted" }, card.more));
    const row = (name, ...value) => [el("dt", {}, name), el("dd", { dir: "auto" }, ...value)];
    return el("dl", { class: "pl-facts" },
      row(words.author, card.author), row(words.license, card.license), row(words.source, card.source),
      card.score && card.rank ? row(words.score, card.score) : null,
      row(words.boards, boards.length ? el("ul", { class: "pl-boards" }, boards) : words.noBoards));
  }

  function openPin(card, side) {
    const close = el("button", { type: "button", class: "pl-close", "aria-label": words.close, onclick: () => dialog.close() }, "×");
    const dialog = el("dialog", { class: "pl-dialog", "aria-label": card.title || words.untitled },
      close,
      el("div", { class: "pl-dialog-picture" }, picture(card, 288)),
      el("div", { class: "pl-dialog-words" },
        el("h2", {}, titled(card)),
        side === undefined ? null : actions(card, () => dialog),
        card.held ? el("p", { class: "pl-held-line" }, el("b", {}, "✓ "), words.heldLong) : null,
        card.description ? el("p", { class: "pl-description", dir: "auto" }, card.description) : null,
        facts(card),
        side === undefined ? null : whySection(card, side)));
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    document.body.append(dialog);
    dialog.showModal();
  }

  // ---- ranks, folds, why, taste, follow-ups, uploads ---------------------------------------------
  const moved = (card) => card.move ? el("span", { class: `pl-move is-${card.move}`, "aria-hidden": "true" }, card.moved) : null;

  function foldButton(card) {
    return el("button", { type: "button", class: "pl-fold", "aria-expanded": "false", onclick: (event) => {
      const button = event.currentTarget, open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      for (const copy of button.closest(".pl-grid").children) {
        if (copy.dataset.copyOf === card.pin) copy.classList.toggle("is-shown", open);
      }
    } }, card.fold);
  }

  // What is done with a hit goes to the server through the `why` widget; its evidence comes back there.
  let send = () => {};

  function actions(card, dialog) {
    const act = (event, label) => el("button", { type: "button", class: "pl-small", onclick: () => {
      send(event, { id: card.pin });
      waiting(true);
      dialog().close();
    } }, label);
    const large = el("button", { type: "button", class: "pl-small", "aria-pressed": "false", onclick: () => {
      const on = dialog().classList.toggle("is-large");
      large.setAttribute("aria-pressed", String(on));
      large.textContent = on ? words.act.small : words.act.large;
    } }, words.act.large);
    return el("div", { class: "pl-actions" },
      act("like_pin", words.act.like), act("unlike_pin", words.act.unlike), act("search_pin", words.act.search), large);
  }

  function whySection(card, side) {
    const model = document.querySelector(`#${side ? "right" : "left"}-side h2`)?.firstChild.textContent ?? "";
    send("explain_hit", { id: card.pin, side });
    return el("section", { class: "pl-why-section", "data-pin": card.pin, "data-side": side, "aria-live": "polite" },
      el("h3", {}, words.why), el("p", { class: "pl-muted" }, fill(words.whyLoading, { model })));
  }

  function whyParts(view) {
    if (view.message) return [el("h3", {}, view.title || words.why), el("p", {}, view.message)];
    const said = view.said === undefined
      ? el("p", { class: "pl-muted" }, view.talk)
      : [el("h4", {}, view.saidTitle), el("blockquote", { dir: "auto" }, view.said), el("p", { class: "pl-muted" }, view.saidNote)];
    return [
      el("h3", {}, view.title),
      el("h4", {}, view.computed),
      el("p", {}, view.basis),
      view.bars.length ? el("ol", { class: "pl-evidence" }, view.bars.map(evidenceBar)) : null,
      el("p", { class: "pl-muted" }, view.note),
      el("h4", {}, view.wordsTitle),
      view.words.length ? el("ul", { class: "pl-boards" }, view.words.map((word) => el("li", { dir: "auto" }, word))) : null,
      view.near.length ? [el("h4", {}, view.nearTitle), el("ol", { class: "pl-near-pins" }, view.near.map((card) =>
        el("li", {}, picture(card, 56), el("span", { dir: "auto" }, card.title || words.untitled), el("small", {}, card.likeness))))] : null,
      said,
    ].flat(Infinity).filter(Boolean);
  }

  function evidenceBar(row) {
    const bar = el("i", { class: row.share < 0 ? "is-against" : "is-for" });
    bar.style.width = `${Math.min(1, Math.abs(row.share)) * 50}%`;
    const thumb = row.src ? el("img", { src: row.src, alt: "", width: 32, height: 32 }) : el("span", { class: "pl-no-picture", "aria-hidden": "true" }, "“”");
    return el("li", {}, thumb,
      el("span", { class: "pl-evidence-words" }, el("span", { dir: "auto" }, row.label), el("small", {}, row.detail)),
      el("span", { class: "pl-evidence-bar", "aria-hidden": "true" }, bar), el("b", {}, row.value));
  }

  // Gradio makes each picture of the question a list item that is in no list, all of one name. Its field comes and goes
  // as Gradio likes, so the document is watched; looking for a picture costs nothing where there is none.
  // Its long lists of options scroll, so browsers would let the Tab key stop at them, and lose it when they close.
  new MutationObserver(() => {
    document.querySelectorAll("#words .thumbnail-wrapper").forEach((item, i) => {
      item.setAttribute("role", "group");
      item.setAttribute("aria-label", fill(words.upload, { number: i + 1 }));
    });
    for (const list of document.querySelectorAll("ul.option-list")) list.tabIndex = -1;
  }).observe(document, { childList: true, subtree: true });

  const refining = {
    why(root, props, trigger) {
      send = trigger;
      return () => {
        const view = props.value;
        for (const section of document.querySelectorAll(".pl-why-section")) {
          if (section.dataset.pin === view.pin && section.dataset.side === String(view.side)) section.replaceChildren(...whyParts(view));
        }
      };
    },

    tray(root, props, trigger) {
      const press = (event, label) => label ? el("button", { type: "button", class: "pl-small", onclick: () => { waiting(true); trigger(event, {}); } }, label) : null;
      return () => {
        const view = props.value;
        root.replaceChildren(
          el("div", { class: "pl-tray-head" }, el("h2", { class: "pl-h" }, view.title), press("undo_taste", view.undo), press("clear_taste", view.clear)),
          ...(view.groups.length ? view.groups.map((group) => el("div", { class: `pl-tray-group is-${group.kind}` },
            el("h3", {}, group.title),
            el("ul", {}, group.pins.map((card) => el("li", {},
              picture(card, 44),
              el("button", { type: "button", class: "pl-take-out", "aria-label": card.remove, title: card.remove, onclick: () => { waiting(true); trigger("take_out", { id: card.pin }); } }, "×"))))))
            : [el("p", { class: "pl-muted" }, view.empty)]),
          el("p", { class: "pl-muted" }, view.groups.length ? view.note : ""));
      };
    },

    conversation(root, props, trigger) {
      root.setAttribute("aria-live", "polite");
      return () => {
        const view = props.value;
        if (!view.turns.length) { root.replaceChildren(); return; }
        root.replaceChildren(
          el("div", { class: "pl-tray-head" }, el("h2", { class: "pl-h" }, view.title),
            el("button", { type: "button", class: "pl-small", onclick: () => { waiting(true); trigger("start_over", {}); } }, view.reset)),
          el("ol", { class: "pl-turns" }, [view.first, ...view.turns].filter(Boolean).map((turn) => el("li", { dir: "auto" }, turn))),
          el("p", {}, view.effect),
          ...view.notes.map((note) => el("p", { class: "pl-muted" }, note)));
      };
    },

    uploads(root, props) {
      return () => {
        const view = props.value;
        if (!view.rows.length) { root.replaceChildren(); return; }
        root.replaceChildren(el("h2", { class: "pl-uploads-title" }, view.title),
          el("ul", { class: "pl-uploads-rows" }, view.rows.map((row) => el("li", { class: `is-${row.kind}` },
            el("p", {}, el("b", {}, `${row.name}: `), row.words),
            row.far ? el("p", { class: "pl-far" }, el("b", { "aria-hidden": "true" }, "! "), row.far) : el("p", { class: "pl-muted" }, row.near),
            el("span", { class: "pl-near-pictures" }, row.pins.map((card) => picture(card, 40)))))),
          ...view.notes.map((note) => el("p", { class: "pl-muted" }, note)));
      };
    },
  };

  // Arrows move over the hits of one side, Home and End to its ends; "/" goes to the search for boards.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typing = event.target.closest?.("input, textarea, select, [contenteditable='true']");
    if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
      const box = document.querySelector("#board input");
      if (box?.offsetParent) { event.preventDefault(); box.focus(); }
      return;
    }
    const grid = event.target.closest?.(".pl-tile") && event.target.closest(".pl-grid");
    if (!grid) return;
    const tiles = [...grid.querySelectorAll(".pl-tile")].filter((one) => one.offsetParent);
    const at = tiles.indexOf(event.target.closest(".pl-tile"));
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: tiles.length - 1 };
    const next = tiles[steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

  // ---- widgets: each gets (root, props, trigger) and returns the function that redraws ------------
  const widgets = {
    header(root, props) {
      return () => {
        const view = props.value;
        root.replaceChildren(
          el("div", { class: "pl-brand" }, el("h1", {}, view.title), el("p", {}, view.tagline)),
          el("div", { class: "pl-chips" }, view.chips.map((chip) => el("span", { class: "pl-chip" }, chip)),
            el("button", { type: "button", class: "pl-theme", "aria-label": words.theme, title: words.theme, onclick: switchTheme }, "◐")));
      };
    },

    note(root, props) {
      return () => root.replaceChildren(
        ...(props.value.title ? [el("h2", { class: "pl-h" }, props.value.title)] : []),
        ...props.value.lines.map((line) => el("p", { class: "pl-muted" }, line)));
    },

    strip(root, props) {
      return () => {
        const view = props.value;
        root.replaceChildren(
          el("p", { class: "pl-strip-words" }, view.lines.map((line) => el("span", {}, line + " "))),
          el("ol", { class: "pl-strip-pins", "aria-label": view.label }, view.pins.map((card) => tile(card, (c) => openPin(c)))));
      };
    },

    problem(root, props) {
      root.setAttribute("role", "alert");
      return () => { if (props.value.messages.length) waiting(false); root.replaceChildren(...props.value.messages.map((message) => el("p", {}, el("b", { "aria-hidden": "true" }, "! "), message))); };
    },

    overall(root, props, trigger) {
      return () => {
        const view = props.value;
        root.replaceChildren(
          el("h2", { class: "pl-h" }, view.title),
          el("ul", {}, view.lines.map((line) => el("li", {}, line.text, " ", tag(line.tag)))),
          el("button", { type: "button", class: "pl-small", onclick: () => { trigger("open_score", {}); window.scrollTo(0, 0); } }, view.link));
      };
    },

    asked(root, props) {
      return () => root.replaceChildren(
        el("h2", { class: "pl-h", dir: "auto" }, props.value.words), el("span", { class: "pl-muted" }, props.value.overlap));
    },

    side(root, props) {
      const head = el("header", { class: "pl-side-head" });
      const message = el("p", { class: "pl-side-message" });
      const list = el("ol", { class: "pl-grid" });
      let drawn = "";
      root.append(head, message, list);
      for (let i = 0; i < 10; i += 1) list.append(el("li", { class: "pl-card is-empty" }, el("span", { class: "pl-frame" })));
      let seen = "";
      return () => {
        const view = props.value;
        // By the time of the answer: Gradio hands over a copy each time, and two answers may be alike.
        if (view.at && view.at !== seen) { seen = view.at; shown = view.key; answered(root); }
        const found = view.found;
        head.replaceChildren(
          el("h2", {}, view.title, el("span", { class: "pl-muted pl-tokens" }, view.tokens)),
          el("p", { class: "pl-summary" }, view.summary),
          el("p", { class: "pl-found" }, found && found.share !== null ? meter(found.share, root.closest(".pl-right") ? 1 : 0) : null,
            el("span", {}, found ? found.words : "")));
        // A question that was chosen after this answer was asked for, by the server's clock, and is another one.
        const stale = view.state === "ok" && props.now && props.now.at > view.at && props.now.key !== view.key;
        root.dataset.state = stale ? "stale" : view.state;
        list.setAttribute("aria-label", `${view.place}: ${view.title}`);
        message.textContent = stale ? (waitingFor.has(column(root)) ? words.asking : words.stale) : view.message;
        const side = root.closest(".pl-right") ? 1 : 0;
        // The same hits are not drawn again: a tile that the keyboard is on would be lost.
        const hits = view.state === "ok" ? JSON.stringify(view.hits) : "";
        if (hits && hits !== drawn) list.replaceChildren(...view.hits.map((card) => tile(card, (c) => openPin(c, side))));
        drawn = hits;
        if (view.state === "failed" || view.state === "empty") {
          list.replaceChildren(...Array.from({ length: 10 }, () => el("li", { class: "pl-card is-empty" }, el("span", { class: "pl-frame" }))));
        }
      };
    },

    cost(root, props) {
      return () => {
        const view = props.value;
        answered(root); // no two costs are alike, so this is drawn with every answer
        const stages = el("div", { class: "pl-stages", role: "img", "aria-label": `${words.stages}: ${view.stages.map((s) => `${s.label} ${s.ms}`).join(", ")}` },
          view.stages.map((stage) => {
            const part = el("i", { class: `pl-stage is-${stage.name}`, title: `${stage.label}: ${stage.ms}` });
            part.style.flexGrow = String(Math.max(stage.share, 0.002));
            return part;
          }));
        root.replaceChildren(
          el("h3", {}, view.title),
          el("dl", { class: "pl-cost-rows" }, view.rows.map((row) => el("div", {}, el("dt", {}, row.label), el("dd", {}, el("b", {}, row.value), tag(row.tag))))),
          ...(view.stages.length ? [stages, el("ul", { class: "pl-legend" }, view.stages.map((stage) =>
            el("li", {}, el("i", { class: `pl-stage is-${stage.name}`, "aria-hidden": "true" }), `${stage.label} `, el("b", {}, stage.ms))))] : []),
          el("p", { class: "pl-muted" }, view.price || ""),
          el("p", { class: "pl-muted" }, view.note));
      };
    },

    totals(root, props) {
      const announce = announcer(root);
      return () => {
        const view = props.value;
        root.replaceChildren(
          el("h2", { class: "pl-h" }, view.label),
          view.blocks.length
            ? el("div", { class: "pl-blocks" }, view.blocks.map(block))
            : el("p", { class: "pl-muted pl-empty" }, view.message));
        announce(view.blocks.map((b) => [b.title, b.big, ...(b.lines || []).map((l) => `${l.label} ${l.value}`)].filter(Boolean).join(" ")).join(". "));
      };
    },

    run(root, props) {
      const announce = announcer(root);
      return () => {
        const view = props.value;
        root.dataset.state = view.state;
        const bar = el("span", { class: "pl-progress", role: "progressbar", "aria-label": view.title, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(view.share * 100) }, el("i", {}));
        bar.firstChild.style.width = `${view.share * 100}%`;
        const parts = [el("h2", { class: "pl-h" }, view.title), bar, el("p", { class: "pl-run-message", dir: "auto" }, view.message)];
        if (view.lines.length) {
          const thirds = el("span", { class: "pl-thirds", "aria-hidden": "true" }, view.bar.map((share, i) => {
            const part = el("i", { class: ["is-win", "is-tie", "is-loss"][i] });
            part.style.flexGrow = String(share);
            return part;
          }));
          parts.push(el("div", { class: "pl-run-lines" }, view.lines.map(line)),
            el("p", { class: "pl-run-difference" }, el("b", {}, view.difference)), thirds, el("p", {}, view.counts),
            el("p", { class: "pl-muted" }, view.note));
        }
        if (view.failed) parts.push(el("p", { class: "pl-muted" }, view.failed));
        root.replaceChildren(...parts);
        announce([view.message, view.difference, view.counts].filter(Boolean).join(". "));
      };
    },

    pin(root, props, trigger) {
      return () => {
        const view = props.value;
        if (!view.pin) {
          root.replaceChildren(el("p", { class: "pl-muted pl-empty" }, view.message));
          return;
        }
        root.replaceChildren(
          el("div", { class: "pl-pin-picture" }, picture(view.pin, 224)),
          el("h2", {}, titled(view.pin)),
          view.pin.description ? el("p", { class: "pl-description", dir: "auto" }, view.pin.description) : "",
          facts(view.pin),
          el("h3", {}, view.title),
          el("ol", { class: "pl-near" }, view.near.map((card) => tile(card, () => trigger("pick", { id: card.pin })))));
      };
    },

    doc(root, props) {
      const draw = {
        h2: (block) => el("h2", {}, block.text),
        p: (block) => el("p", {}, block.text),
        code: (block) => el("pre", { tabindex: "0" }, el("code", {}, block.text)),
        list: (block) => el("ul", {}, block.items.map((item) => el("li", {}, item))),
        facts: (block) => el("dl", { class: "pl-facts" }, block.rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
        table: (block) => el("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": block.label },
          el("table", {}, el("thead", {}, el("tr", {}, block.columns.map((name) => el("th", { scope: "col" }, name)))),
            el("tbody", {}, block.rows.map((row) => el("tr", {}, row.map((cell, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, cell))))))),
      };
      return () => root.replaceChildren(...props.value.map((block) => draw[block.kind](block)));
    },

    // The Scoreboard and the page of limits; drawn by sheet.js.
    sheet(root, props, trigger) {
      let redraw = null;
      load(words.urls.sheet).then(() => { redraw = window.PinLab.sheet(root, props, trigger); redraw(); root.dataset.drawn = "1"; });
      return () => { if (redraw) redraw(); };
    },

    map(root, props, trigger) {
      root.append(el("p", { class: "pl-muted pl-empty" }, words.loading));
      let redraw = null;
      Promise.all(words.urls.map.slice(0, -1).map(load)).then(() => load(words.urls.map.at(-1))).then(() => { redraw = window.PinLab.map(root, props, trigger); redraw(); });
      return () => { if (redraw) redraw(); };
    },
  };

  const line = (row) => el("p", { class: "pl-total-line" },
    el("span", { class: `pl-dot is-side${row.side ?? ""}`, "aria-hidden": "true" }), el("span", {}, row.label), el("span", {}, el("b", {}, row.value), " ", tag(row.tag)),
    row.share === undefined ? null : meter(row.share, row.side),
    row.detail ? el("small", {}, row.detail, " ", tag(row.detail_tag)) : null,
    row.usd ? el("small", {}, row.usd + " ", tag("modelled")) : null);

  const block = (view) => el("section", { class: `pl-block is-${view.id}`, id: `total-${view.id}` },
    el("h3", {}, view.title, " ", tag(view.tag)),
    view.big ? el("p", { class: "pl-big" }, view.big) : null,
    ...(view.lines || []).map(line),
    el("p", { class: "pl-muted" }, view.note));

  // ---- page --------------------------------------------------------------------------------------
  const loaded = {};
  function load(url) {
    loaded[url] ??= new Promise((resolve, reject) => {
      document.head.append(el("script", { src: url, onload: resolve, onerror: () => reject(new Error(`cannot load ${url}`)) }));
    });
    return loaded[url];
  }

  function switchTheme() {
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("pinlab-theme", dark ? "dark" : "light"); } catch { /* storage may be blocked in a frame */ }
  }

  function rememberedTheme() {
    if (new URLSearchParams(location.search).has("__theme")) return;
    let theme = null;
    try { theme = localStorage.getItem("pinlab-theme"); } catch { /* as above */ }
    if (theme) document.body.classList.toggle("dark", theme === "dark");
  }

  // Old answers are dimmed when new ones take a while. Not at once: drawing costs time on the machine that answers,
  // when that is this one. Each side is waited for by itself: the faster one may be shown before the other.
  let patience = 0;
  const waitingFor = new Set(); // columns
  const column = (node) => node.closest(".pl-column");
  const busy = (where, on) => where?.querySelector(".pl-grid")?.setAttribute("aria-busy", String(on));
  function answered(node) {
    waitingFor.delete(column(node));
    busy(column(node), false);
  }
  function waiting(on) {
    clearTimeout(patience);
    const columns = document.querySelectorAll(".pl-column");
    waitingFor.clear();
    for (const one of columns) busy(one, false);
    if (!on) return;
    for (const one of columns) waitingFor.add(one);
    patience = setTimeout(() => { for (const one of waitingFor) busy(one, true); }, 400);
  }
  document.addEventListener("click", (event) => { if (event.target.closest("#go")) waiting(true); });

  // The board's field was left. A board that was picked is asked about at once; where the answers on the page are about
  // it already, the server is told of none (`ask_board`).
  let shown = ""; // the key of the answers on the page
  function asking(board, ...more) {
    if (shown.startsWith(`${board ?? ""}|`)) return [null, ...more];
    if (board) waiting(true);
    return [board ?? "", ...more];
  }

  // A question broke off: the answers on the page stay what they are (`tell_failure` in pinlab/ui/asking.py).
  const gaveUp = () => waiting(false);

  // What the browser keeps of the page's fields; read again by pinlab/ui/kept.py.
  const kept = (board, asked, left, right, count, seed) =>
    ({ board, text: asked?.text ?? "", pictures: Boolean(asked?.files?.length), left, right, count, seed });

  // Gradio's dropdown filters on key presses only, and typing into it adds to the chosen board's name. So the name is
  // selected on entry, and pasted or dictated text counts as a key press too.
  const picker = (event) => event.target instanceof HTMLInputElement && event.target.closest("#board");
  document.addEventListener("focusin", (event) => { if (picker(event)) requestAnimationFrame(() => event.target.select()); });
  document.addEventListener("input", (event) => {
    if (picker(event)) event.target.dispatchEvent(new KeyboardEvent("keydown", { key: "Unidentified", bubbles: true }));
  });

  // A phone offers its camera where a field says that it takes pictures, as all of ours do. Gradio's own setting would also refuse a file by
  // its name, before PinLab can look into it and say what is wrong.
  document.addEventListener("pointerdown", () => {
    for (const input of document.querySelectorAll("input[type=file]")) input.accept = "image/*";
  }, true);

  function mount(kind, element, props, watch, names, trigger) {
    const root = element.querySelector(".pl-root");
    const draw = (widgets[kind] || refining[kind])(root, props, trigger);
    const update = () => { if (props.value !== null && props.value !== undefined) { draw(); root.dataset.ready = "1"; } };
    update();
    watch(names, update);
    if (kind === "header") rememberedTheme();
  }

  window.PinLab = { mount, el, fill, picture, load, words, tag, asking, gaveUp, kept };
})();
