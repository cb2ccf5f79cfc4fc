// Dialog with the requests of a heatmap cell or a table row, and their log lines.

import { el, byId, setText } from "./dom.js";
import { clock, text } from "./format.js";

const dialog = byId("requests");

function requestDetails(entry) {
  const status = entry.status ?? (entry.error_type || "–");
    return el("details",
    el("summary",
      el("span.num", clock(entry.at)),
      el("span.num.took", text(entry.duration_s, "seconds")),
      el("span.pill", { "data-tone": entry.failed ? "bad" : "" }, String(status)),
      el("span.what", `${entry.method} ${entry.route || "no route"}`)),
    el("pre", entry.line || entry.id));
}

/** Lists the requests that match `query`. `count` is the number of requests that were observed, if known. */
export async function openRequests(query, count) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null) parameters.set(name, value);
  const criteria = [];
  if (query.from) criteria.push(`${clock(query.from)} to ${clock(query.to)}`);
  if (query.at_least !== undefined) {
    criteria.push(query.at_most === null ? `over ${text(query.at_least, "seconds")}` : `${text(query.at_least, "seconds")} to ${text(query.at_most, "seconds")}`);
  }
  const labels = Object.entries(query).filter(([name]) => !["from", "to", "at_least", "at_most"].includes(name));
  for (const [, value] of labels) criteria.push(value || "no route");
  setText(byId("requests-note"), criteria.join(" · "));
  const list = byId("requests-list");
  list.replaceChildren(el("p.muted", "Loading…"));
  if (!dialog.open) dialog.showModal();
  try {
    const answer = await fetch(`api/requests?${parameters}`);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const { requests } = await answer.json();
    if (count > requests.length) criteria.push(`${requests.length} of ${count}`);
    setText(byId("requests-note"), criteria.join(" · "));
    list.replaceChildren(...(requests.length ? requests.map(requestDetails)
      : [el("p.muted", "No longer available. Only a sample of recent requests is kept.")]));
    if (requests.length === 1) list.firstChild.open = true;
  } catch (error) {
    list.replaceChildren(el("p.muted", `Cannot load the requests: ${error.message}`));
  }
}
