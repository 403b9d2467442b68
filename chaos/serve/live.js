// A run that is under way: what the server says of it, twice a second. Text only ever goes into text nodes.
"use strict";

const place = document.getElementById("live");
const source = new EventSource(`/runs/${encodeURIComponent(place.dataset.run)}/live`);
let last = null;

function line(list, name, value) {
  const term = document.createElement("dt");
  const said = document.createElement("dd");
  term.textContent = name;
  said.textContent = value;
  list.append(term, said);
}

source.onmessage = (event) => {
  const seen = JSON.parse(event.data);
  const list = document.createElement("dl");
  const now = performance.now();
  const fresh = Object.values(seen.fresh).reduce((sum, count) => sum + count, 0);
  line(list, "phase", `${seen.phase}, ${(seen.time_ms / 1000).toFixed(1)} s`);
  line(list, "operations a second", last === null ? "…" : Math.round((1000 * fresh) / (now - last)).toLocaleString());
  line(list, "operations", Object.entries(seen.total).map(([name, count]) => `${count.toLocaleString()} ${name}`).join(", "));
  line(list, "faults that hold", seen.faults.map((fault) => `${fault.kind} of ${fault.nodes.join(", ")}`).join("; ") || "none");
  for (const [node, told] of Object.entries(seen.nodes)) {
    line(list, node, told.state === "up" ? told.role : told.state);
  }
  last = now;
  place.replaceChildren(list);
};

source.addEventListener("over", () => {
  source.close();
  location.reload();
});
