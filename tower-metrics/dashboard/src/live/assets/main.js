// Builds the page from its definition and updates it from the event stream.

import { byId, el, setText, resetColors } from "./dom.js";
import { span, text } from "./format.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Lines } from "./chart.js";
import { Heatmap } from "./heatmap.js";
import { Table } from "./table.js";
import { Bars, Stat } from "./values.js";
import { Checks, Controls, Objectives, Problems } from "./status.js";
import { openRequests } from "./requests.js";

const RANGES = [60, 300, 900];
/** The shortest range that charts show while the page has little data. */
const SHORTEST_RANGE = 30;
/** Samples between two renderings of a panel that is not visible. */
const HIDDEN_SAMPLES = 5;
const KINDS = { lines: Lines, stat: Stat, bars: Bars, heatmap: Heatmap, table: Table };

const store = new Store();
const renderers = new Map();
const visible = new Set();
/** Ids of panels that show what the page showed when it was paused. */
const shown = new Set();
let status = [];
let dirty = false;
/** Ids of panels to render when the browser is idle. */
let idle = [];
let samples = 0;
/** Runs a function when the browser is idle, or after a second if it never is. */
const whenIdle = window.requestIdleCallback ? (run) => requestIdleCallback(run, { timeout: 1000 }) : (run) => setTimeout(run, 50);

function loadSetting(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}
function saveSetting(name, value) {
  try { localStorage.setItem(name, value); } catch { /* storage may be disabled */ }
}
function announce(message) {
  setText(byId("announcements"), message);
}

const view = {
  range: RANGES.includes(Number(loadSetting("range"))) ? Number(loadSetting("range")) : 300,
  from: 0, to: 0, paused: false, marks: [],
  zoom(from, to) { view.from = from; view.to = to; pause(true); renderAll(); },
  unzoom() { pause(false); },
  /** The range grows with the data until it has its full length. */
  follow() {
    view.to = store.now;
    const known = view.to - (store.times[0] ?? view.to);
    view.from = view.to - Math.min(view.range, Math.max(known, SHORTEST_RANGE));
  },
};

function pause(on) {
  view.paused = on;
  document.documentElement.classList.toggle("paused", on);
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(on));
  setText(button.querySelector("span"), on ? "Resume" : "Pause");
  if (!on) view.follow();
  renderAll();
}

function buildRanges() {
  const longest = store.definition.history_s;
  byId("range").replaceChildren(...RANGES.filter((range) => range <= longest).map((range) => el("button", {
    type: "button", "aria-pressed": String(range === view.range),
    onclick: () => {
      view.range = range;
      saveSetting("range", range);
      buildRanges();
      if (view.paused) { view.from = view.to - range; renderAll(); } else { view.follow(); renderAll(); }
    },
  }, span(range))));
}

function panel(definition) {
  const body = el("div.body");
  const figure = el(`figure.panel.${definition.kind}`, { "data-panel": definition.id, "aria-label": definition.title },
    el("figcaption", el("h3", definition.title)), body);
  if (definition.description) figure.querySelector("figcaption").title = definition.description;
  figure.style.setProperty("--span", definition.width);
  figure.style.setProperty("--high", definition.height);
  figure.classList.toggle("wide", definition.width === 24);
  const open = definition.opens ? openRequests : null;
  const renderer = definition.kind === "table" ? new Table(definition, body, open) : new KINDS[definition.kind](definition, body, view, open);
  renderers.set(definition.id, renderer);
  figure.renderer = renderer;
  watcher.observe(figure);
  return figure;
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const id = target.dataset.panel;
    if (!isIntersecting) { visible.delete(id); continue; }
    visible.add(id);
    if (!view.paused || !shown.has(id)) render(id);
  }
}, { rootMargin: "200px" });

function build() {
  const { definition } = store;
  renderers.clear();
  visible.clear();
  shown.clear();
  idle = [];
  samples = 0;
  watcher.disconnect();
  byId("badges").replaceChildren();
  byId("controls").replaceChildren();
  const problems = new Problems(byId("badges"), announce);
  const checks = new Checks(definition.checks, byId("badges"), announce);
  const objectives = new Objectives(definition.objectives, byId("badges"), announce);
  const controls = new Controls(definition.controls, byId("controls"), change, panelValue);
  status = [
    () => problems.render(store.latest.problems),
    () => checks.render(store.latest.checks),
    () => objectives.render(store.latest.objectives),
    () => controls.render(store.latest.controls, store.latest.control_details),
  ];
  const sections = definition.rows.map((row) => el("section", { "aria-label": row.title },
    el("details.row", { open: !row.collapsed }, el("summary", el("h2", row.title)),
      el("div.grid", row.objectives ? objectives.section : null, row.panels.map(panel)))));
  byId("rows").replaceChildren(...sections);
  buildRanges();
}

