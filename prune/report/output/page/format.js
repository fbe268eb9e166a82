// Numbers and words as the page prints them.

const NOTHING = "–";

/** A score with its metric's number of decimals, like `72.07` or `0.940`. */
export function score(value, decimals = 3) {
  if (value === null) return NOTHING;
  if (Math.abs(value) >= 10000) return value.toExponential(2);
  return rounded(value, decimals).replace("-", "−");
}

/** The digits of a number; one that rounds to 0 has no sign. */
function rounded(value, decimals) {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** A difference of scores with its sign; one that rounds to 0 has none. */
export function signed(value, decimals) {
  if (value === null || value === undefined) return NOTHING;
  const text = score(value, decimals);
  return (value > 0 && Number(text) !== 0 ? "+" : "") + text;
}

/** An interval, like `[−0.020, +0.013]`; empty where it is unknown. */
export function interval(low, high, text) {
  return low === null || high === null ? "" : `[${text(low)}, ${text(high)}]`;
}

/** Wilson's 95 % interval of a share of so many items, which is no point at 0 or 1. */
export function wilson(share, number) {
  const z = 1.959964;
  const centre = (share + z ** 2 / (2 * number)) / (1 + z ** 2 / number);
  const half = (z / (1 + z ** 2 / number)) * Math.sqrt((share * (1 - share)) / number + z ** 2 / (4 * number ** 2));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/** A sentence in which no line begins with a percent sign. */
export function unbroken(sentence) {
  return sentence.replaceAll(" %", "\u00a0%");
}

/** A probability, like `p = 0.031`. */
export function probability(p) {
  if (p === null) return "";
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
}

/** A number that is no score: five digits at most, grouped by thousands. */
export function plain(value, digits = 3) {
  if (value === null || value === undefined) return NOTHING;
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) >= 100 ? 0 : digits }).replace("-", "−");
}

/** A share as percent. */
export function percent(value, digits = 1) {
  return value === null || value === undefined ? NOTHING : `${(value * 100).toFixed(digits)} %`;
}

/** Seconds in the unit that reads best. */
export function duration(seconds) {
  if (seconds === null) return NOTHING;
  if (seconds < 100) return `${plain(seconds, seconds < 10 ? 2 : 1)} s`;
  return seconds < 6000 ? `${plain(seconds / 60, 1)} min` : `${plain(seconds / 3600, 1)} h`;
}

/** Megabytes in the unit that reads best. */
export function memory(megabytes) {
  if (megabytes === null) return NOTHING;
  return megabytes < 10000 ? `${plain(megabytes, 0)} MB` : `${plain(megabytes / 1024, 1)} GB`;
}

/** `1 cell`, `2 cells`. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
