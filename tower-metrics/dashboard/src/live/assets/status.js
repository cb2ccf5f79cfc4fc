// Objectives and their alerts, consistency checks, problems, and controls.

import { el, setText } from "./dom.js";
import { axis, clock, span, text } from "./format.js";

/** Formats an objective with all of its nines. */
const percent = (share) => `${Number((share * 100).toPrecision(8))}%`;

const severityTone = (alert) => (alert.severity === "page" ? "bad" : "warn");

/** Formats a burn rate: `0.5× in 6 min`. The only line break is before `in`. */
const within = (rate, length) => `${text(rate, "times")} in\u00a0${span(length).replace(" ", "\u00a0")}`;

export class Objectives {
  constructor(definitions, badges, announce) {
    this.announce = announce;
    this.cards = new Map();
    this.section = el("div.objectives");
    for (const objective of definitions) {
      const pill = el("span.pill", { "data-tone": "good" }, "OK");
      const budget = el("b");
      const alerts = objective.alerts.map((alert) => {
        const long = el("td.num");
        const short = el("td.num");
        const state = el("td.state");
        const row = el("tr", el("th", { scope: "row" }, `${alert.severity} >\u00a0${axis(alert.rate, "times")}`), long, short, state);
        return { row, long, short, state, alert };
      });
      const card = el("figure.panel.objective", { "aria-label": objective.title },
        el("figcaption", el("h3", objective.title), el("span.grow"), pill),
        el("p.budget", `${percent(objective.objective)} of requests ${objective.condition}. Error ratio: `, budget),
        el("table", el("thead", el("tr",
          el("th", { scope: "col" }, "Burn rate alert"),
          el("th.num", { scope: "col" }, "Long window"), el("th.num", { scope: "col" }, "Short window"), el("th.num", { scope: "col" }, "Firing since"))),
        el("tbody", alerts.map(({ row }) => row))));
      const badge = el("a.badge", { href: `#${objective.id}` });
      card.id = objective.id;
      badges.append(badge);
      this.section.append(card);
      this.cards.set(objective.id, { objective, card, pill, budget, alerts, badge, firing: false });
    }
  }

  render(states) {
    for (const state of states) {
      const entry = this.cards.get(state.id);
      if (!entry) continue;
      const { objective, card, pill, budget, alerts, badge } = entry;
      let firing = null;
      alerts.forEach((line, index) => {
        const now = state.alerts[index];
        setText(line.long, within(now.long, line.alert.long_s));
        setText(line.short, within(now.short, line.alert.short_s));
        setText(line.state, now.since ? clock(now.since) : "–");
        line.row.dataset.tone = now.since ? severityTone(line.alert) : "";
        if (now.since && !firing) firing = line.alert;
      });
      setText(budget, text(state.errors, "ratio"));
      const tone = firing ? severityTone(firing) : "good";
      setText(pill, firing ? `Firing: ${firing.severity}` : "OK");
      pill.dataset.tone = card.dataset.tone = badge.dataset.tone = tone;
      setText(badge, firing ? `${objective.title}: ${firing.severity}` : objective.title);
      if (Boolean(firing) !== entry.firing) {
        this.announce(firing ? `Firing: ${objective.title}, ${firing.severity}` : `Resolved: ${objective.title}`);
        entry.firing = Boolean(firing);
      }
    }
  }
}

const CHECK_TONES = { passed: "good", failed: "bad", unknown: "warn" };

export class Checks {
  constructor(definitions, badges, announce) {
    this.announce = announce;
    this.items = new Map();
    for (const check of definitions) {
      const sides = el("dl.sides");
      const label = el("span");
      const details = el("details.badge", el("summary", { title: check.description }, label),
        el("div.pop", el("p", check.description), sides));
      badges.append(details);
      this.items.set(check.id, { check, details, label, sides });
    }
  }

  render(states) {
    for (const status of states) {
      const item = this.items.get(status.id);
      if (!item) continue;
      const { check, details, label, sides } = item;
      const before = details.dataset.tone;
      const tone = CHECK_TONES[status.state];
      details.dataset.tone = tone;
      setText(label, status.state === "passed" ? check.title
        : status.state === "unknown" ? `${check.title}: unknown`
        : status.error ? `${check.title}: check failed` : `${check.title}: off by ${text(status.difference, "exact")}`);
      const lines = status.error ? [el("dt.detail", status.error)] : status.equations.flatMap(({ title, sides: values }) => [
        el("dt.title", title), el("dd"),
        ...values.flatMap(({ label: name, low, high }) => [el("dt", name),
          el("dd.num", low === high ? text(low, "exact") : `${text(low, "exact")} – ${text(high, "exact")}`)]),
      ]);
      sides.replaceChildren(...lines);
      if (before && before !== tone) this.announce(label.textContent);
    }
  }
}

/** Collectors and controls that failed. The badge is hidden if there are none. */
export class Problems {
  constructor(badges, announce) {
    this.announce = announce;
    this.label = el("span");
    this.list = el("dl.sides");
    this.details = el("details.badge", { hidden: true, "data-tone": "bad" }, el("summary", this.label),
      el("div.pop", el("p", "Some metrics or controls cannot be read. The log of the service has details."), this.list));
    badges.append(this.details);
  }

  render(problems) {
    const count = problems.length;
    if (this.details.hidden && count) this.announce(`${problems[0].source} ${problems[0].detail}`);
    this.details.hidden = count === 0;
    setText(this.label, count === 1 ? `${problems[0].source}: error` : `${count} errors`);
    this.list.replaceChildren(...problems.flatMap(({ source, detail }) => [el("dt.title", source), el("dd"), el("dt.detail", detail)]));
  }
}

export class Controls {
  /** `change(id, value)` sets a value. `panelValue(id)` formats the latest value of a panel. */
  constructor(definitions, host, change, panelValue) {
    this.panelValue = panelValue;
    this.items = new Map();
    host.hidden = definitions.length === 0;
    for (const control of definitions) {
      const buttons = new Map(control.choices.map((choice) => [choice.value, el("button", {
        type: "button", role: "switch", "aria-checked": "false", title: choice.description,
        onclick: (event) => {
          const on = event.currentTarget.getAttribute("aria-checked") === "true";
          // Pressing the active value returns to the default.
          change(control.id, on && control.default ? control.default : choice.value);
        },
      }, choice.title)]));
      const panel = el("b.value");
      const other = el("span.other");
      host.append(el("div.control", el("span.name", { id: `control-${control.id}`, title: control.description }, control.title),
        el("div.segments", { role: "group", "aria-labelledby": `control-${control.id}` }, ...buttons.values()), other,
        control.panel ? panel : null));
      this.items.set(control.id, { control, buttons, panel, other });
    }
  }

  render(states, details) {
    for (const [id, { control, buttons, panel, other }] of this.items) {
      const current = states[id] ?? null;
      for (const [value, button] of buttons) button.setAttribute("aria-checked", String(value === current));
      const value = current === null ? "unknown" : buttons.has(current) ? "" : current;
      setText(other, [value, details[id]].filter(Boolean).join(" "));
      if (control.panel) setText(panel, this.panelValue(control.panel));
    }
  }
}
