// Table with a row for each label set, a sparkline of the first column, sorting and search.

import { el, setText, sparkline } from "./dom.js";
import { text } from "./format.js";

/** Allows line breaks before slashes. */
const breakable = (value) => value.split(/(?=\/)/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]));

/** Length of a label value from which it may wrap on narrow screens. */
const LONG = 16;

const NUMERIC = new Intl.Collator("en", { numeric: true });

export class Table {
  constructor(panel, body, open) {
    this.panel = panel;
    this.open = open;
    this.sort = { column: panel.by.length, down: true };
    this.rows = new Map();
    this.query = "";
    const search = el("input.search", {
      type: "search", placeholder: "Search", "aria-label": `Search ${panel.title}`,
      oninput: (event) => { this.query = event.target.value.trim().toLowerCase(); this.arrange(); },
    });
    this.count = el("span.muted", { "aria-live": "polite" });
    body.closest("figure").querySelector("figcaption").append(el("span.grow"), this.count, search);
    this.heads = [...panel.by.map((label) => [label.replaceAll("_", " ").replace(/^http (request )?/, ""), "th.key"]),
      ...panel.columns.map((column) => [column.title, "th.num"])];
    const cells = this.heads.map(([title, selector], index) => {
      const button = el("button", { type: "button", onclick: () => this.by(index) }, title);
      return el(selector, { scope: "col" }, button);
    });
    cells.splice(panel.by.length, 0, el("th.spark", { scope: "col" }, el("span.sr", "Trend")));
    this.headRow = el("tr", cells);
    this.bodyRows = el("tbody");
    body.append(el("div.scroll", { tabindex: 0, role: "region", "aria-label": panel.title },
      el("table", el("thead", this.headRow), this.bodyRows)));
    this.markSort();
  }

  by(column) {
    const key = column < this.panel.by.length;
    this.sort = { column, down: this.sort.column === column ? !this.sort.down : !key };
    this.markSort();
    this.arrange();
  }

  markSort() {
    const shown = [...this.headRow.children].filter((cell) => !cell.classList.contains("spark"));
    shown.forEach((cell, index) => {
      if (index === this.sort.column) cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  createRow(row) {
    const keys = row.key.map((value, index) => {
      const shown = value === "" ? el("span.muted", this.panel.by[index].includes("route") ? "no route" : "none") : el("span", breakable(value));
      const field = this.panel.drill[this.panel.by[index]];
      const linked = this.open && field === "route";
      return el(value.length > LONG ? "td.key.long" : "td.key", linked ? el("button.link", { type: "button", title: "Recent requests", onclick: () => this.open(this.fields(row)) }, shown) : shown);
    });
    const line = el("path.line");
    const area = el("path.area");
    const cells = this.panel.columns.map(() => el("td.num"));
    const tr = el("tr", keys, el("td.spark", el("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, area, line)), cells);
    return { tr, line, area, cells };
  }

  /** Returns the request fields that correspond to the labels of a row. */
  fields(row) {
    const pairs = this.panel.by.map((label, at) => [this.panel.drill[label], row.key[at]]);
    return Object.fromEntries(pairs.filter(([field]) => field));
  }

  render(data) {
    const seen = new Set();
    for (const row of data.rows) {
      const id = row.key.join("\u0000");
      seen.add(id);
      let entry = this.rows.get(id);
      if (!entry) {
        entry = this.createRow(row);
        this.rows.set(id, entry);
      }
      entry.row = row;
      this.panel.columns.forEach((column, index) => {
        const value = row.cells[index];
        setText(entry.cells[index], text(value, column.unit));
        entry.cells[index].dataset.tone = tone(value, column.thresholds);
      });
      const [line, area] = sparkline(row.spark, 20);
      entry.line.setAttribute("d", line);
      entry.area.setAttribute("d", area);
    }
    for (const [id, entry] of this.rows) {
      if (!seen.has(id)) { entry.tr.remove(); this.rows.delete(id); }
    }
    this.arrange();
  }

  arrange() {
    const { column, down } = this.sort;
    const keys = this.panel.by.length;
    const value = ({ row }) => (column < keys ? row.key[column] : row.cells[column - keys]);
    const shown = [...this.rows.values()].filter(({ row }) => row.key.join(" ").toLowerCase().includes(this.query));
    shown.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const order = column < keys ? NUMERIC.compare(x, y) : (x ?? -Infinity) - (y ?? -Infinity);
      return (down ? -order : order) || NUMERIC.compare(a.row.key.join(" "), b.row.key.join(" "));
    });
    // Moves only rows whose position has changed, to keep focus and hover.
    shown.forEach(({ tr }, index) => {
      if (this.bodyRows.children[index] !== tr) this.bodyRows.insertBefore(tr, this.bodyRows.children[index] ?? null);
    });
    while (this.bodyRows.children.length > shown.length) this.bodyRows.lastChild.remove();
    setText(this.count, this.query ? `${shown.length} of ${this.rows.size}` : `${this.rows.size}`);
  }

  repaint() {}
}

/** Returns the tone of the highest threshold that `value` reaches. */
export function tone(value, thresholds) {
  let found = "";
  for (const threshold of thresholds) if (value !== null && value !== undefined && value >= threshold.from) found = threshold.tone;
  return found;
}
