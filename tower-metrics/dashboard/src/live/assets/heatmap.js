// Heatmap of a histogram. Cells are opened by mouse or keyboard.

import { el, setText, withAlpha, color } from "./dom.js";
import { base, drawMarks, fit } from "./chart.js";
import { clock, text } from "./format.js";

const STEPS = [1, 2, 5, 10, 15, 30, 60];
const CELL_PX = 6;

export class Heatmap {
  constructor(panel, body, view, open) {
    this.panel = panel;
    this.view = view;
    this.open = open;
    this.cell = null;
    this.host = el("div.plot.cells", {
      tabindex: open ? 0 : null, role: "application",
      "aria-label": `${panel.title}. Arrow keys select a cell${open ? ", Enter lists its requests" : ""}.`,
      onkeydown: (event) => this.key(event),
      onblur: () => { this.cell = null; this.plot?.redraw(false); },
    });
    this.note = el("p.note", { "aria-live": "polite" });
    body.append(this.host, this.note);
    new ResizeObserver(() => fit(this.plot, this.host)).observe(this.host);
  }

  build() {
    const options = base(this.view, this.host, this.panel.unit);
    const between = options.axes[1];
    options.series = [{}, { show: true, stroke: "transparent", points: { show: false } }];
    options.cursor.y = false;
    options.cursor.points = { show: false };
    options.scales.y = { range: () => [this.low, this.high] };
    between.grid = { show: false };
    between.splits = () => this.rows().map((row) => row).concat(this.high).filter((row) => row > this.low);
    between.values = (_, splits) => this.labels(splits);
    options.hooks.drawAxes = [(u) => this.paint(u)];
    options.hooks.draw = [(u) => drawMarks(u, this.view.marks)];
    options.hooks.setCursor = [(u) => this.point(u)];
    options.hooks.ready.push((u) => u.over.addEventListener("click", () => {
      if (this.hover) this.select(this.hover);
    }));
    this.plot = new uPlot(options, [[], []], this.host);
    requestAnimationFrame(() => fit(this.plot, this.host));
  }

  rows() {
    return Array.from({ length: this.high - this.low }, (_, index) => this.low + index);
  }

  /** Labels the upper edge of each row with its bound, or of every second row if there is little space. */
  labels(splits) {
    const tight = this.host.clientHeight / splits.length < 17;
    return splits.map((row, index) => {
      const bound = this.bounds[row - 1];
      return bound === undefined || tight && (splits.length - index) % 2 ? "" : text(bound, this.panel.unit);
    });
  }

  render(data, times) {
    this.data = data;
    this.times = times;
    this.bounds = data.bounds;
    const used = [data.bounds.length, 0];
    for (const counts of data.counts) {
      if (!counts) continue;
      for (let row = 0; row < counts.length; row += 1) {
        if (counts[row] > 0) { used[0] = Math.min(used[0], row); used[1] = Math.max(used[1], row + 1); }
      }
    }
    this.low = Math.max(0, Math.min(used[0], used[1] - 1));
    this.high = Math.max(used[1], this.low + 4);
    if (!this.plot) this.build();
    this.plot.setData([times, new Array(times.length).fill(null)]);
    this.describe();
  }

  /** Returns the seconds per column, so that columns are at least `CELL_PX` wide. */
  step(u) {
    const seconds = (this.view.to - this.view.from) / Math.max(1, u.over.clientWidth / CELL_PX);
    return STEPS.find((step) => step >= seconds) ?? 60;
  }

  columns(u) {
    const step = this.step(u);
    const columns = new Map();
    let at = this.times.length - 1;
    for (; at >= 0 && this.times[at] >= this.view.from - step; at -= 1) {
      if (this.times[at] > this.view.to || !this.data.counts[at]) continue;
      const start = Math.floor(this.times[at] / step) * step;
      const column = columns.get(start) ?? columns.set(start, new Array(this.bounds.length + 1).fill(0)).get(start);
      this.data.counts[at].forEach((count, row) => { column[row] += count; });
      // A sample counts the requests that ended since the previous one.
      column.to ??= this.times[at];
      column.from = this.times[at - 1] ?? this.times[at] - 1;
    }
    return { step, columns };
  }

