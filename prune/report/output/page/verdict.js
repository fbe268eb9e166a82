// The verdict: the best calibration data and prompt of each group and metric.

import { el } from "./dom.js";
import { probability, score } from "./format.js";
import { shownGroups, shownMetrics } from "./filters.js";
import { at, groupLabel, isDiagonal, knowsDraws, metricLabel, report, rowLabel } from "./report.js";
import { comparisonText, noiseMark } from "./scores.js";
import { someAtFirst, sortableTable } from "./table.js";

const FIRST_GROUPS = 4;

/** The section's content: how often each row is the best, then a table for each group. */
export function verdicts() {
  const metrics = new Set(shownMetrics());
  const shown = new Map(shownGroups().map((group) => [group, []]));
  for (const verdict of report.verdicts) {
    if (metrics.has(verdict.metric)) shown.get(verdict.group)?.push(verdict);
  }
  const tables = [...shown]
    .filter(([, found]) => found.length)
    .map(
      ([group, found]) =>
        () =>
          groupTable(group, found),
    );
  const nothing = "No verdict: no group with two rows to compare matches the filters.";
  return [tally([...shown.values()].flat()), how(), someAtFirst(tables, { limit: FIRST_GROUPS, noun: "groups", nothing })];
}

function how() {
  if (!report.how?.length) return null;
  const items = report.how.map((sentence) => el("li", {}, sentence));
  return el("details", {}, el("summary", {}, "How intervals and p values are made"), el("ul", {}, items));
}

function groupTable(group, found) {
  const notes = [...new Set(found.map((verdict) => verdict.note).filter(Boolean))];
  const table = sortableTable({ caption: groupLabel(report.groups[group]), columns: columns(notes), items: found, cards: true });
  return el("div", {}, table, notes.length ? el("ol", { class: "notes" }, notes.map((note) => el("li", {}, note))) : null);
}

/** The table's columns; a verdict with one of the `notes`, which stand below the table, carries its number. */
const columns = (notes) => [
  {
    title: "Metric",
    value: (verdict) => report.metrics[verdict.metric].name,
    cell: (verdict) => metricLabel(verdict.metric),
  },
  { title: "Best", value: (verdict) => rowLabel(verdict.best), cell: (verdict) => bestText(verdict, notes.indexOf(verdict.note)) },
  { title: "Score", numeric: true, cell: bestScore },
  {
    title: `Against ${report.baseline || "the baseline"}`,
    value: (verdict) => verdict.baseline?.p ?? null,
    cell: (verdict) => compared(verdict, verdict.baseline, false),
  },
  {
    title: "Against the runner-up",
    value: (verdict) => verdict.runner_up?.p ?? null,
    cell: (verdict) => compared(verdict, verdict.runner_up, true),
  },
];

function bestText(verdict, note) {
  return [
    el("strong", { class: "best" }, rowLabel(verdict.best)),
    note < 0 ? null : el("sup", {}, note + 1),
    verdict.ties.length ? el("small", {}, `tied with ${verdict.ties.map(rowLabel).join(", ")}`) : null,
    isDiagonal(verdict.best, verdict.metric) ? el("small", {}, "◆ calibrated on this set") : null,
  ];
}

function bestScore(verdict) {
  return score(at(report.rows.metrics[verdict.metric].mean, verdict.best), report.metrics[verdict.metric].decimals);
}

function compared(verdict, comparison, named) {
  if (!comparison) return verdict.best === report.groups[verdict.group].baseline_row ? "the best is the baseline" : "–";
  const text = comparisonText({ ...comparison, p: null }, report.metrics[verdict.metric].decimals);
  const below = [named ? rowLabel(comparison.row) : "", probability(comparison.p)].filter(Boolean).join(", ");
  return [el("span", { class: "figure" }, text), noiseMark(comparison), el("small", {}, below)];
}

function tally(shown) {
  const wins = new Map();
  for (const verdict of shown) {
    const entry = wins.get(rowLabel(verdict.best)) ?? { label: rowLabel(verdict.best), best: 0, beyond: 0 };
    entry.best += 1;
    entry.beyond += verdict.baseline?.beyond_noise && knowsDraws(verdict.baseline.basis) ? 1 : 0;
    wins.set(entry.label, entry);
  }
  const ordered = [...wins.values()].sort((left, right) => right.best - left.best);
  const items = ordered
    .slice(0, 8)
    .map(({ label, best, beyond }) =>
      el(
        "li",
        {},
        el("strong", {}, label),
        ` best in ${best} of ${shown.length}`,
        beyond ? `, ${beyond} beyond noise against ${report.baseline}` : "",
      ),
    );
  return el("ul", { class: "tally", "aria-label": "How often each row is the best" }, items);
}
