// Draws the charts of a page from the data in it, when they come into sight, and lets the stretch that they show be
// chosen: by buttons, by keys, by dragging over a chart, and with Ctrl and the wheel. Charts of one axis move together.
"use strict";

(() => {
  const told = JSON.parse(document.getElementById("chart-data").textContent);
  const drawn = new Map(); // id -> the view of a chart that was drawn
  const axes = new Map(); // name -> what is shown of it
  const STEP = 1.6;
  const AXIS = 28; // pixels below a plot
  const CLOSEST = 1e-6; // of the whole axis

  for (const [id, chart] of Object.entries(told.charts)) {
    if (chart.axis && !axes.has(chart.axis)) {
      axes.set(chart.axis, { ids: [], spec: chart.specs[0], whole: chart.whole, shown: null });
    }
    if (chart.axis) axes.get(chart.axis).ids.push(id);
  }

  function wholeOf(axis) {
    return axis.whole[axis.spec] ?? Object.values(axis.whole)[0];
  }

  function shownOf(axis) {
    return axis.shown ?? wholeOf(axis);
  }

  function heightOf(chart, name) {
    return chart.height ?? told.specs[name].height;
  }

  async function draw(id) {
    const chart = told.charts[id];
    const place = document.getElementById(id);
    const axis = axes.get(chart.axis);
    const name = axis && chart.specs.includes(axis.spec) ? axis.spec : chart.specs[0];
    const data = typeof chart.data === "string" ? told.shared[chart.data] : chart.data;
    const given = { ...chart.params };
    if (axis) [given.since, given.until] = shownOf(axis);
    const params = (told.specs[name].params ?? []).map((it) => (it.name in given ? { ...it, value: given[it.name] } : it));
    const spec = { ...told.specs[name], params, datasets: data, height: heightOf(chart, name) };
    // `ast`: expressions are interpreted, as the page's policy allows nobody to make code of text.
    const options = { actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true } };
    const { view } = await vegaEmbed(place, spec, options);
    drawn.set(id, view);
    place.dataset.drawn = name;
    if (axis) {
      const [since, until] = shownOf(axis); // it may have changed while the chart was made
      await view.signal("since", since).signal("until", until).runAsync();
    }
  }

  // -- the stretch of an axis

  function show(name, since, until) {
    const axis = axes.get(name);
    const [first, last] = wholeOf(axis);
    const wide = Math.min(Math.max(until - since, (last - first) * CLOSEST), last - first);
    const from = Math.min(Math.max(since, first), last - wide);
    axis.shown = wide === last - first ? null : [from, from + wide];
    refresh(name);
  }

  function refresh(name) {
    const axis = axes.get(name);
    const [since, until] = shownOf(axis);
    for (const id of axis.ids) {
      drawn.get(id)?.signal("since", since).signal("until", until).runAsync();
      document.getElementById(id).dataset.shown = `${since} ${until}`;
    }
    for (const bar of document.querySelectorAll(`.zoom[data-axis="${CSS.escape(name)}"]`)) {
      const inSeconds = !axis.spec || !axis.spec.endsWith("in-order");
      const digits = Math.max(0, Math.min(6, Math.ceil(2 - Math.log10(until - since))));
      const said = inSeconds ? `${since.toFixed(digits)} s to ${until.toFixed(digits)} s` : "";
      bar.querySelector("output").textContent = axis.shown ? said : "";
    }
  }

  const ACTIONS = {
    in: (since, until) => around(since, until, 1 / STEP),
    out: (since, until) => around(since, until, STEP),
    earlier: (since, until) => [since - (until - since) / 3, until - (until - since) / 3],
    later: (since, until) => [since + (until - since) / 3, until + (until - since) / 3],
    all: () => [-Infinity, Infinity],
  };
  const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", 0: "all" };

  function around(since, until, factor, middle = (since + until) / 2) {
    return [middle - (middle - since) * factor, middle + (until - middle) * factor];
  }

  function act(name, action) {
    const axis = axes.get(name);
    if (action === "all") axis.shown = null;
    const [since, until] = action === "all" ? wholeOf(axis) : ACTIONS[action](...shownOf(axis));
    show(name, since, until);
  }

  function choose(name, spec) {
    const axis = axes.get(name);
    axis.spec = spec;
    axis.shown = null;
    for (const button of document.querySelectorAll(`.zoom[data-axis="${CSS.escape(name)}"] [data-spec]`)) {
      button.setAttribute("aria-pressed", String(button.dataset.spec === spec));
    }
    for (const id of axis.ids) if (drawn.has(id)) draw(id);
    refresh(name);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom], [data-spec], [data-show]");
    if (!button) return;
    const name = button.closest("[data-axis]").dataset.axis;
    if (button.dataset.zoom) act(name, button.dataset.zoom);
    if (button.dataset.spec) choose(name, button.dataset.spec);
    if (button.dataset.show) {
      const [since, until] = button.dataset.show.split(" ").map(Number);
      show(name, since, until);
    }
  });

  document.addEventListener("keydown", (event) => {
    const bar = event.target.closest(".zoom");
    const action = KEYS[event.key];
    if (!bar || !action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(bar.dataset.axis, action);
  });

  // -- the pointer

  function valueAt(view, place, clientX) {
    const left = place.querySelector("svg").getBoundingClientRect().left + view.origin()[0];
    const share = Math.min(Math.max((clientX - left) / view.width(), 0), 1);
    return view.signal("since") + share * (view.signal("until") - view.signal("since"));
  }

  let drag = null;

  document.addEventListener("pointerdown", (event) => {
    const place = event.target.closest(".plot[data-axis]");
    if (!place || !drawn.has(place.id) || event.button !== 0) return;
    const mark = document.createElement("div");
    mark.className = "chosen";
    drag = { place, mark, view: drawn.get(place.id), from: event.clientX };
  });

  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const box = drag.place.getBoundingClientRect();
    const edges = [drag.from, Math.min(Math.max(event.clientX, box.left), box.right)].sort((a, b) => a - b);
    drag.mark.style.left = `${edges[0] - box.left}px`;
    drag.mark.style.width = `${edges[1] - edges[0]}px`;
    if (!drag.mark.isConnected) drag.place.append(drag.mark);
  });

  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { place, mark, view, from } = drag;
    drag = null;
    mark.remove();
    if (Math.abs(event.clientX - from) < 6) return;
    const [since, until] = [from, event.clientX].map((x) => valueAt(view, place, x)).sort((a, b) => a - b);
    show(place.dataset.axis, since, until);
  });

  document.addEventListener("pointercancel", () => {
    drag?.mark.remove();
    drag = null;
  });

  document.addEventListener("dblclick", (event) => {
    const place = event.target.closest(".plot[data-axis]");
    if (place) act(place.dataset.axis, "all");
  });

  document.addEventListener(
    "wheel",
    (event) => {
      const place = event.target.closest?.(".plot[data-axis]");
      if (!place || !event.ctrlKey || !drawn.has(place.id)) return;
      event.preventDefault();
      const name = place.dataset.axis;
      const middle = valueAt(drawn.get(place.id), place, event.clientX);
      show(name, ...around(...shownOf(axes.get(name)), event.deltaY < 0 ? 1 / STEP : STEP, middle));
    },
    { passive: false },
  );

  // -- drawing

  const HELP =
    "Drag over a chart to look closer. Ctrl and the wheel or + and - zoom, arrow keys move, 0 and a double click show all.";
  const BUTTONS = [
    ["in", "+", "zoom in"],
    ["out", "\u2212", "zoom out"],
    ["earlier", "\u25c0", "earlier"],
    ["later", "\u25b6", "later"],
    ["all", "all", "show all of it"],
  ];

  function button(sign, title, data) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = sign;
    if (title) made.title = made.ariaLabel = title;
    Object.assign(made.dataset, data);
    return made;
  }

  function fill(bar) {
    const axis = axes.get(bar.dataset.axis);
    const chosen = axis.spec;
    const kinds = told.charts[axis.ids[0]].specs
      .filter((spec) => told.specs[spec].usermeta?.choice)
      .map((spec) => button(told.specs[spec].usermeta.choice, "", { spec }));
    for (const kind of kinds) kind.setAttribute("aria-pressed", String(kind.dataset.spec === chosen));
    bar.prepend(...BUTTONS.map(([zoom, sign, title]) => button(sign, title, { zoom })), ...kinds);
    bar.append(document.createElement("output"));
    bar.title = HELP;
  }

  for (const bar of document.querySelectorAll(".zoom")) fill(bar);
  const sight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        sight.unobserve(entry.target);
        draw(entry.target.id);
      }
    },
    { rootMargin: "300px" },
  );
  for (const [id, chart] of Object.entries(told.charts)) {
    const place = document.getElementById(id);
    const { usermeta } = told.specs[chart.specs[0]];
    const tall = heightOf(chart, chart.specs[0]) + (usermeta?.below ?? AXIS);
    place.style.minHeight = `${tall}px`; // what is below does not move once it is drawn
    if (axes.has(chart.axis)) place.dataset.shown = shownOf(axes.get(chart.axis)).join(" ");
    sight.observe(place);
  }
})();