  paint(u) {
    if (!this.data) return;
    const { ctx, bbox } = u;
    const { step, columns } = this.columns(u);
    this.drawn = { step, columns };
    let most = 1;
    for (const column of columns.values()) for (const count of column) most = Math.max(most, count);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const gap = devicePixelRatio;
    for (const [start, column] of columns) {
      const left = Math.round(u.valToPos(start, "x", true));
      const right = Math.round(u.valToPos(start + step, "x", true));
      for (const row of this.rows()) {
        if (!column[row]) continue;
        const top = Math.round(u.valToPos(row + 1, "y", true));
        const bottom = Math.round(u.valToPos(row, "y", true));
        ctx.fillStyle = withAlpha("heat", 0.1 + 0.9 * Math.sqrt(column[row] / most));
        ctx.fillRect(left, top, right - left - gap, bottom - top - gap);
      }
    }
    const ring = this.cell ?? this.hover;
    if (ring) {
      ctx.strokeStyle = color("text");
      ctx.lineWidth = 1.5 * devicePixelRatio;
      const left = u.valToPos(ring.start, "x", true);
      const top = u.valToPos(ring.row + 1, "y", true);
      ctx.strokeRect(left - 1, top - 1, u.valToPos(ring.start + step, "x", true) - left, u.valToPos(ring.row, "y", true) - top);
    }
    ctx.restore();
  }

  point(u) {
    const { left, top } = u.cursor;
    const before = this.hover;
    this.hover = null;
    if (left >= 0 && top >= 0 && u.cursor.event && this.drawn && this.host.matches(":hover")) {
      const step = this.drawn.step;
      const start = Math.floor(u.posToVal(left, "x") / step) * step;
      const row = Math.floor(u.posToVal(top, "y"));
      if (this.drawn.columns.get(start)?.[row] > 0) this.hover = { start, row };
    }
    u.over.style.cursor = this.hover && this.open ? "pointer" : "";
    if (before?.start !== this.hover?.start || before?.row !== this.hover?.row) {
      u.redraw(false);
      this.describe();
    }
  }

  cellBounds(row) {
    return [row > 0 ? this.bounds[row - 1] : 0, this.bounds[row] ?? null];
  }

  describe() {
    const cell = this.cell ?? this.hover;
    if (!cell || !this.drawn) {
      setText(this.note, this.open ? "Select a cell to list its requests." : "");
      return;
    }
    const [from, to] = this.cellBounds(cell.row);
    const size = to === null ? `over ${text(from, this.panel.unit)}` : `${text(from, this.panel.unit)} to ${text(to, this.panel.unit)}`;
    const count = this.drawn.columns.get(cell.start)?.[cell.row] ?? 0;
    setText(this.note, `${clock(cell.start)}, ${this.drawn.step} s, ${size}: ${Math.round(count)}`);
  }

  select({ start, row }) {
    if (!this.open) return;
    const [from, to] = this.cellBounds(row);
    const column = this.drawn.columns.get(start);
    if (column?.[row]) this.open({ from: column.from, to: column.to, at_least: from, at_most: to }, Math.round(column[row]));
  }

  key(event) {
    if (!this.drawn?.columns.size) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if ((event.key === "Enter" || event.key === " ") && this.cell) {
      // Prevents the key from activating the focused element of the dialog.
      event.preventDefault();
      this.select(this.cell);
      return;
    }
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const starts = [...this.drawn.columns.keys()].sort((a, b) => a - b);
    if (this.cell) {
      const index = starts.findIndex((start) => start >= this.cell.start);
      const next = Math.min(starts.length - 1, Math.max(0, (index < 0 ? starts.length - 1 : index) + move[0]));
      this.cell = { start: starts[next], row: Math.min(this.high - 1, Math.max(this.low, this.cell.row + move[1])) };
    } else {
      const start = starts.at(-1);
      const column = this.drawn.columns.get(start);
      this.cell = { start, row: column.indexOf(Math.max(...column)) };
    }
    this.plot.redraw(false);
    this.describe();
  }

  repaint() {
    this.plot?.redraw(false);
  }
}
