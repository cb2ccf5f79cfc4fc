// State of the page: its definition, the history of every panel, and the current state of everything else.
// A history that arrives after a reconnect extends the existing one, with a gap between them.

const GAP_S = 3;

export class Store {
  constructor() {
    this.definition = null;
    this.times = [];
    this.panels = new Map();
    this.clock = 0;
    this.latest = { objectives: [], checks: [], controls: {}, control_details: {}, marks: [], problems: [] };
  }

  define(definition) {
    this.definition = definition;
    this.keep = Math.ceil(definition.history_s / definition.step_s);
    for (const row of definition.rows) {
      for (const panel of row.panels) {
        const known = this.panels.get(panel.id);
        if (!known) this.panels.set(panel.id, { series: new Map(), counts: [], bounds: [], rows: [] });
      }
    }
  }

  /** Takes a complete history: the first event of a stream, and the first after a step of the server's clock. */
  replace(history) {
    // A clock step changes the timestamps of earlier samples. The history has them all.
    if (history.now.clock !== this.clock) this.clear();
    this.clock = history.now.clock;
    const first = history.t.length ? history.t[0] : history.now.t;
    let old = this.times.length;
    while (old > 0 && this.times[old - 1] >= first) old -= 1;
    const gap = old > 0 && first - this.times[old - 1] > GAP_S;
    const lead = gap ? [...this.times.slice(0, old), this.times[old - 1] + 1] : this.times.slice(0, old);
    for (const [id, panel] of this.panels) {
      const sent = history.panels[id] ?? {};
      const before = (values) => {
        const kept = values.slice(0, old);
        while (kept.length < lead.length) kept.push(null);
        return kept;
      };
      const names = new Set([...panel.series.keys(), ...Object.keys(sent.series ?? {})]);
      for (const name of names) {
        const values = sent.series?.[name] ?? new Array(history.t.length).fill(null);
        panel.series.set(name, before(panel.series.get(name) ?? []).concat(values));
      }
      panel.counts = before(panel.counts).concat(sent.counts ?? new Array(history.t.length).fill(null));
      panel.bounds = sent.bounds ?? panel.bounds;
      if (sent.rows) panel.rows = sent.rows;
    }
    this.times = lead.concat(history.t);
    this.take(history.now);
    this.trim();
  }

  clear() {
    this.times = [];
    for (const panel of this.panels.values()) {
      panel.series.clear();
      panel.counts = [];
    }
  }

  /** Takes one more sample. */
  append(update) {
    const last = this.times.at(-1);
    if (last !== undefined && update.t <= last) return;
    if (last !== undefined && update.t - last > GAP_S) this.push(last + 1, {});
    this.push(update.t, update.panels);
    this.take(update);
    this.trim();
  }

  push(t, sent) {
    for (const [id, panel] of this.panels) {
      const now = sent[id] ?? {};
      for (const name of Object.keys(now.series ?? {})) {
        if (!panel.series.has(name)) panel.series.set(name, new Array(this.times.length).fill(null));
      }
      for (const [name, values] of panel.series) values.push(now.series?.[name] ?? null);
      panel.counts.push(now.counts ?? null);
      if (now.bounds) panel.bounds = now.bounds;
      if (now.rows) this.table(panel, now.rows);
    }
    this.times.push(t);
  }

  table(panel, rows) {
    const before = new Map(panel.rows.map((row) => [row.key.join("\u0000"), row.spark]));
    panel.rows = rows.map((row) => {
      const spark = before.get(row.key.join("\u0000")) ?? [];
      return { ...row, spark: [...spark, row.cells[0]].slice(-this.definition.spark) };
    });
  }

  take(state) {
    const { objectives, checks, controls, control_details, marks, problems } = state;
    this.latest = { objectives, checks, controls, control_details, marks, problems };
  }

  trim() {
    const over = this.times.length - this.keep;
    if (over < 30) return;
    this.times.splice(0, over);
    for (const panel of this.panels.values()) {
      for (const [name, values] of panel.series) {
        values.splice(0, over);
        if (values.every((value) => value === null)) panel.series.delete(name);
      }
      panel.counts.splice(0, over);
    }
  }

  get now() {
    return this.times.at(-1) ?? Date.now() / 1000;
  }
}
