// Sheets: pages made of blocks (words, tables, figures, cards), drawn from data. Loaded when such a page is opened.
// Python side: pinlab/ui/scoreboard.py and pinlab/ui/limits.py. Text is only ever set as text.
(() => {
  "use strict";
  const { el, load, tag, words } = window.PinLab;

  // "(measured)", "(counted)" and "(modelled)" in a sentence become the tags that numbers wear elsewhere.
  function tagged(sentence) {
    return String(sentence).split(/\((measured|counted|modelled)\)/).map((part, i) => (i % 2 ? tag(part) : part));
  }

  // A cell is a string, or {text, tag, note, bar}: bar is {low, mid, high} as shares of the axis of its column.
  function cell(content) {
    if (typeof content !== "object" || content === null) return tagged(content ?? "");
    return [
      el("span", { class: "pl-cell" }, content.text, content.tag ? [" ", tag(content.tag)] : null),
      content.note ? el("small", { class: "pl-muted pl-fine" }, content.note) : null,
      content.bar ? whisker(content.bar) : null,
    ];
  }

  function whisker(bar) {
    const range = el("i", { class: "pl-whisker-range" }), point = el("b", {});
    const share = (value) => `${Math.round(1000 * Math.min(1, Math.max(0, value))) / 10}%`;
    range.style.insetInlineStart = share(bar.low);
    range.style.width = share(bar.high - bar.low);
    point.style.insetInlineStart = share(bar.mid);
    return el("span", { class: "pl-whisker", "aria-hidden": "true" }, range, point);
  }

  function table(block) {
    const row = (cells) => el("tr", { class: block.mark && cells[0] === block.mark ? "is-subject" : null },
      cells.map((content, i) => el(i ? "td" : "th", i ? { dir: "auto", "data-label": block.stack ? block.columns[i] : null } : { scope: "row", dir: "auto" }, cell(content))));
    return el("div", { class: block.stack ? "pl-scroll is-stacked" : "pl-scroll", tabindex: "0", role: "region", "aria-label": block.label },
      el("table", {}, el("thead", {}, el("tr", {}, block.columns.map((name) => el("th", { scope: "col" }, cell(name))))),
        el("tbody", {}, block.rows.map(row))));
  }

  // The texts of a figure take their colour from the style sheet, so that a change of theme needs no redraw.
  function figure(block) {
    const plot = el("div", { class: "pl-figure", role: "img", "aria-label": block.label });
    const narrow = window.innerWidth < 640;
    plot.style.height = `${block.height + (narrow ? 60 : 0)}px`;
    const draw = async () => {
      await load(words.urls.plotly);
      if (!plot.isConnected) return;
      const font = { family: getComputedStyle(plot).fontFamily, size: 12 };
      const layout = { ...block.figure.layout, font, autosize: true };
      if (narrow) {  // room for a long title and for a legend of many lines
        layout.xaxis = { ...layout.xaxis, title: { ...layout.xaxis.title, font: { size: 10 } } };
        layout.legend = { ...layout.legend, y: -0.35 };
      }
      await window.Plotly.react(plot, block.figure.data, layout,
        { displayModeBar: false, responsive: false });
      plot.dataset.drawn = "1";
    };
    // On a page that is not shown a figure has no width; it is drawn when it gets one, and again when that changes.
    let width = 0;
    new ResizeObserver(() => {
      if (!plot.offsetWidth || plot.offsetWidth === width) return;
      width = plot.offsetWidth;
      if (plot.dataset.drawn) window.Plotly.Plots.resize(plot);
      else draw();
    }).observe(plot);
    return el("figure", { class: "pl-figure-frame" }, block.caption ? el("figcaption", { class: "pl-muted" }, tagged(block.caption)) : null, plot);
  }

  function card(view, trigger) {
    return el("article", { class: `pl-limit is-${view.state}`, id: `limit-${view.id}`, "aria-labelledby": `limit-${view.id}-title` },
      el("h3", { id: `limit-${view.id}-title` }, view.title),
      view.figures.length
        ? el("dl", { class: "pl-limit-figures" }, view.figures.map((one) => el("div", {},
            el("dt", {}, one.label), el("dd", {}, el("b", {}, one.value), " ", tag(one.tag), one.note ? el("small", { class: "pl-muted pl-fine" }, one.note) : null))))
        : el("p", { class: "pl-limit-none" }, view.none),
      el("p", {}, view.words),
      ...view.notes.map((note) => el("p", { class: "pl-muted" }, note)),
      el("div", { class: "pl-limit-examples" }, view.examples.map((one) =>
        el("button", { type: "button", class: "pl-small pl-example", dir: "auto", onclick: () => trigger("show", { key: one.key }) }, one.label))));
  }

  const progress = (block) => {
    const bar = el("span", { class: "pl-progress", role: "progressbar", "aria-label": block.label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(block.share * 100) }, el("i", {}));
    bar.firstChild.style.width = `${block.share * 100}%`;
    return bar;
  };

  function draw(block, trigger) {
    const inside = (blocks) => blocks.map((one) => draw(one, trigger));
    const kinds = {
      h2: () => el("h2", {}, block.text),
      p: () => el("p", { class: block.soft ? "pl-muted" : null, dir: "auto" }, block.tag ? [tag(block.tag), " "] : null, tagged(block.text)),
      problem: () => el("p", { class: "pl-sheet-problem", role: "alert" }, el("b", { "aria-hidden": "true" }, "! "), block.text),
      code: () => el("pre", { tabindex: "0" }, el("code", {}, block.text)),
      verdict: () => el("section", { class: "pl-verdict", "aria-label": block.label },
        el("p", { class: "pl-verdict-line", dir: "auto" }, block.lines[0]), ...block.lines.slice(1).map((line) => el("p", { dir: "auto" }, tagged(line)))),
      legend: () => el("ul", { class: "pl-tags" }, block.items.map(([name, meaning]) => el("li", {}, tag(name), " ", meaning))),
      table: () => table(block),
      figure: () => figure(block),
      folded: () => el("details", { class: "pl-table" }, el("summary", {}, block.title), inside(block.blocks)),
      cards: () => el("div", { class: "pl-limits" }, block.cards.map((view) => card(view, trigger))),
      progress: () => progress(block),
    };
    return kinds[block.kind]();
  }

  window.PinLab.sheet = (root, props, trigger) => {
    const status = el("p", { class: "pl-sr", role: "status", "aria-live": "polite" });
    const body = el("div", { class: "pl-sheet-body" });
    root.replaceChildren(status, body);
    return () => {
      // A folded part that was opened stays open when its numbers change.
      const open = new Set(Array.from(body.querySelectorAll("details[open] > summary"), (summary) => summary.textContent));
      body.replaceChildren(...props.value.blocks.map((block) => draw(block, trigger)));
      for (const part of body.querySelectorAll("details")) if (open.has(part.firstChild.textContent)) part.open = true;
      if (props.value.status && props.value.status !== status.textContent) status.textContent = props.value.status;
    };
  };
})();
