// The page: builds itself from the definition, then follows the stream.

import { byId, el, put, forgetColours } from "./dom.js";
import { span, text } from "./format.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Lines } from "./chart.js";
import { Heatmap } from "./heatmap.js";
import { Table } from "./table.js";
import { Bars, Stat } from "./figures.js";
import { Checks, Controls, Objectives, Problems } from "./status.js";
import { openRequests } from "./requests.js";

const RANGES = [60, 300, 900];
const KINDS = { lines: Lines, stat: Stat, bars: Bars, heatmap: Heatmap, table: Table };

const store = new Store();
const shown = new Map();
const visible = new Set();
let status = [];
let dirty = false;

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}
function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* storage may be forbidden */ }
}
function say(words) {
  put(byId("say"), words);
}

const view = {
  range: RANGES.includes(Number(remembered("range"))) ? Number(remembered("range")) : 300,
  from: 0, to: 0, paused: false, marks: [],
  zoom(from, to) { view.from = from; view.to = to; pause(true); renderAll(); },
  unzoom() { pause(false); },
  follow() { view.to = store.now; view.from = view.to - view.range; },
};

function pause(on) {
  view.paused = on;
  document.documentElement.classList.toggle("paused", on);
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(on));
  put(button.querySelector("span"), on ? "Resume" : "Pause");
  if (!on) view.follow();
  renderAll();
}

function ranges() {
  const longest = store.definition.history_s;
  byId("range").replaceChildren(...RANGES.filter((range) => range <= longest).map((range) => el("button", {
    type: "button", "aria-pressed": String(range === view.range),
    onclick: () => {
      view.range = range;
      remember("range", range);
      ranges();
      if (view.paused) { view.from = view.to - range; renderAll(); } else { view.follow(); renderAll(); }
    },
  }, span(range))));
}

function panel(definition) {
  const body = el("div.body");
  const figure = el(`figure.panel.${definition.kind}`, { "data-panel": definition.id, "aria-label": definition.title },
    el("figcaption", el("h3", definition.title)), body);
  if (definition.help) figure.querySelector("figcaption").title = definition.help;
  figure.style.setProperty("--span", definition.width);
  const open = definition.opens ? openRequests : null;
  const renderer = definition.kind === "table" ? new Table(definition, body, open) : new KINDS[definition.kind](definition, body, view, open);
  shown.set(definition.id, renderer);
  figure.renderer = renderer;
  watcher.observe(figure);
  return figure;
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const id = target.dataset.panel;
    if (isIntersecting) { visible.add(id); render(id); } else visible.delete(id);
  }
}, { rootMargin: "200px" });

function build() {
  const { definition } = store;
  shown.clear();
  visible.clear();
  watcher.disconnect();
  byId("badges").replaceChildren();
  byId("controls").replaceChildren();
  const problems = new Problems(byId("badges"), say);
  const checks = new Checks(definition.checks, byId("badges"), say);
  const objectives = new Objectives(definition.objectives, byId("badges"), say);
  const controls = new Controls(definition.controls, byId("controls"), change, figureOf);
  status = [
    () => problems.render(store.latest.problems),
    () => checks.render(store.latest.checks),
    () => objectives.render(store.latest.objectives),
    () => controls.render(store.latest.controls),
  ];
  const sections = definition.rows.map((row) => el("section", { "aria-label": row.title },
    el("details.row", { open: !row.collapsed }, el("summary", el("h2", row.title)),
      el("div.grid", row.objectives ? objectives.section : null, row.panels.map(panel)))));
  byId("rows").replaceChildren(...sections);
  ranges();
}

/** The latest figure of a panel, for a place beside a control. */
function figureOf(id) {
  const definition = store.definition.rows.flatMap((row) => row.panels).find((one) => one.id === id);
  const series = store.panels.get(id)?.series.values().next().value;
  return definition && series ? `${text(series.at(-1) ?? null, definition.unit)} ${definition.title.toLowerCase()}` : "";
}

function render(id) {
  const data = store.panels.get(id);
  if (data && store.times.length && shown.has(id)) shown.get(id).render(data, store.times);
}

function renderAll() {
  dirty = false;
  if (!store.definition) return;
  if (!view.paused) view.follow();
  view.marks = store.latest.marks;
  for (const id of visible) render(id);
}

function changed() {
  for (const update of status) update();
  if (view.paused || document.hidden) { dirty = true; return; }
  renderAll();
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
    for (const update of status) update();
    say(`${id}: ${body.value}`);
  } catch (error) {
    notice(`${id} could not be changed: ${error.message}`);
  }
}

function notice(words) {
  say(words);
  const note = el("p.notice", words);
  document.body.append(note);
  setTimeout(() => note.remove(), 6000);
}

function connection(state) {
  const node = byId("connection");
  if (node.dataset.state === state) return;
  if (state === "lost") say("Connection lost, trying again");
  if (state === "live" && node.dataset.state === "lost") say("Connected again");
  node.dataset.state = state;
  put(node.querySelector("span"), { live: "live", lost: "reconnecting…", connecting: "connecting", hidden: "paused in the background" }[state]);
}

async function define() {
  const answer = await fetch("api/dashboard");
  if (!answer.ok) throw new Error(`${answer.status}`);
  const definition = await answer.json();
  const same = store.definition?.version === definition.version;
  store.define(definition);
  if (!same) build();
}

// A restarted server may show other panels: the definition comes before each history.
let turn = Promise.resolve();
new Stream("api/stream", {
  history: (data) => {
    turn = define().then(() => { store.replace(data); changed(); if (view.from === 0) view.follow(); })
      .catch((error) => notice(`The dashboard could not be read: ${error.message}`));
  },
  update: (data) => { turn = turn.then(() => { if (store.definition && data.clock === store.clock) { store.append(data); changed(); } }); },
  state: connection,
});

// No submit button: Enter in the field presses the first of those.
byId("token-cancel").addEventListener("click", () => byId("token").close("cancel"));
byId("pause").addEventListener("click", () => pause(!view.paused));
byId("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  remember("theme", document.documentElement.dataset.theme);
  repaint();
});
function repaint() {
  forgetColours();
  for (const renderer of shown.values()) renderer.repaint();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
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
