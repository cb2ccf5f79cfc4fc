// The requests behind a heatmap cell or a line of a table, each with its log line.

import { el, byId, put } from "./dom.js";
import { clock, text } from "./format.js";

const dialog = byId("requests");

function line(entry) {
  const status = entry.status ?? (entry.error_type || "–");
  const bad = entry.failed;
  return el("details",
    el("summary",
      el("span.num", clock(entry.at)),
      el("span.num.took", text(entry.duration_s, "seconds")),
      el("span.pill", { "data-tone": bad ? "bad" : "" }, String(status)),
      el("span.what", `${entry.method} ${entry.route || "no route"}`)),
    el("pre", entry.line || entry.id));
}

/** Lists the requests that answer `query`; `count` is how many there were, where that is known. */
export async function openRequests(query, count) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null) parameters.set(name, value);
  const about = [];
  if (query.from) about.push(`${clock(query.from)} to ${clock(query.to)}`);
  if (query.at_least !== undefined) {
    about.push(query.at_most === null ? `over ${text(query.at_least, "seconds")}` : `${text(query.at_least, "seconds")} to ${text(query.at_most, "seconds")}`);
  }
  const labels = Object.entries(query).filter(([name]) => !["from", "to", "at_least", "at_most"].includes(name));
  for (const [, value] of labels) about.push(value || "no route");
  put(byId("requests-note"), about.join(" · "));
  const list = byId("requests-list");
  list.replaceChildren(el("p.muted", "Looking…"));
  if (!dialog.open) dialog.showModal();
  try {
    const answer = await fetch(`api/requests?${parameters}`);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const { requests } = await answer.json();
    if (count > requests.length) about.push(`${requests.length} of ${count}`);
    put(byId("requests-note"), about.join(" · "));
    list.replaceChildren(...(requests.length ? requests.map(line)
      : [el("p.muted", "None of them is kept any more: only a sample of recent requests is.")]));
    if (requests.length === 1) list.firstChild.open = true;
  } catch (error) {
    list.replaceChildren(el("p.muted", `The requests could not be read: ${error.message}`));
  }
}