/** Formats the latest value of a panel, for display next to a control. */
function panelValue(id) {
  const definition = store.definition.rows.flatMap((row) => row.panels).find((one) => one.id === id);
  const series = store.panels.get(id)?.series.values().next().value;
  return definition && series ? `${text(series.at(-1) ?? null, definition.unit)} ${definition.title.toLowerCase()}` : "";
}

function render(id) {
  const data = store.panels.get(id);
  if (!data || !store.times.length || !renderers.has(id)) return;
  renderers.get(id).render(data, store.times);
  shown.add(id);
}

function renderAll() {
  dirty = false;
  shown.clear();
  if (!store.definition) return;
  if (!view.paused) view.follow();
  view.marks = store.latest.marks;
  for (const id of visible) render(id);
}

/** Renders the panels that are not visible one at a time, so that a capture of the whole page is complete. */
function renderHidden() {
  if (view.paused) idle = [];
  const id = idle.pop();
  if (id === undefined) return;
  render(id);
  if (idle.length) whenIdle(renderHidden);
}

function renderEvery() {
  idle = [];
  renderAll();
  for (const id of renderers.keys()) render(id);
}

function onSample() {
  for (const update of status) update();
  if (view.paused || document.hidden) { dirty = true; return; }
  renderAll();
  if (samples % HIDDEN_SAMPLES === 0) {
    const waiting = idle.length > 0;
    idle = [...renderers.keys()].filter((id) => !visible.has(id)).reverse();
    if (!waiting && idle.length) whenIdle(renderHidden);
  }
  samples += 1;
}

let token = null;

function askToken() {
  const dialog = byId("token");
  const input = byId("token-value");
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value : null), { once: true });
  });
}

async function change(id, value) {
  const send = () => fetch(`api/controls/${encodeURIComponent(id)}`, {
    method: "PUT",
    headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify({ value }),
  });
  try {
    let answer = await send();
    if (answer.status === 401 || answer.status === 403) {
      token = await askToken();
      if (token === null) return;
      answer = await send();
    }
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail ?? `${answer.status} ${answer.statusText}`);
    store.latest.controls = { ...store.latest.controls, [id]: body.value };
    store.latest.control_details = { ...store.latest.control_details, [id]: body.detail };
    for (const update of status) update();
    announce(`${id}: ${body.value} ${body.detail ?? ""}`.trim());
  } catch (error) {
    showNotice(`Cannot change ${id}: ${error.message}`);
  }
}

function showNotice(message) {
  announce(message);
  const note = el("p.notice", message);
  document.body.append(note);
  setTimeout(() => note.remove(), 6000);
}

function showConnection(state) {
  const node = byId("connection");
  if (node.dataset.state === state) return;
  if (state === "lost") announce("Connection lost, reconnecting");
  if (state === "live" && node.dataset.state === "lost") announce("Reconnected");
  node.dataset.state = state;
  setText(node.querySelector("span"), { live: "live", lost: "reconnecting…", connecting: "connecting", hidden: "paused in the background" }[state]);
}

async function loadDefinition() {
  const answer = await fetch("api/dashboard");
  if (!answer.ok) throw new Error(`${answer.status}`);
  const definition = await answer.json();
  const same = store.definition?.version === definition.version;
  store.define(definition);
  if (!same) build();
}

// A restarted server may have other panels, so the definition is loaded before each history.
let queue = Promise.resolve();
new Stream("api/stream", {
  history: (data) => {
    queue = loadDefinition().then(() => { store.replace(data); onSample(); if (view.from === 0) view.follow(); })
      .catch((error) => showNotice(`Cannot load the dashboard: ${error.message}`));
  },
  update: (data) => { queue = queue.then(() => { if (store.definition && data.clock === store.clock) { store.append(data); onSample(); } }); },
  state: showConnection,
});

// Not a submit button, because Enter activates the first one of a form.
byId("token-cancel").addEventListener("click", () => byId("token").close("cancel"));
byId("pause").addEventListener("click", () => pause(!view.paused));
byId("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  saveSetting("theme", document.documentElement.dataset.theme);
  repaint();
});
function repaint() {
  resetColors();
  for (const renderer of renderers.values()) renderer.repaint();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

// Paper is white.
let screenTheme;
addEventListener("beforeprint", () => {
  screenTheme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  resetColors();
  renderEvery();
});
addEventListener("afterprint", () => {
  if (screenTheme) document.documentElement.dataset.theme = screenTheme; else delete document.documentElement.dataset.theme;
  repaint();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && dirty && !view.paused) renderAll(); });
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, dialog, button, summary, a, [role=application]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") { event.preventDefault(); pause(!view.paused); }
  if (event.key === "/") { event.preventDefault(); document.querySelector(".search")?.focus(); }
});
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.badge[open]")) if (!open.contains(event.target)) open.open = false;
});
byId("requests").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });
