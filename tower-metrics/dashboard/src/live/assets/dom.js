// DOM helpers. Values are always inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element: `el("p.muted", { id: "x", onclick }, "text", child)`. */
export function el(selector, ...rest) {
  const [tag, ...classes] = selector.split(".");
  const svg = tag === "svg" || tag === "path";
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  if (rest[0] && rest[0].constructor === Object) {
    for (const [name, value] of Object.entries(rest.shift())) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
  }
  node.append(...rest.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets the text of a node if it differs, so that screen readers announce only changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const byId = (id) => document.getElementById(id);

const probe = el("span", { hidden: true });
let resolved = new Map();

/** Resolves a color variable of the style sheet for the current theme, for use in a canvas. */
export function color(name) {
  if (!resolved.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    resolved.set(name, getComputedStyle(probe).color);
  }
  return resolved.get(name);
}

export function resetColors() {
  resolved = new Map();
}

/** Resolves a color variable with an opacity. */
export function withAlpha(name, alpha) {
  const channels = color(name).match(/[\d.]+/g).slice(0, 3);
  return `rgba(${channels.join(",")},${alpha})`;
}

/** Returns the SVG paths of a sparkline and the area below it, 100 units wide and `height` units high. */
export function sparkline(values, height) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return ["", ""];
  const top = Math.max(...known, 1e-12);
  const step = 100 / (values.length - 1);
  let [line, area, segment] = ["", "", []];
  const end = () => {
    if (segment.length) {
      const points = segment.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      line += `M${points}`;
      area += `M${segment[0][0].toFixed(1)} ${height}L${points}L${segment.at(-1)[0].toFixed(1)} ${height}Z`;
    }
    segment = [];
  };
  values.forEach((value, index) => {
    if (value === null) end();
    else segment.push([index * step, height - 1 - (value / top) * (height - 2)]);
  });
  end();
  return [line, area];
}

/** Reduces the values after `since` to at most `count` means of adjacent values. */
export function tail(times, values, since, count) {
  let from = times.length;
  while (from > 0 && times[from - 1] >= since) from -= 1;
  const share = Math.max(1, Math.ceil((times.length - from) / count));
  const points = [];
  for (let at = times.length; at > from; at -= share) {
    const some = values.slice(Math.max(from, at - share), at).filter((value) => value !== null);
    points.unshift(some.length ? some.reduce((a, b) => a + b, 0) / some.length : null);
  }
  return points;
}
