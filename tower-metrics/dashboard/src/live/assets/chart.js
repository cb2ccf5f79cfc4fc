// Time series charts, drawn by uPlot, with a shared crosshair, marks, thresholds, and a legend with values.

import { el, setText, color, withAlpha } from "./dom.js";
import { axis, clock, minute, text } from "./format.js";

const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const PALETTE = Array.from({ length: 12 }, (_, index) => `c${index + 1}`);
/** A chart with more series omits those that are 0 in the whole visible range. */
const MANY = 12;
/** Dashes of lines that show a total or a limit of the other lines, in pixels. */
const DASH = [5, 4];
/** Characters of a title below which it is omitted rather than shortened. */
const READABLE = 4;
/** Width of a legend item besides its name and value: color, gaps and padding. */
const LEGEND_ITEM_PX = 32;
/** Colors assigned to names, shared by all charts. */
const KNOWN = new Map();
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600];

const ruler = document.createElement("canvas").getContext("2d");

/** Width of a text in a legend, rounded up. */
function width(text, weight = 400) {
  ruler.font = `${weight} ${FONT.replace("11px", "12px")}`;
  return Math.ceil(ruler.measureText(text).width);
}

/** Whether a tick lies between two counts that have ticks as well. */
const isBetweenCounts = (value, unit, splits) => unit === "count" && !Number.isInteger(value) && splits.at(-1) >= 1;

