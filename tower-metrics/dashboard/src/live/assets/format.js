// Formats numbers with three significant digits and their units.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const DASH = "–";

function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  // The limits are the smallest values that would round up to four digits.
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  if (size >= 0.001) return value.toPrecision(2);
  return value.toExponential(0);
}

function scaled(value, base, names) {
  let step = 0;
  let size = value;
  while (Math.abs(size) >= base * 0.9995 && step < names.length - 1) {
    size /= base;
    step += 1;
  }
  return [step === 0 && Number.isInteger(size) ? String(size) : digits(size), names[step]];
}

const SI = ["", "k", "M", "G", "T"];
const BYTES = ["B", "kB", "MB", "GB", "TB"];

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return ["0", "ms"];
  if (size < 0.001) return [digits(value * 1e6), "µs"];
  if (size < 1) return [digits(value * 1e3), "ms"];
  if (size < 120) return [digits(value), "s"];
  if (size < 7200) return [digits(value / 60), "min"];
  return size < 172800 ? [digits(value / 3600), "h"] : [digits(value / 86400), "d"];
}

function money(value, currency) {
  const big = Math.abs(value) >= 1e6;
  return [new Intl.NumberFormat("en", {
    style: "currency", currency, notation: big ? "compact" : "standard",
    maximumFractionDigits: big ? 2 : 0,
  }).format(value), ""];
}

/** Formats a value in a unit of the JSON API. Returns `[number, unit]`. */
export function parts(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return [DASH, ""];
  switch (unit) {
    case "seconds": return seconds(value);
    case "ratio": return [digits(value * 100), "%"];
    case "bytes": return scaled(value, 1000, BYTES);
    case "bytes_per_second": return scaled(value, 1000, BYTES.map((name) => `${name}/s`));
    case "requests_per_second": case "per_second": return rate(value, "/s");
    case "per_minute": return rate(value, "/min");
    case "times": return [digits(value), "×"];
    case "exact": return [GROUPED.format(value), ""];
    case "count": return count(value);
    default: return unit.startsWith("currency:") ? money(value, unit.slice(9)) : scaled(value, 1000, SI);
  }
}

/** Counts are whole numbers. Small means have decimals. */
function count(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return scaled(value, 1000, SI);
  return [size >= 10 || Number.isInteger(value) ? GROUPED.format(value) : digits(value), ""];
}

function rate(value, per) {
  // Integers have decimals as well, so that columns align.
  const [number, prefix] = Math.abs(value) < 999.5 ? [digits(value), ""] : scaled(value, 1000, SI);
  return [number, `${prefix}${per}`];
}

/** Formats a value and its unit: `12.3 ms`, `4.1%`, `120/s`. */
export function text(value, unit) {
  const [number, suffix] = parts(value, unit);
  return suffix === "" || /^[%×/]|^[kMGT](\/|$)/.test(suffix) ? number + suffix : `${number} ${suffix}`;
}

/** Formats a tick of an axis, without trailing zeros. */
export function axis(value, unit) {
  const [number, suffix] = parts(value, unit);
  const short = /^-?[\d.]+$/.test(number) ? String(Number(number)) : number;
  if (short === "0") return "0";
  return suffix === "" || /^[%×/]|^[kMGT](\/|$)/.test(suffix) ? short + suffix : `${short} ${suffix}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** Formats Unix seconds as local time of day. */
export const clock = (at) => CLOCK.format(at * 1000);
export const minute = (at) => MINUTE.format(at * 1000);

/** Formats a duration: `45 s`, `5 min`, `1 h`. */
export function span(length) {
  if (length < 60) return `${Math.round(length)} s`;
  if (length < 3600) return `${+(length / 60).toFixed(1)} min`;
  return `${+(length / 3600).toFixed(1)} h`;
}
