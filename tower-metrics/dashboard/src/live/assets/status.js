// What is true right now: objectives and their alerts, checks, and the controls.

import { el, put } from "./dom.js";
import { clock, span, text } from "./format.js";

/** All nines that were promised, and no more digits. */
const percent = (share) => `${Number((share * 100).toPrecision(8))}%`;

/** `0.5× in 6 min`, broken before its `in` alone where the column is narrow. */
const within = (rate, length) => `${text(rate, "times")} in\u00a0${span(length).replace(" ", "\u00a0")}`;

export class Objectives {
  constructor(definitions, badges, say) {
    this.say = say;
    this.cards = new Map();
    this.section = el("div.objectives");
    for (const objective of definitions) {
      const lamp = el("span.pill", { "data-tone": "good" }, "OK");
      const budget = el("b");
      const alerts = objective.alerts.map((alert) => {
        const long = el("td.num");
        const short = el("td.num");
        const state = el("td.state");
        const row = el("tr", el("th", { scope: "row" }, `${alert.severity} ≥\u00a0${text(alert.rate, "times")}`), long, short, state);
        return { row, long, short, state, alert };
      });
      const card = el("figure.panel.objective", { "aria-label": objective.title },
        el("figcaption", el("h3", objective.title), el("span.grow"), lamp),
        el("p.budget", `${percent(objective.objective)} of requests ${objective.condition}. Error ratio: `, budget),
        el("table", el("thead", el("tr",
          el("th", { scope: "col" }, "Burn rate alert"),
          el("th.num", { scope: "col" }, "Long window"), el("th.num", { scope: "col" }, "Short window"), el("th.num", { scope: "col" }, "Firing since"))),
        el("tbody", alerts.map(({ row }) => row))));
      const badge = el("a.badge", { href: `#${objective.id}` });
      card.id = objective.id;
      badges.append(badge);
      this.section.append(card);
      this.cards.set(objective.id, { objective, card, lamp, budget, alerts, badge, lit: false });
    }
  }

  render(states) {
    for (const state of states) {
      const entry = this.cards.get(state.id);
      if (!entry) continue;
      const { objective, card, lamp, budget, alerts, badge } = entry;
      let lit = null;
      alerts.forEach((line, index) => {
        const now = state.alerts[index];
        put(line.long, within(now.long, line.alert.long_s));
        put(line.short, within(now.short, line.alert.short_s));
        put(line.state, now.since ? clock(now.since) : "–");
        line.row.dataset.tone = now.since ? "bad" : "";
        if (now.since && !lit) lit = line.alert;
      });
      put(budget, text(state.errors, "ratio"));
      const tone = lit ? (lit.severity === "page" ? "bad" : "warn") : "good";
      put(lamp, lit ? `Firing: ${lit.severity}` : "OK");
      lamp.dataset.tone = card.dataset.tone = badge.dataset.tone = tone;
      put(badge, lit ? `${objective.title}: ${lit.severity}` : objective.title);
      if (Boolean(lit) !== entry.lit) {
        this.say(lit ? `Firing: ${objective.title}, ${lit.severity}` : `Resolved: ${objective.title}`);
        entry.lit = Boolean(lit);
      }
    }
  }
}

const CHECK_TONES = { passed: "good", failed: "bad", unknown: "warn" };

export class Checks {
  constructor(definitions, badges, say) {
    this.say = say;
    this.items = new Map();
    for (const check of definitions) {
      const sides = el("dl.sides");
      const label = el("span");
      const details = el("details.badge", el("summary", { title: check.help }, label),
        el("div.pop", el("p", check.help), sides));
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
      put(label, status.state === "passed" ? check.title
        : status.state === "unknown" ? `${check.title}: unknown`
        : status.error ? `${check.title}: check failed` : `${check.title}: off by ${text(status.difference, "exact")}`);
      const lines = status.error ? [el("dt.detail", status.error)] : status.equations.flatMap(({ title, sides: values }) => [
        el("dt.title", title), el("dd"),
        ...values.flatMap(({ label: name, low, high }) => [el("dt", name),
          el("dd.num", low === high ? text(low, "exact") : `${text(low, "exact")} – ${text(high, "exact")}`)]),
      ]);
      sides.replaceChildren(...lines);
      if (before && before !== tone) this.say(label.textContent);
    }
  }
}

/** Failures of the page's own inputs: collectors, controls. The badge is hidden if there are none. */
export class Problems {
  constructor(badges, say) {
    this.say = say;
    this.label = el("span");
    this.list = el("dl.sides");
    this.details = el("details.badge", { hidden: true, "data-tone": "bad" }, el("summary", this.label),
      el("div.pop", el("p", "Parts of this page could not be read. Details are in the log of the service."), this.list));
    badges.append(this.details);
  }

  render(problems) {
    const count = problems.length;
    if (this.details.hidden && count) this.say(`${problems[0].source} ${problems[0].detail}`);
    this.details.hidden = count === 0;
    put(this.label, count === 1 ? `${problems[0].source}: error` : `${count} errors`);
    this.list.replaceChildren(...problems.flatMap(({ source, detail }) => [el("dt.title", source), el("dd"), el("dt.detail", detail)]));
  }
}

export class Controls {
  /** `change(id, value)` is asked to make a change; `beside(id)` gives the figure of a panel. */
  constructor(definitions, host, change, beside) {
    this.beside = beside;
    this.items = new Map();
    host.hidden = definitions.length === 0;
    for (const control of definitions) {
      const buttons = new Map(control.choices.map((choice) => [choice.value, el("button", {
        type: "button", role: "switch", "aria-checked": "false", title: choice.help,
        onclick: (event) => {
          const on = event.currentTarget.getAttribute("aria-checked") === "true";
          // Pressing what is on returns to rest.
          change(control.id, on && control.rest ? control.rest : choice.value);
        },
      }, choice.title)]));
      const figure = el("b.figure");
      const other = el("span.other");
      host.append(el("div.control", el("span.name", { id: `control-${control.id}`, title: control.help }, control.title),
        el("div.segments", { role: "group", "aria-labelledby": `control-${control.id}` }, ...buttons.values()), other,
        control.beside ? figure : null));
      this.items.set(control.id, { control, buttons, figure, other });
    }
  }

  render(states) {
    for (const [id, { control, buttons, figure, other }] of this.items) {
      const current = states[id] ?? null;
      for (const [value, button] of buttons) button.setAttribute("aria-checked", String(value === current));
      put(other, current === null ? "unknown" : buttons.has(current) ? "" : current);
      if (control.beside) put(figure, this.beside(control.beside));
    }
  }
}
