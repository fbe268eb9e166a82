// How the cells ran: spread over draws, cost, overlap with the evaluation, missing cells, and provenance.

import { el } from "./dom.js";
import { byMetric } from "./curves.js";
import { cellLink, protocols } from "./detail.js";
import { matchesCategory, shownGroups, shownMetrics, shownRows } from "./filters.js";
import { count, duration, interval, memory, plain, score } from "./format.js";
import { at, cellHref, drawsBehind, groupLabel, metricLabel, report, rowCells, rowLabel, rowMissing } from "./report.js";
import { sortableTable } from "./table.js";

/** The content of the section on draws: the spread of each row, and its cells. */
export function draws() {
  const rows = shownGroups().flatMap(shownRows);
  const single = rows.every((row) => rowCells(row).length < 2);
  const note = single ? el("p", {}, "Each row has one draw: the noise of draws is unknown, and one draw cannot tell a data set from its draw.") : null;
  return [note, ...byMetric("draw-metric", (metric) => drawTable(rows, metric))];
}

function drawTable(rows, metric) {
  const { decimals, name } = report.metrics[metric];
  const { mean, sd, low, high } = report.rows.metrics[metric];
  const text = (number) => score(number, decimals);
  const group = (row) => groupLabel(report.groups[report.rows.group[row]]);
  const columns = [
    { title: "Calibration, prompt", value: rowLabel, cell: rowLabel },
    { title: "Group", value: group, cell: group },
    { title: "Draws", numeric: true, value: (row) => drawsBehind(row, metric), cell: (row) => drawCount(row, metric) },
    { title: "Mean", numeric: true, value: (row) => at(mean, row), cell: (row) => text(at(mean, row)) },
    {
      title: "sd",
      numeric: true,
      value: (row) => at(sd, row),
      cell: (row) => (drawsBehind(row, metric) === 1 ? "unknown" : text(at(sd, row))),
    },
    { title: "95 % interval", numeric: true, cell: (row) => interval(at(low, row), at(high, row), text) || "–" },
    { title: "Cells", cell: (row) => cellScores(row, metric, text) },
  ];
  return sortableTable({ caption: `Spread over draws: ${name}`, columns, items: rows, limit: 24 });
}

function drawCount(row, metric) {
  const missing = rowMissing(row);
  return [String(drawsBehind(row, metric)), missing.length ? el("small", {}, `missing: ${missing.join(", ")}`) : null];
}

function cellScores(row, metric, text) {
  const links = rowCells(row).map((cell) => {
    const seed = at(report.cells.seed, cell);
    const name = `${seed === null ? "" : `s${seed} `}${text(at(report.cells.values[metric], cell))}`;
    return el("a", { href: cellHref(report.cells.id[cell]), title: report.cells.name[cell] }, name);
  });
  return links.flatMap((link, place) => (place ? [", ", link] : [link]));
}

/** The content of the section on cost: mean seconds by stage and peak memory of each group. */
export function cost() {
  const stages = Object.keys(report.cells.seconds);
  const shown = new Set(shownGroups());
  const groups = [...report.groups.keys()].filter((group) => shown.has(group) || report.groups[group].method === "dense");
  const items = groups
    .map((group) => ({ group, cells: report.groups[group].rows.flatMap(rowCells) }))
    .filter(({ cells }) => cells.length);
  const label = ({ group }) => groupLabel(report.groups[group]);
  const numeric = (title, number, text) => ({ title, numeric: true, value: number, cell: (item) => text(number(item)) });
  const columns = [
    { title: "Group", value: label, cell: label },
    numeric("Cells", ({ cells }) => cells.length, String),
    ...stages.map((stage) => numeric(stage, ({ cells }) => meanOf(report.cells.seconds[stage], cells), duration)),
    numeric("All cells", ({ cells }) => sumOf(report.cells.seconds.total, cells), duration),
    numeric("Peak memory", ({ cells }) => largest(report.cells.host_mb, cells), memory),
    numeric(
      "On the GPU",
      ({ cells }) => largest(report.cells.device_mb, cells),
      (number) => (number ? memory(number) : "none"),
    ),
  ];
  return [
    el(
      "p",
      {},
      "Mean time per cell and stage; peak memory is the largest of any cell.",
      stages.includes("select") ? " select: choosing the rows of a set, once for all cells that share it." : "",
    ),
    sortableTable({ caption: "Cost by group", quiet: true, columns, items, limit: 24 }),
  ];
}

function known(column, cells) {
  return cells.map((cell) => at(column, cell)).filter((number) => number !== null);
}

