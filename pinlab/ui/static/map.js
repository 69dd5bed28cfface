// The Map page: all pins as WebGL points through plotly.js, in two linked maps. Loaded when the app is opened; the
// points and plotly.js only when the page is. Data: map-data.js. Everything around the maps: map-parts.js.
(() => {
  "use strict";
  const { el, fill, picture, load, words, columns, fromBase64, Rows, mapParts } = window.PinLab;
  const say = words.map;
  const SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "x", "circle-open", "diamond-open"];
  const MARKS = {
    query: { symbol: "square-open", size: 15, dark: "#ffffff", light: "#111111" },
    held: { symbol: "star", size: 13, dark: "#58c9bc", light: "#0c6b64" },
    left: { symbol: "triangle-left-open", size: 17, dark: "#a9b7ff", light: "#3d4aa8" },
    right: { symbol: "triangle-right-open", size: 17, dark: "#ffb27a", light: "#b04a08" },
  };
  const FOUND = { symbol: "circle-open", size: 12, dark: "#f4e55a", light: "#9c2f14" };
  const MANY = 20_000; // from here on points are drawn smaller
  const THUMBNAILS = 60, THUMBNAIL = 36;

  function hasWebgl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl") || canvas.getContext("webgl2"));
  }

  const isDark = () => document.body.classList.contains("dark");
  const ink = (style) => isDark() ? style.dark : style.light;

  // Code of each row -> rows of each code, in catalog order.
  function rowsByCode(codes, count) {
    const sizes = new Uint32Array(count), at = new Uint32Array(count);
    for (let row = 0; row < codes.length; row += 1) sizes[codes[row]] += 1;
    const rows = Array.from(sizes, (size) => new Uint32Array(size));
    for (let row = 0; row < codes.length; row += 1) { const code = codes[row]; rows[code][at[code]] = row; at[code] += 1; }
    return rows;
  }

  function gather(array, rows) {
    const out = new Float32Array(rows.length);
    for (let i = 0; i < rows.length; i += 1) out[i] = array[rows[i]];
    return out;
  }

  // plotly reads names as a small HTML dialect; a name from the catalog must stay text.
  const plain = (name) => name.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // ---- what is drawn --------------------------------------------------------------------------------
  // The categories of the chosen colouring: [{key, name, rows, colour, shape}].
  function categories(state) {
    const { points, overlap } = state.data, { colour, board } = state.view;
    const [names, codes] = colour === "board" ? [board.names, fromBase64(board.codes)]
      : colour === "overlap" ? [overlap.names.overlap, overlap.columns.overlap] : [points.names[colour], points.columns[colour]];
    const palette = words.colours[colour][isDark() ? 1 : 0], ordered = colour === "overlap";
    return rowsByCode(codes, names.length).map((rows, i) => ({
      key: `${colour}:${i}`, name: names[i], rows, colour: palette[i % palette.length],
      shape: ordered ? "circle" : SHAPES[(i + Math.floor(i / SHAPES.length)) % SHAPES.length],
    })).filter((group) => group.rows.length);
  }

  function marks(state) {
    const found = state.found ? [{ key: "found", name: say.found, rows: state.found.list(), style: FOUND }] : [];
    return [...Object.entries(MARKS).map(([key, style]) => ({ key, name: say.marks[key], rows: state.view.marks[key], style })), ...found]
      .filter((mark) => mark.rows.length).map((mark) => ({ ...mark, colour: ink(mark.style), shape: mark.style.symbol }));
  }

  function traces(state, space) {
    const { columns: found } = state.data.points;
    const x = found[`${space}.x`], y = found[`${space}.y`], many = state.data.points.count > MANY;
    const trace = (rows, name, marker) => ({
      type: "scattergl", mode: "markers", x: gather(x, rows), y: gather(y, rows), customdata: rows, name: plain(name), hoverinfo: "none", marker,
    });
    const open = (mark) => trace(mark.rows, mark.name, { size: mark.style.size, color: mark.colour, symbol: mark.shape, line: { width: 2, color: mark.colour } });
    const shown = (group) => !state.hidden.has(group.key);
    const groups = state.groups.filter(shown), size = many ? 3 : 6;
    const drawn = groups.map((group) => trace(group.rows, group.name, { size, color: group.colour, symbol: group.shape, opacity: state.count ? 0.13 : 0.75 }));
    if (state.count) {
      for (const group of groups) {
        const rows = group.rows.filter((row) => state.selected.has(row));
        if (rows.length) drawn.push(trace(rows, group.name, { size: size + 2, color: group.colour, symbol: group.shape, opacity: 1 }));
      }
    }
    drawn.push(...state.marks.filter(shown).map(open));
    if (state.pinned !== null) {
      const style = { size: 24, dark: "#ffffff", light: "#111111" };
      drawn.push(trace([state.pinned], "", { size: style.size, color: ink(style), symbol: "circle-open", line: { width: 3, color: ink(style) } }));
    }
    const uploads = (state.placed?.items || []).filter((item) => item.at[space]);
    if (uploads.length) {
      drawn.push({
        type: "scattergl", mode: "markers+text", x: uploads.map((item) => item.at[space][0]), y: uploads.map((item) => item.at[space][1]),
        text: uploads.map((item) => plain(item.label)), textposition: "top center", hoverinfo: "skip", name: "",
        textfont: { color: isDark() ? "#ffffff" : "#111111", size: 12 },
        marker: { size: 17, symbol: "star", color: "#d55e00", line: { width: 2, color: isDark() ? "#ffffff" : "#111111" } },
      });
    }
    return drawn;
  }

  function layout(root, state, space, height) {
    const style = getComputedStyle(root), colour = (name) => style.getPropertyValue(name).trim();
    const axis = { visible: false, zeroline: false, showgrid: false };
    const range = state.ranges[space];
    return {
      height, autosize: true, hovermode: "closest", hoverdistance: 12, showlegend: false, dragmode: state.tool === "pan" ? "pan" : false,
      margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style.fontFamily, size: 12, color: colour("--pl-ink") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--pl-muted"), activecolor: colour("--pl-accent") },
      xaxis: { ...axis, range: range.x.slice() }, yaxis: { ...axis, range: range.y.slice(), scaleanchor: "x" },
    };
  }

  const whole = ({ x, y, half }) => ({ x: [x - half, x + half], y: [y - half, y + half] });

  // Where a row's point is inside its plot, and whether that is inside the axes.
  function place(plot, points, space, row) {
    const { xaxis, yaxis } = plot._fullLayout;
    const x = xaxis.c2p(points.columns[`${space}.x`][row]), y = yaxis.c2p(points.columns[`${space}.y`][row]);
    return { x: xaxis._offset + x, y: yaxis._offset + y, inside: x >= 0 && y >= 0 && x <= xaxis._length && y <= yaxis._length };
  }

  // ---- the hover card -----------------------------------------------------------------------------
  function hoverCard(root) {
    const card = el("div", { class: "pl-hover", hidden: true });
    root.append(card);
    return {
      show(state, row, event) {
        if (!state.names) return;
        card.replaceChildren(picture({ src: state.src(row), alt: "" }, 96), el("span", { dir: "auto" }, state.names.columns.titles(row) || words.untitled));
        card.hidden = false;
        const box = root.getBoundingClientRect();
        card.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 14, box.width - 150))}px`;
        const below = event.clientY - box.top + 14;
        card.style.top = `${below + 170 > box.height ? Math.max(0, below - 190) : below}px`;
      },
      hide() { card.hidden = true; },
    };
  }

  // ---- one map --------------------------------------------------------------------------------------
  function panel(state, space) {
    const plot = el("div", { class: "pl-plot", "data-space": space.id });
    const over = el("div", { class: "pl-over", "aria-hidden": "true" }), ring = el("i", { class: "pl-ring", hidden: true });
    const thumbs = el("div", {}), still = el("img", { class: "pl-still", alt: "", width: 640, height: 640, fetchpriority: "low" });
    over.append(thumbs, ring);
    const figure = el("figure", { "data-space": space.id }, el("figcaption", {}, space.title), el("div", { class: "pl-plot-frame" }, plot, over), still);

    function mark(row) {
      const at = row === null || !plot._fullLayout ? null : place(plot, state.data.points, space.id, row);
      ring.hidden = !at?.inside;
      ring.dataset.row = String(row);
      if (at) { ring.style.left = `${at.x}px`; ring.style.top = `${at.y}px`; }
    }

    // Pictures of the pins in view, once few enough are.
    function thumbnails() {
      thumbs.replaceChildren();
      if (!plot._fullLayout || !state.names) return;
      const x = state.data.points.columns[`${space.id}.x`], y = state.data.points.columns[`${space.id}.y`];
      const [left, right] = plot._fullLayout.xaxis.range, [low, high] = plot._fullLayout.yaxis.range;
      const seen = [];
      for (const group of state.groups) {
        if (state.hidden.has(group.key)) continue;
        for (const row of group.rows) {
          if (x[row] < left || x[row] > right || y[row] < low || y[row] > high) continue;
          if (seen.length === THUMBNAILS) return;
          seen.push([row, group.colour]);
        }
      }
      thumbs.append(...seen.map(([row, colour]) => {
        const at = place(plot, state.data.points, space.id, row);
        const image = picture({ src: state.src(row), alt: "" }, THUMBNAIL);
        image.className = "pl-thumb";
        image.style.cssText = `left:${at.x - THUMBNAIL / 2}px;top:${at.y - THUMBNAIL / 2}px;border-color:${colour}`;
        return image;
      }));
    }

    const hide = () => { thumbs.replaceChildren(); mark(null); };
    return { figure, plot, over, still, mark, thumbnails, hide, wired: false };
  }

  // ---- the widget ---------------------------------------------------------------------------------
  window.PinLab.map = (root, props, trigger) => {
    const state = {
      data: null, names: null, view: null, hidden: new Set(), groups: [], marks: [], selected: null, count: 0, found: null, placed: null,
      pinned: null, ranges: {}, tool: matchMedia("(pointer: fine)").matches ? "pan" : "",
      src: (row) => `pins/${encodeURIComponent(state.names.columns.ids(row))}.webp?h=${hex(state.names.columns.hashes, row)}`,
    };
    const hex = (bytes, row) => Array.from(bytes.subarray(6 * row, 6 * row + 6), (b) => b.toString(16).padStart(2, "0")).join("");
    const webgl = hasWebgl();
    const actions = {
      choose(row) { state.pinned = row; trigger("pick", { id: state.names.columns.ids(row) }); draw(); },
      open(pin) { trigger("pick", { id: pin }); },
      ask() { trigger("ask", {}); window.scrollTo(0, 0); },
      keep(title) { trigger("keep", { title }); },
      forget(title) { trigger("forget", { title }); },
      tick(row, on) { const rows = copy(); rows.set(row, on); select(rows); },
      select(bits) { select(new Rows(state.data.points.count, bits)); },
      clear() { select(new Rows(state.data.points.count)); },
    };
    const messages = el("div", { class: "pl-map-messages", role: "status" });
    const search = el("input", { type: "search", class: "pl-search", maxlength: 200, placeholder: say.search, "aria-label": say.search, oninput: () => { clearTimeout(search.timer); search.timer = setTimeout(() => trigger("search", { words: search.value }), 150); } });
    const found = el("span", { class: "pl-muted", role: "status", "aria-live": "polite" });
    const selectFound = mapParts.button(say.selectFound, () => select(new Rows(state.data.points.count, state.found.base64())), { hidden: true });
    const toolButtons = Object.entries(say.tools).map(([tool, label]) => mapParts.button(label, () => { state.tool = state.tool === tool ? "" : tool; draw(); }, { "data-tool": tool }));
    const zoomButtons = Object.entries(say.zoom).map(([way, label]) => mapParts.button(label, () => zoom(way), { "data-zoom": way }));
    const tools = el("div", { class: "pl-tools pl-map-tools" }, search, found, selectFound,
      webgl ? el("span", { class: "pl-tools", role: "group", "aria-label": say.toolsLabel }, toolButtons) : null, webgl ? el("span", { class: "pl-tools" }, zoomButtons) : null);
    const legend = mapParts.legend(state, () => draw());
    const stage = el("div", { class: "pl-map-stage", role: "group", "aria-label": say.label });
    const selection = mapParts.selection(state, actions), placed = mapParts.placedList(actions), twin = mapParts.table(state, actions);
    root.replaceChildren(tools, legend.node, stage, messages, placed.node, selection.node, twin.node);
    const hover = hoverCard(stage), panels = {}, seen = {};
    let ready = null, busy = false, again = false, hovered = null;

    const copy = () => new Rows(state.data.points.count, state.selected.base64());

    function select(rows) {
      state.selected = rows;
      state.count = rows.list().length;
      trigger("choose", { bits: state.count ? rows.base64() : "" });
      draw();
    }

    async function prepare() {
      const [points] = await Promise.all([columns("ui/map/points.bin"), webgl ? load(words.urls.plotly) : null]);
      state.data = { points, overlap: null };
      state.selected = new Rows(points.count);
      // Titles and pictures come after the first picture of the maps.
      columns("ui/map/names.bin").then((names) => { state.names = names; draw(); }).catch(failed);
    }

    function failed(error) { messages.replaceChildren(el("p", { class: "pl-map-problem" }, say.columnsFailed)); throw error; }

    const every = (act) => state.view.spaces.forEach((space) => panels[space.id] && act(panels[space.id], space.id));

    function point(row, event) {
      if (row === hovered) return;
      hovered = row;
      every((one) => one.mark(row));
      if (row === null) hover.hide(); else hover.show(state, row, event);
    }

    function zoom(way) {
      every((one, space) => {
        if (way === "whole") state.ranges[space] = whole(state.view.frame);
        else {
          const { xaxis, yaxis } = one.plot._fullLayout, factor = way === "in" ? 0.25 : 1;
          const half = [xaxis, yaxis].map(({ range }) => (range[1] - range[0]) * factor);
          const { columns: c } = state.data.points, at = state.pinned;
          const [x, y] = at === null || way === "out" ? [xaxis, yaxis].map(({ range }) => (range[0] + range[1]) / 2) : [c[`${space}.x`][at], c[`${space}.y`][at]];
          state.ranges[space] = { x: [x - half[0], x + half[0]], y: [y - half[1], y + half[1]] };
        }
      });
      draw();
    }

    function wire(one, space) {
      const { plot } = one;
      new ResizeObserver(() => { if (plot.data && plot.offsetWidth) window.Plotly.Plots.resize(plot).then(one.thumbnails); }).observe(one.figure);
      // What a lasso went around: the points that are drawn, on this map. Its outline is not kept: the marks say it.
      const around = (outline, press) => {
        const { xaxis, yaxis } = plot._fullLayout, { columns: c } = state.data.points;
        const edges = outline.map(([x, y]) => [xaxis.p2c(x - xaxis._offset), yaxis.p2c(y - yaxis._offset)]);
        const rows = press.shiftKey ? copy() : new Rows(state.data.points.count);
        for (const group of [...state.groups, ...state.marks]) {
          if (!state.hidden.has(group.key)) for (const row of mapParts.inside(edges, c[`${space}.x`], c[`${space}.y`], group.rows)) rows.set(row);
        }
        select(rows);
      };
      const clicked = (row) => { if (row !== null && state.names) actions.choose(row); };
      mapParts.freehand(plot, one.over, { active: () => state.tool === "lasso", under: () => hovered, drawn: around, clicked });
      plot.on("plotly_hover", (event) => point(event.points[0].customdata ?? null, event.event));
      plot.on("plotly_unhover", () => point(null));
      plot.on("plotly_click", (event) => { if (event.points[0].customdata !== undefined && state.names) actions.choose(event.points[0].customdata); });
      plot.on("plotly_relayouting", one.hide);
      plot.on("plotly_relayout", (event) => {
        const names = Object.keys(event);
        if (!names.some((name) => name.includes("axis."))) return;
        const { xaxis, yaxis } = plot._fullLayout;
        const reset = names.some((name) => name.endsWith("autorange"));
        state.ranges[space] = reset ? whole(state.view.frame) : { x: xaxis.range.slice(), y: yaxis.range.slice() };
        if (reset) draw(); else one.thumbnails();
      });
    }

    async function drawPanel(space) {
      const one = panels[space.id], { plot } = one;
      const height = Math.round(Math.max(300, Math.min(640, window.innerHeight * 0.7, plot.offsetWidth)));
      state.ranges[space.id] ??= whole(state.view.frame);
      await window.Plotly.react(plot, traces(state, space.id), layout(root, state, space.id, height), {
        displaylogo: false, responsive: false, scrollZoom: true, displayModeBar: true, doubleClick: "autosize", modeBarButtons: [["toImage"]],
        plotGlPixelRatio: Math.min(2, window.devicePixelRatio), // plotly's own is 2: four times the pixels of most screens
      });
      if (!one.wired) { one.wired = true; wire(one, space.id); }
      one.thumbnails();
      plot.dataset.drawn = String(Number(plot.dataset.drawn || 0) + 1);
    }

    function drawStill(one, space) {
      const src = `${space.still}&theme=${isDark() ? "dark" : "light"}`;
      one.still.alt = fill(say.still, { title: space.title, colour: say.colourNames[state.view.colour] });
      if (one.still.getAttribute("src") !== src) one.still.src = src;
    }

    async function once() {
      state.view = props.value;
      ready ??= prepare();
      await ready.catch(failed);
      const notes = [...(webgl ? [] : [say.noWebgl]), ...state.view.messages];
      if (state.view.colour === "overlap") {
        if (!state.data.overlap) messages.replaceChildren(el("p", { class: "pl-muted" }, say.overlapWait));
        state.data.overlap ??= await columns("ui/map/overlap.bin").catch(failed);
        if (state.data.overlap.message) { notes.unshift(state.data.overlap.message); state.view = { ...state.view, colour: "source" }; }
      }
      messages.replaceChildren(...notes.map((note) => el("p", { class: "pl-muted" }, note)));
      state.groups = categories(state);
      state.marks = marks(state);
      legend.draw([...state.groups, ...state.marks]);
      toolButtons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.tool === state.tool)));
      stage.dataset.webgl = String(webgl);
      stage.dataset.tool = state.tool;
      for (const space of state.view.spaces) panels[space.id] ??= panel(state, space);
      const wanted = state.view.spaces.map((space) => panels[space.id].figure);
      for (const figure of stage.querySelectorAll("figure")) if (!wanted.includes(figure)) figure.remove();
      wanted.forEach((figure, i) => { if (stage.children[i] !== figure) stage.insertBefore(figure, stage.children[i]); });
      stage.dataset.panels = String(wanted.length);
      if (webgl) for (const space of state.view.spaces) await drawPanel(space);
      else twin.node.open = true;
      twin.draw();
      for (const space of state.view.spaces) drawStill(panels[space.id], space);
      window.PinLab.mapPoint = (space, row) => {
        const box = panels[space].plot.getBoundingClientRect(), at = place(panels[space].plot, state.data.points, space, row);
        return { x: box.left + at.x, y: box.top + at.y };
      };
    }

    // One picture at a time; what changes meanwhile is in the next one.
    async function draw() {
      if (!props.value || !root.isConnected) return;
      if (busy) { again = true; return; }
      busy = true;
      try { do { again = false; await once(); } while (again); } finally { busy = false; }
    }

    function update() {
      const changed = Object.fromEntries(["value", "found", "chosen", "own", "placed"].map((name) => [name, seen[name] !== props[name]]));
      for (const name of Object.keys(changed)) seen[name] = props[name];
      if (changed.found && props.found && props.found.words.trim() === search.value.trim()) {
        state.found = props.found.bits ? new Rows(0, props.found.bits) : null;
        found.textContent = props.found.count;
        selectFound.hidden = !state.found || !state.found.list().length;
        twin.first();
      }
      // An answer to an older selection is not shown.
      if (changed.chosen && props.chosen && (props.chosen.message || props.chosen.bits === (state.count ? state.selected.base64() : ""))) selection.draw(props.chosen);
      if (changed.own) selection.drawOwn(props.own);
      if (changed.placed) { state.placed = props.placed; placed.draw(props.placed); }
      if (changed.value || changed.found || changed.placed) draw();
    }

    selection.draw(null);
    new MutationObserver(() => draw()).observe(document.body, { attributeFilter: ["class"] });
    return update;
  };
})();
