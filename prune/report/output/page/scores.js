// How a score looks: its text in each of the four views, and its colour.

import { el } from "./dom.js";
import { interval, probability, score, signed } from "./format.js";
import { BASES, at, betterFirst, knowsDraws, report } from "./report.js";

/** The views, as [name, title]; a difference is left out where no group has the row to compare with. */
export const VIEWS = [
  ["value", "Value"],
  ["baseline", `Difference to ${report.baseline || "baseline"}`],
  ["dense", "Difference to dense"],
  ["rank", "Rank"],
].filter(([view]) => report.groups.some((group) => group[`${view}_row`] !== null));

const COMPARED = { baseline: "to_baseline", dense: "to_dense" };
const DEEPEST = 60;
const PALE = 0.3;

/** The number of a row and metric in a view, or null. */
export function viewed(row, metric, view) {
  const columns = report.rows.metrics[metric];
  if (view === "value") return at(columns.mean, row);
  if (view === "rank") return at(columns.rank, row);
  return at(columns[COMPARED[view]].difference, row);
}

/** That number as text; a star marks a difference beyond noise, in brackets where that is the noise of the items only. */
export function viewedText(row, metric, view) {
  const number = viewed(row, metric, view);
  const { decimals } = report.metrics[metric];
  if (number === null) return score(null);
  if (view === "value") return score(number, decimals);
  if (view === "rank") return String(number);
  return [signed(number, decimals), starOf(row, metric, view)].filter(Boolean).join(" ");
}

/** `*`, `(*)`, empty within noise, null where noise is unknown. */
function starOf(row, metric, view) {
  const { p, basis } = report.rows.metrics[metric][COMPARED[view]];
  if (at(p, row) === null) return null;
  if (at(p, row) >= 0.05) return "";
  return knowsDraws(at(basis, row)) ? "*" : "(*)";
}

/** The share of its colour that a number has: less for a difference within noise. */
export function emphasis(row, metric, view) {
  return view in COMPARED && starOf(row, metric, view) === "" ? PALE : 1;
}

/** Compares numbers of a view, the best first. */
export function bestFirst(metric, view) {
  return view === "rank" ? (left, right) => left - right : betterFirst(metric);
}

/** Colours for a metric's numbers: a function from number to {tone, depth}, `depth` in percent of the tone. */
export function colouring(numbers, metric, view) {
  const known = numbers.filter((number) => number !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const upward = view !== "rank" && report.metrics[metric].higher_is_better;
  const largest = Math.max(Math.abs(low), Math.abs(high));
  if (view === "baseline" || view === "dense") {
    return (number) => ({
      tone: number > 0 === upward ? "better" : "worse",
      depth: largest ? (DEEPEST * Math.abs(number)) / largest : 0,
    });
  }
  return (number) => ({
    tone: "better",
    depth: high > low ? (DEEPEST * (upward ? number - low : high - number)) / (high - low) : 0,
  });
}

/** The attributes of a coloured element, in a share of its colour; none without a number. */
export function coloured(number, colour, share = 1) {
  if (number === null) return {};
  const { tone, depth } = colour(number);
  return { class: `tone ${tone}`, style: { "--depth": `${(share * depth).toFixed(1)}%` } };
}

/** A comparison in words: `+13.98 [+9.10, +18.20], p = 0.031`. */
export function comparisonText({ difference, low, high, p }, decimals) {
  if (difference === null) return "";
  const range = interval(low, high, (number) => signed(number, decimals));
  return [[signed(difference, decimals), range].filter(Boolean).join(" "), probability(p)].filter(Boolean).join(", ");
}

/** A row's comparison with the baseline or dense, with the noises that it includes. */
export function rowComparison(row, metric, view) {
  const columns = report.rows.metrics[metric][COMPARED[view]];
  const [difference, low, high, p] = ["difference", "low", "high", "p"].map((field) => at(columns[field], row));
  const text = comparisonText({ difference, low, high, p }, report.metrics[metric].decimals);
  return text && `${text} (${BASES[at(columns.basis, row) ?? 0]})`;
}

/** The mark of a comparison: beyond noise, within noise, one draw or noise unknown. */
export function noiseMark({ beyond_noise: beyond, basis }) {
  if (beyond === null) return el("span", { class: "mark unknown" }, "? noise unknown");
  if (!knowsDraws(basis)) return el("span", { class: "mark unknown" }, "? one draw");
  return beyond
    ? el("span", { class: "mark beyond" }, "✓ beyond noise")
    : el("span", { class: "mark within" }, "≈ within noise");
}
