// Pruning inside the model: error and sparsity by block, and the overlap of masks.

import { el, scrollBox } from "./dom.js";
import { lineChart } from "./chart.js";
import { baselineFirst } from "./curves.js";
import { matchesCategory, shownGroups } from "./filters.js";
import { percent, plain } from "./format.js";
import { someAtFirst } from "./table.js";
import { at, groupLabel, report, rowLabel } from "./report.js";

/** The content of the section on blocks. */
export function blocks() {
  const byGroup = new Map(shownGroups().map((group) => [group, []]));
  for (const curve of report.blocks) if (matchesCategory(curve.row)) byGroup.get(report.rows.group[curve.row])?.push(curve);
  const charts = [...byGroup]
    .filter(([, found]) => found.length)
    .flatMap(([group, found]) => [
      () => blockChart(group, found, "error", "relative squared error", (y) => plain(y, 4)),
      () => blockChart(group, found, "sparsity", "share of zeros", (y) => percent(y)),
    ]);
  const tables = [...byGroup].flatMap(([group, found]) =>
    found.filter((curve) => curve.experts?.length).map((curve) => () => expertTable(group, curve)),
  );
  const note = "Error: the method's estimate of the relative squared error of the outputs, mean over linears and draws.";
  const shown = someAtFirst(charts, { limit: 4, noun: "charts", nothing: "No block matches the filters." });
  const ofExperts = tables.length ? [someAtFirst(tables, { limit: 2, noun: "tables", nothing: "" })] : [];
  return [el("p", {}, note), ...droppedParts(byGroup), shown, ...ofExperts];
}

/** A list of the whole blocks or experts that were dropped, by row; empty without any. */
function droppedParts(byGroup) {
  const items = [...byGroup].flatMap(([group, found]) =>
    found.flatMap(({ row, dropped }) =>
      dropped.map((words) => el("li", {}, `${groupLabel(report.groups[group])}, ${rowLabel(row)}: ${words}.`)),
    ),
  );
  return items.length ? [el("ul", {}, items)] : [];
}

function expertTable(group, { row, experts }) {
  const label = `${groupLabel(report.groups[group])}, ${rowLabel(row)}`;
  const note = "calibration tokens that came to the experts of each block; all: experts pruned by all tokens of their layer";
  const heads = ["block", "experts", "fewest", "median", "most", "all"].map((name) => el("th", { scope: "col" }, name));
  const lines = experts.map(({ block, num_experts, lowest, median, highest, num_all }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, String(block)),
      [num_experts, lowest, median, highest, num_all].map((number) => el("td", { class: "number" }, plain(number, 6))),
    ),
  );
  const caption = el("caption", {}, label, el("small", {}, note));
  const table = el("table", {}, caption, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines));
  return scrollBox(`Tokens of the experts of ${label}`, table);
}

function blockChart(group, found, field, yLabel, yText) {
  const points = (column) =>
    (column ?? []).map((y, x) => ({ x, y, low: null, high: null })).filter((point) => point.y !== null);
  const lines = found
    .map((curve) => ({ label: rowLabel(curve.row), points: points(curve[field]) }))
    .filter((line) => line.points.length);
  if (!lines.length) return el("p", {}, `${groupLabel(report.groups[group])}: no ${yLabel} is known.`);
  return lineChart({
    title: `${groupLabel(report.groups[group])}: ${field} by block`,
    xLabel: "block",
    yLabel,
    xText: String,
    yText,
    lines: baselineFirst(lines),
    xTicks: blockTicks(lines),
  });
}

function blockTicks(lines) {
  const last = Math.max(...lines.flatMap((line) => line.points.map((point) => point.x)));
  const step = Math.ceil((last + 1) / 12);
  return [...Array(last + 1).keys()].filter((block) => block % step === 0);
}

/** The content of the section on masks. */
export function masks() {
  const groups = new Set(shownGroups());
  const shown = report.mask_overlaps.filter((overlap) => groups.has(overlap.group));
  const note = "Jaccard index: the weights that both masks remove, divided by those that either removes; 1 means equal masks.";
  return [
    el("p", {}, note),
    someAtFirst(
      shown.map((overlap) => () => matrix(overlap)),
      { limit: 4, noun: "matrices", nothing: "No saved masks match the filters." },
    ),
  ];
}

function matrix({ group, seed, rows, jaccard, expected, share_compared }) {
  const places = [...rows.keys()].filter((place) => matchesCategory(rows[place]));
  const overlap = (i, j) => at(jaccard?.[i], j);
  const lowest = Math.min(expected, ...places.flatMap((i) => places.map((j) => overlap(i, j) ?? 1)));
  const cell = (number) => {
    const depth = number === null || lowest >= 1 ? 0 : (60 * (number - lowest)) / (1 - lowest);
    return el(
      "td",
      { class: "number tone better", style: { "--depth": `${depth.toFixed(1)}%` } },
      number?.toFixed(3) ?? "–",
    );
  };
  const name = (place) => rowLabel(rows[place]);
  const heads = places.map((place) => el("th", { scope: "col" }, name(place)));
  const lines = places.map((i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name(i)),
      places.map((j) => cell(overlap(i, j))),
    ),
  );
  const label = groupLabel(report.groups[group]) + (seed === null ? "" : `, seed ${seed}`);
  const sampled = share_compared < 1 ? `; compared on ${percent(share_compared)} of the weights` : "";
  const caption = el("caption", {}, label, el("small", {}, `random masks would share ${plain(expected)}${sampled}`));
  const head = el("thead", {}, el("tr", {}, el("td", {}), heads));
  return scrollBox(`Mask overlap of ${label}`, el("table", { class: "map" }, caption, head, el("tbody", {}, lines)));
}