function sumOf(column, cells) {
  const numbers = known(column, cells);
  return numbers.length ? numbers.reduce((sum, number) => sum + number, 0) : null;
}

function meanOf(column, cells) {
  const sum = sumOf(column, cells);
  return sum === null ? null : sum / known(column, cells).length;
}

function largest(column, cells) {
  return known(column, cells).reduce((most, number) => (most === null || number > most ? number : most), null);
}

/** The content of the section on overlap between calibration and evaluation. */
export function overlapWarnings() {
  const items = shownOverlaps();
  if (!items.length) return [el("p", {}, "No score that matches the filters shares text with its calibration set.")];
  const numeric = (title, field) => ({
    title,
    numeric: true,
    value: (warning) => warning[field],
    cell: (warning) => plain(warning[field], 0),
  });
  const columns = [
    { title: "Cell", value: (warning) => report.cells.name[warning.cell], cell: (warning) => cellLink(warning.cell) },
    { title: "Metric", value: (warning) => metricLabel(warning.metric), cell: (warning) => metricLabel(warning.metric) },
    numeric("Items", "num_items"),
    numeric("Sharing a row", "num_shared_rows"),
    numeric("Sharing 13 words", "num_shared_ngrams"),
  ];
  const note = "These scores include items that share a row, or 13 consecutive words, with the calibration set.";
  return [
    el("p", {}, note),
    sortableTable({ caption: "Overlap with the calibration set", quiet: true, columns, items, limit: 12 }),
  ];
}

function shownOverlaps() {
  const [groups, metrics] = [new Set(shownGroups()), new Set(shownMetrics())];
  return report.overlap_warnings.filter(({ cell, metric }) => {
    const row = report.cells.row[cell];
    return groups.has(report.rows.group[row]) && metrics.has(metric) && matchesCategory(row);
  });
}

/** The content of the section on cells without a result. */
export function unfinished() {
  if (!report.unfinished.length) return [el("p", {}, "Every cell has a result.")];
  const states = new Map();
  for (const { state } of report.unfinished) states.set(state, (states.get(state) ?? 0) + 1);
  const summary = [...states].map(([state, number]) => `${number} ${state}`).join(", ");
  const name = (cell) => cell.name || cell.id;
  const columns = [
    {
      title: "Cell",
      value: name,
      cell: (cell) => (cell.id ? el("a", { href: cellHref(cell.id) }, name(cell)) : name(cell)),
    },
    { title: "State", value: (cell) => cell.state, cell: (cell) => cell.state },
    { title: "Reason", value: (cell) => cell.reason, cell: (cell) => el("span", { class: "reason" }, cell.reason) },
    { title: "Sweep", value: (cell) => cell.sweep, cell: (cell) => cell.sweep || "–" },
  ];
  return [
    el("p", {}, `${summary}.`),
    sortableTable({
      caption: "Cells without a result",
      quiet: true,
      columns,
      items: report.unfinished,
      cards: true,
      limit: 24,
    }),
  ];
}

/** The content of the section on provenance. */
export function provenance() {
  const versions = [...new Set(report.origins.flatMap((origin) => Object.keys(origin.versions)))].sort();
  const differing = new Set(
    versions.filter((name) => new Set(report.origins.map((origin) => origin.versions[name])).size > 1),
  );
  const columns = [
    { title: "Cells", numeric: true, value: (origin) => origin.num_cells, cell: (origin) => plain(origin.num_cells, 0) },
    {
      title: "Git",
      cell: (origin) =>
        el("span", { title: origin.git }, origin.git?.slice(0, 12) ?? "unknown", origin.dirty ? " with uncommitted changes" : ""),
    },
    { title: "Device", cell: (origin) => origin.device },
    { title: "Hosts", cell: (origin) => (origin.hosts ?? []).join(", ") },
    { title: "Versions", cell: (origin) => versions.map((name, place) => versionText(origin, name, place, differing)) },
  ];
  const measured = shownMetrics().map((metric) => protocols(metric, null, metricLabel(metric)));
  return [
    el("p", {}, `${count(report.origins.length, "environment")}; versions that differ are bold.`),
    sortableTable({ caption: "Where the cells come from", columns, items: report.origins, cards: true, limit: 12 }),
    el("h3", {}, "How each metric was measured"),
    el("div", { class: "protocols" }, measured),
  ];
}

function versionText(origin, name, place, differing) {
  const text = `${place ? ", " : ""}${name}\u00a0${origin.versions[name] ?? "unknown"}`;
  return differing.has(name) ? el("strong", {}, text) : text;
}
