// Current values: single values, and bars.

import { el, setText, sparkline, tail } from "./dom.js";
import { parts, text } from "./format.js";
import { tone } from "./table.js";

const POINTS = 90;

/** Returns the latest value in the visible range. */
function latest(values, times, view) {
  let at = times.length - 1;
  while (at > 0 && times[at] > view.to) at -= 1;
  return values?.[at] ?? null;
}

export class Stat {
  constructor(panel, body, view) {
    this.panel = panel;
    this.view = view;
    this.host = el("dl.stats");
    this.line = el("path.line");
    this.area = el("path.area");
    body.append(this.host, el("svg.trend", { viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, this.area, this.line));
    this.items = new Map();
  }

  render(data, times) {
    const names = [...data.series.keys()];
    // The title names a single value, unless its legend is a label value such as a currency.
    const titled = names.length === 1 && (this.panel.legends ?? names).includes(names[0]);
    for (const name of names) {
      if (!this.items.has(name)) {
        const value = el("b");
        const unit = el("small");
        const item = el("div", el("dt"), el("dd", value, unit));
        this.items.set(name, { item, value, unit });
        this.host.append(item);
      }
      const { item, value, unit } = this.items.get(name);
      const now = latest(data.series.get(name), times, this.view);
      const [number, suffix] = parts(now, this.panel.unit);
      // A single name, such as a currency, follows its value.
      const alone = names.length === 1;
      item.firstChild.className = alone || !name ? "sr" : "";
      setText(item.firstChild, alone || !name ? this.panel.title : name);
      setText(value, number);
      setText(unit, alone && name && !titled ? `${suffix} ${name}`.trim() : suffix);
      item.dataset.tone = tone(now, this.panel.thresholds);
    }
    for (const [name, { item }] of this.items) {
      if (!data.series.has(name)) { item.remove(); this.items.delete(name); }
    }
    this.host.classList.toggle("several", names.length > 1);
    const shown = times.filter((at) => at <= this.view.to);
    const [line, area] = sparkline(tail(shown, (data.series.get(names[0]) ?? []).slice(0, shown.length), this.view.from, POINTS), 24);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }

  repaint() {}
}

export class Bars {
  constructor(panel, body, view) {
    this.panel = panel;
    this.view = view;
    this.list = el("ol.bars");
    body.append(this.list);
    this.items = new Map();
  }

  render(data, times) {
    const values = [...data.series].map(([name, series]) => [name, latest(series, times, this.view)])
      .filter(([, value]) => value !== null)
      .sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const most = Math.max(1e-12, ...values.map(([, value]) => value));
    const seen = new Set(values.map(([name]) => name));
    values.forEach(([name, value], index) => {
      if (!this.items.has(name)) {
        const number = el("span.value");
        const fill = el("i", { "aria-hidden": "true" });
        this.items.set(name, { item: el("li", el("span.label", { title: name }, name), el("span.track", fill), number), number, fill });
      }
      const { item, number, fill } = this.items.get(name);
      setText(number, text(value, this.panel.unit === "count" ? "exact" : this.panel.unit));
      fill.style.width = `${(100 * value / most).toFixed(1)}%`;
      item.dataset.tone = tone(value, this.panel.thresholds);
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
    });
    for (const [name, { item }] of this.items) {
      if (!seen.has(name)) { item.remove(); this.items.delete(name); }
    }
  }

  repaint() {}
}
