// Lines over time, drawn by uPlot: a shared crosshair, marks, thresholds, and a legend with figures.

import { el, put, colour, faded } from "./dom.js";
import { axis, clock, minute, text } from "./format.js";

const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const PALETTE = 8;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600];

/** Options that every chart shares. `view` has the time shown, and takes a selection. */
export function base(view, host, unit) {
  return {
    width: host.clientWidth || 300,
    height: host.clientHeight || 180,
    legend: { show: false },
    padding: [10, 6, 0, 0],
    cursor: {
      sync: { key: "live", setSeries: false },
      drag: { x: true, y: false, setScale: false },
      focus: { prox: -1 },
      points: { size: 7, width: 2 },
    },
    scales: {
      x: { time: true, range: () => [view.from, view.to] },
      y: { range: (_, min, max) => [Math.min(0, min ?? 0), max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        stroke: () => colour("muted"), font: FONT, size: 26, gap: 4, space: 70, incrs: STEPS,
        grid: { show: false }, ticks: { stroke: () => colour("line"), width: 1, size: 4 },
        values: (_, splits, __, ___, step) => splits.map((at) => (step < 60 ? clock(at) : minute(at))),
      },
      {
        stroke: () => colour("muted"), font: FONT, size: 58, gap: 6, space: 34,
        grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false },
        values: (_, splits) => splits.map((value) => axis(value, unit)),
      },
    ],
    hooks: {
      setSelect: [(u) => {
        if (u.select.width < 8) return;
        const from = u.posToVal(u.select.left, "x");
        const to = u.posToVal(u.select.left + u.select.width, "x");
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        view.zoom(from, to);
      }],
      ready: [(u) => u.over.addEventListener("dblclick", () => view.unzoom())],
    },
  };
}

/** Where a fault began: a line with its name; and a tint for as long as it lasts. */
export function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
  ctx.clip();
  ctx.font = `${10.5 * ratio}px system-ui, sans-serif`;
  let free = -Infinity;
  for (const mark of marks) {
    const at = u.valToPos(mark.at, "x", true);
    const end = mark.end ? u.valToPos(mark.end, "x", true) : bbox.left + bbox.width;
    if (end < bbox.left || at > bbox.left + bbox.width) continue;
    if (mark.lasts) {
      ctx.fillStyle = faded("mark", 0.08);
      ctx.fillRect(at, bbox.top, end - at, bbox.height);
    }
    if (at < bbox.left) continue;
    ctx.strokeStyle = colour("mark");
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.fillStyle = colour("mark");
    const width = ctx.measureText(mark.title).width;
    const left = Math.min(at + 4 * ratio, bbox.left + bbox.width - width);
    if (left > free) {
      ctx.fillText(mark.title, left, bbox.top + 10 * ratio);
      free = left + width + 6 * ratio;
    }
  }
  ctx.restore();
}

function drawThresholds(u, thresholds) {
  const { ctx, bbox } = u;
  for (const { from, tone } of thresholds) {
    if (from <= u.scales.y.min || from > u.scales.y.max) continue;
    const y = u.valToPos(from, "y", true);
    ctx.save();
    ctx.strokeStyle = colour(tone);
    ctx.globalAlpha = 0.7;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }
}

export class Lines {
  constructor(panel, body, view) {
    this.panel = panel;
    this.view = view;
    this.host = el("div.plot", { "aria-hidden": "true" });
    this.legend = el("ul.legend", { "aria-label": `${panel.title}: figures` });
    body.append(this.host, this.legend);
    this.hidden = new Set();
    this.names = [];
    this.items = new Map();
    new ResizeObserver(() => this.plot?.setSize({ width: this.host.clientWidth, height: this.host.clientHeight })).observe(this.host);
  }

  tone(name, index) {
    return this.panel.tones?.[name] ?? `c${(index % PALETTE) + 1}`;
  }

  order(names) {
    const declared = this.panel.legends ?? [];
    const rank = (name) => { const at = declared.indexOf(name); return at < 0 ? declared.length : at; };
    return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true }));
  }

  build() {
    this.plot?.destroy();
    const { panel, view } = this;
    const options = base(view, this.host, panel.unit);
    const filled = panel.stacked || this.names.length === 1;
    options.series = [{}, ...this.names.map((name, index) => ({
      label: name,
      show: !this.hidden.has(name),
      stroke: () => colour(this.tone(name, index)),
      width: 1.5,
      fill: filled ? () => faded(this.tone(name, index), panel.stacked ? 0.35 : 0.1) : undefined,
      points: { show: false },
      spanGaps: false,
    }))];
    options.hooks.drawAxes = [(u) => drawMarks(u, view.marks)];
    options.hooks.draw = [(u) => drawThresholds(u, panel.thresholds)];
    options.hooks.setCursor = [(u) => this.figures(u.cursor.idx)];
    this.plot = new uPlot(options, this.empty(), this.host);
    this.legend.replaceChildren(...this.names.map((name, index) => this.item(name, index)));
  }

  empty() {
    return [[], ...this.names.map(() => [])];
  }

  item(name, index) {
    const value = el("span.value");
    const shown = !this.hidden.has(name);
    const toggle = el("button", {
      type: "button", "aria-pressed": String(shown), title: `${name}: hide or show`,
      onclick: () => {
        if (this.hidden.has(name)) this.hidden.delete(name); else this.hidden.add(name);
        toggle.setAttribute("aria-pressed", String(!this.hidden.has(name)));
        this.plot.setSeries(index + 1, { show: !this.hidden.has(name) });
        this.render(this.data, this.times);
      },
    }, el(`i.${this.tone(name, index)}`, { "aria-hidden": "true" }), el("span.label", name), value);
    this.items.set(name, value);
    return el("li", toggle);
  }

  figures(index) {
    if (!this.data) return;
    const at = index ?? this.lastShown();
    for (const [name, node] of this.items) put(node, text(this.data.series.get(name)?.[at] ?? null, this.panel.unit));
  }

  /** The last moment of what is shown: now, or the end of a pause. */
  lastShown() {
    let at = this.times.length - 1;
    while (at > 0 && this.times[at] > this.view.to) at -= 1;
    return at;
  }

  render(data, times) {
    this.data = data;
    this.times = times;
    const names = this.order(data.series.keys());
    if (!this.plot || names.join("\u0000") !== this.names.join("\u0000")) {
      this.names = names;
      this.items.clear();
      this.build();
    }
    const raw = this.names.map((name) => data.series.get(name));
    this.plot.setData([times, ...(this.panel.stacked ? this.stack(raw) : raw)]);
    this.figures(this.plot.cursor.idx);
  }

  /** Each line on top of those before it. The first drawn is the highest, so areas do not hide. */
  stack(raw) {
    const height = new Array(this.times.length).fill(0);
    return raw.map((values, index) => {
      if (this.hidden.has(this.names[index])) return values;
      return values.map((value, at) => {
        if (value === null) return null;
        height[at] += value;
        return height[at];
      });
    });
  }

  repaint() {
    this.plot?.redraw(false);
  }
}
