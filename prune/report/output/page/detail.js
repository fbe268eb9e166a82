// The details of one score: a note beside the pointer or the focus, and a window with links to its cells.

import { el } from "./dom.js";
import { count, interval, plain, score, wilson } from "./format.js";
import {
  at,
  cellHref,
  drawsBehind,
  groupLabel,
  isDiagonal,
  metricLabel,
  report,
  rowCells,
  rowLabel,
  rowMissing,
} from "./report.js";
import { rowComparison } from "./scores.js";

const note = el("div", { id: "note", role: "tooltip", hidden: true });
const dialog = el("dialog", { "aria-labelledby": "detail-title" });

/** The elements of both, for the page. */
export function detailElements() {
  return [note, dialog];
}

/** Shows the note of a score beside an element. */
export function showNote(anchor, row, metric) {
  note.replaceChildren(el("strong", {}, `${rowLabel(row)} on ${metricLabel(metric)}`), facts(row, metric));
  note.hidden = false;
  anchor.setAttribute("aria-describedby", "note");
  place(anchor.getBoundingClientRect());
}

/** Hides the note. */
export function hideNote(anchor) {
  anchor?.removeAttribute("aria-describedby");
  note.hidden = true;
}

function place(box) {
  const [width, height] = [note.offsetWidth, note.offsetHeight];
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8));
  const below = box.bottom + 8 + height < window.innerHeight;
  note.style.left = `${left}px`;
  note.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
}

/** Opens the window of a score. */
export function openDetail(row, metric) {
  const group = report.groups[report.rows.group[row]];
  dialog.replaceChildren(
    el("h2", { id: "detail-title" }, `${rowLabel(row)} on ${metricLabel(metric)}`),
    el("p", {}, groupLabel(group)),
    facts(row, metric),
    ...cellList(row, metric),
    protocols(metric, group.model),
    el("button", { type: "button", onclick: () => dialog.close() }, "Close"),
  );
  hideNote();
  dialog.showModal();
}

function facts(row, metric) {
  const { decimals, chance, dataset } = report.metrics[metric];
  const { mean, sd, low, high, rank } = report.rows.metrics[metric];
  const text = (number) => score(number, decimals);
  const draws = drawsBehind(row, metric);
  const spread = [
    draws === 1 ? "1 draw" : `${draws} draws, sd ${text(at(sd, row))}`,
    interval(at(low, row), at(high, row), text),
  ];
  const lines = [
    ["Score", at(mean, row) === null ? "not measured" : text(at(mean, row))],
    ["Draws", draws ? spread.filter(Boolean).join(", 95 % ") : ""],
    ["Items", `n = ${plain(numItems(row, metric), 0)}`],
    [`To ${report.baseline || "baseline"}`, rowComparison(row, metric, "baseline")],
    ["To dense", rowComparison(row, metric, "dense")],
    ["Rank", at(rank, row) === null ? "" : String(at(rank, row))],
    ["Chance", chance === null ? "" : text(chance)],
    ["Diagonal", isDiagonal(row, metric) ? `calibrated and measured on ${dataset}` : ""],
    ["Missing", rowMissing(row).join(", ")],
  ];
  return el(
    "dl",
    {},
    lines.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

function cellList(row, metric) {
  const { decimals } = report.metrics[metric];
  const entries = rowCells(row).map((cell) => {
    const [value, stderr] = [at(report.cells.values[metric], cell), at(report.cells.stderrs?.[metric], cell)];
    return el("li", {}, cellLink(cell), `: ${score(value, decimals)}${errorText(value, stderr, row, metric)}`);
  });
  return [el("h3", {}, count(entries.length, "cell")), el("ul", {}, entries)];
}

/** The precision of a score from its items: ` [0.000, 0.114] over its items` of a share, else ` ± 0.01 standard error`. */
function errorText(value, stderr, row, metric) {
  const { unit, decimals } = report.metrics[metric];
  if (stderr === null || value === null) return "";
  if (unit !== "accuracy") return ` ± ${score(stderr, decimals)} standard error`;
  const text = (number) => score(number, decimals);
  return ` ${interval(...wilson(value, numItems(row, metric)), text)} over its items`;
}

/** The link to a cell's folder, by its name. */
export function cellLink(cell) {
  return el("a", { href: cellHref(report.cells.id[cell]) }, report.cells.name[cell]);
}

/** The number of items behind a row's score. */
function numItems(row, metric) {
  const { model } = report.groups[report.rows.group[row]];
  return report.metrics[metric].num_items ?? ofModels(metric, model)[0]?.num_items;
}

/** How a metric was measured, folded: the settings that models share, then those of one model (default: of each). */
export function protocols(metric, model = null, title = "How it was measured") {
  const common = report.metrics[metric].protocol;
  const own = ofModels(metric, model).map(({ model, num_items, protocol }) => {
    const differing = Object.entries(protocol).filter(([key]) => !(key in common));
    return [el("h4", {}, model), definitions([["items", num_items], ...differing])];
  });
  return el("details", {}, el("summary", {}, title), definitions(Object.entries(common)), own.flat());
}

function ofModels(metric, model) {
  return report.protocols.filter((entry) => entry.metric === metric && (model === null || entry.model === model));
}

function definitions(entries) {
  const lines = entries.map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, protocolValue(value))));
  return el("dl", {}, lines);
}

function protocolValue(value) {
  return typeof value === "string" && value && value.trim() === value ? value : JSON.stringify(value);
}