/** Returns the options that all charts share. `view` is the visible time range, and handles selections. */
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
        stroke: () => color("muted"), font: FONT, size: 26, gap: 4, space: 70, incrs: STEPS,
        grid: { show: false }, ticks: { stroke: () => color("line"), width: 1, size: 4 },
        values: (plot, splits, __, ___, step) => {
          const [label, half] = step < 60 ? [clock, 26] : [minute, 16];
          // Omits labels that the canvas would cut off at its right edge.
          const edge = view.to - (view.to - view.from) * (half - 6) / (plot.width - 64);
          return splits.map((at) => (at > edge ? "" : label(at)));
        },
      },
      {
        stroke: () => color("muted"), font: FONT, size: 58, gap: 6, space: 34,
        grid: { stroke: () => color("grid"), width: 1 }, ticks: { show: false },
        values: (_, splits) => splits.map((value) => (isBetweenCounts(value, unit, splits) ? "" : axis(value, unit))),
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

/** Resizes a plot to its host element. */
export function fit(plot, host) {
  const { clientWidth: width, clientHeight: height } = host;
  if (plot && width && height && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
}

/** Draws marks: a line with a title at the start, and a tint for the duration of a period. */
export function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const right = bbox.left + bbox.width;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
  ctx.clip();
  const lines = [];
  const ends = [];
  for (const mark of marks) {
    const at = u.valToPos(mark.at, "x", true);
    const end = mark.end ? u.valToPos(mark.end, "x", true) : right;
    if (end < bbox.left || at > right) continue;
    if (mark.lasts) {
      ends.push(end);
      ctx.fillStyle = withAlpha("mark", 0.08);
      ctx.fillRect(at, bbox.top, end - at, bbox.height);
    }
    if (at >= bbox.left) lines.push([at, mark, Math.min(mark.lasts ? end : right, right)]);
  }
  ctx.strokeStyle = color("mark");
  ctx.lineWidth = ratio;
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  for (const [at] of lines) {
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  }
  drawTitles(ctx, lines, [bbox.left, ...ends], bbox.top);
  ctx.restore();
}

/**
 * Draws titles to the right of their lines, in lower rows if they would overlap, and the latest ones first. Titles that are
 * longer than their period move to the left of their lines, as far as the previous period: `ends` are the positions where
 * periods end. Titles that are too long for either side are shortened.
 */
function drawTitles(ctx, lines, ends, top) {
  const ratio = devicePixelRatio;
  const gap = 4 * ratio;
  ctx.font = `${10.5 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.setLineDash([]);
  ctx.lineWidth = 3 * ratio;
  ctx.lineJoin = "round";
  ctx.strokeStyle = color("card");
  ctx.fillStyle = color("mark");
  const taken = [Infinity, Infinity, Infinity];
  for (const [at, { title, lasts }, end] of [...lines].reverse()) {
    const full = ctx.measureText(title).width;
    const [before, after] = [at - gap - Math.max(...ends.filter((position) => position <= at)), end - at - gap];
    if (full > after && !lasts) continue;
    const toRight = full <= after || (full > before && after >= before);
    const text = shorten(ctx, title, toRight ? after : before);
    if (text !== title && text.length < READABLE) continue;
    const width = ctx.measureText(text).width;
    const from = toRight ? at + gap : at - gap - width;
    const row = taken.findIndex((start) => from + width < start);
    if (row < 0) continue;
    const y = top + (10 + 13 * row) * ratio;
    ctx.strokeText(text, from, y);
    ctx.fillText(text, from, y);
    taken[row] = from - gap;
  }
}

/** Returns the longest beginning of `text` that is at most `width` wide, with an ellipsis if it is not all of it. */
function shorten(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let length = text.length - 1;
  while (length > 0 && ctx.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length).trimEnd()}…`;
}

function drawThresholds(u, thresholds) {
  const { ctx, bbox } = u;
  for (const { from, tone } of thresholds) {
    if (from <= u.scales.y.min || from > u.scales.y.max) continue;
    const y = u.valToPos(from, "y", true);
    ctx.save();
    ctx.strokeStyle = color(tone);
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
    this.legend = el("ul.legend", { "aria-label": `${panel.title}: values` });
    body.append(this.host, this.legend);
    this.hidden = new Set();
    this.names = [];
    this.plotted = [];
    this.items = new Map();
    this.tones = new Map();
    this.others = el("li.others");
    new ResizeObserver(() => fit(this.plot, this.host)).observe(this.host);
  }

  /**
   * Assigns colors. A name has the same color in every chart, unless another name in this chart has it, and keeps its
   * color as long as the chart shows it.
   */
  assignColors() {
    const before = this.tones;
    this.tones = new Map(Object.entries(this.panel.tones ?? {}));
    const uses = new Map(PALETTE.map((tone) => [tone, 0]));
    const take = (name, tone) => { this.tones.set(name, tone); uses.set(tone, uses.get(tone) + 1); };
    const rest = () => this.names.filter((name) => !this.tones.has(name));
    for (const name of rest()) if (before.has(name)) take(name, before.get(name));
    for (const name of rest()) if (uses.get(KNOWN.get(name)) === 0) take(name, KNOWN.get(name));
    for (const name of rest()) {
      const fewest = Math.min(...uses.values());
      take(name, PALETTE.find((tone) => uses.get(tone) === fewest));
      if (fewest === 0 && !KNOWN.has(name)) KNOWN.set(name, this.tones.get(name));
    }
  }

  /** Whether a line has a color of its own among lines by label value, such as a total or a limit. */
  isReference(name) {
    const { stacked, tones, legends } = this.panel;
    return !stacked && name in (tones ?? {}) && legends.some((legend) => legend.includes("{"));
  }

  /** Returns the names of the series to show, in the order of the legend. */
  select(data) {
    const names = this.order(data.series.keys());
    if (names.length <= MANY) return names;
    const from = this.times.findIndex((at) => at >= this.view.from);
    const to = this.lastVisible() + 1;
    return names.filter((name) => data.series.get(name).slice(Math.max(0, from), to).some((value) => value));
  }

  order(names) {
    const declared = this.panel.legends ?? [];
    const rank = (name) => { const at = declared.indexOf(name); return at < 0 ? declared.length : at; };
    return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true }));
  }

  build() {
    const cursor = this.plot?.cursor;
    this.plot?.destroy();
    this.assignColors();
    // Lines that are drawn last are on top.
    this.plotted = [...this.names].sort((a, b) => this.isReference(a) - this.isReference(b));
    const { panel, view } = this;
    const options = base(view, this.host, panel.unit);
    const filled = panel.stacked || this.names.length === 1;
    options.series = [{}, ...this.plotted.map((name) => ({
      label: name,
      show: !this.hidden.has(name),
      stroke: () => color(this.tones.get(name)),
      width: panel.stacked ? 1 : 1.5,
      dash: this.isReference(name) ? DASH : undefined,
      fill: filled ? () => withAlpha(this.tones.get(name), panel.stacked ? 0.5 : 0.1) : undefined,
      points: { show: false },
      spanGaps: false,
    }))];
    options.bands = this.bands();
    options.hooks.drawAxes = [(u) => drawMarks(u, view.marks)];
    options.hooks.draw = [(u) => drawThresholds(u, panel.thresholds)];
    options.hooks.setCursor = [(u) => this.updateLegend(u.cursor.idx)];
    this.plot = new uPlot(options, this.empty(), this.host);
    // Elements that are added in this frame may still change the size of the host.
    requestAnimationFrame(() => fit(this.plot, this.host));
    this.nameWidth = Math.max(0, ...this.names.map((name) => width(name)));
    this.valueWidth = 0;
    const focused = this.legend.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.legend.replaceChildren(...this.names.map((name) => this.item(name)), this.others);
    if (focused !== null) this.items.get(focused)?.closest("button").focus({ preventScroll: true });
    return cursor;
  }

  empty() {
    return [[], ...this.plotted.map(() => [])];
  }

  item(name) {
    const value = el("span.value");
    const shown = !this.hidden.has(name);
    const toggle = el("button", {
      type: "button", "aria-pressed": String(shown), title: `Show or hide ${name}`, "data-name": name,
      onclick: () => {
        if (this.hidden.has(name)) this.hidden.delete(name); else this.hidden.add(name);
        toggle.setAttribute("aria-pressed", String(!this.hidden.has(name)));
        this.plot.delBand(null);
        for (const band of this.bands()) this.plot.addBand(band);
        this.plot.setSeries(this.plotted.indexOf(name) + 1, { show: !this.hidden.has(name) });
        this.render(this.data, this.times);
      },
    }, el(`i.${this.tones.get(name)}${this.isReference(name) ? ".dashed" : ""}`, { "aria-hidden": "true" }), el("span.label", name), value);
    this.items.set(name, value);
    return el("li", toggle);
  }

  /** Shows the values at an index, or the latest visible ones. */
  updateLegend(index) {
    if (!this.data) return;
    const at = index ?? this.lastVisible();
    let widest = this.valueWidth;
    for (const [name, node] of this.items) {
      const value = text(this.data.series.get(name)?.[at] ?? null, this.panel.unit);
      if (node.textContent !== value) widest = Math.max(widest, width(value, 600));
      setText(node, value);
    }
    // Columns only grow, so that the legend does not move with every sample.
    if (widest > this.valueWidth) {
      this.valueWidth = widest;
      this.legend.style.setProperty("--item", `${this.nameWidth + widest + LEGEND_ITEM_PX}px`);
    }
  }

  /** Returns the index of the latest visible sample. */
  lastVisible() {
    let at = this.times.length - 1;
    while (at > 0 && this.times[at] > this.view.to) at -= 1;
    return at;
  }

  render(data, times) {
    this.data = data;
    this.times = times;
    const names = this.select(data);
    let cursor = null;
    if (!this.plot || names.join("\u0000") !== this.names.join("\u0000")) {
      this.names = names;
      this.items.clear();
      cursor = this.build();
    }
    const raw = this.plotted.map((name) => data.series.get(name));
    this.plot.setData([times, ...(this.panel.stacked ? this.stack(raw) : raw)]);
    // A new plot shows the crosshair where the one before it did.
    if (cursor?.left >= 0) this.plot.setCursor({ left: cursor.left, top: cursor.top }, false);
    const omitted = data.series.size - names.length;
    this.others.hidden = omitted === 0;
    setText(this.others, `${names.length ? `${omitted} others` : `All ${omitted}`}: ${text(0, this.panel.unit)}`);
    this.updateLegend(this.plot.cursor.idx);
  }

  /** Stacks the visible lines. A missing value counts as zero if another line has a value. */
  stack(raw) {
    const shown = this.plotted.map((name) => !this.hidden.has(name));
    const height = this.times.map((_, at) => (raw.some((values, index) => shown[index] && values[at] !== null) ? 0 : null));
    return raw.map((values, index) => {
      if (!shown[index]) return values;
      return values.map((value, at) => {
        if (height[at] !== null) height[at] += value ?? 0;
        return height[at];
      });
    });
  }

  /** Returns the bands between adjacent lines of a stack, so that areas do not overlap. */
  bands() {
    if (!this.panel.stacked) return [];
    const shown = this.plotted.map((_, index) => index + 1).filter((at) => !this.hidden.has(this.plotted[at - 1]));
    return shown.slice(1).map((at, index) => ({ series: [at, shown[index]] }));
  }

  repaint() {
    this.plot?.redraw(false);
  }
}
