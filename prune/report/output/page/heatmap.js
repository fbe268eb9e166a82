// The heat map: calibration data and prompts against metrics, a table for each group.

import { el, scrollBox, switcher } from "./dom.js";
import { hideNote, openDetail, showNote } from "./detail.js";
import { shownGroups, shownMetrics, shownRows } from "./filters.js";
import { drawsBehind, groupLabel, isDiagonal, report, rowCategory, rowCells, rowLabel, rowMissing, } from "./report.js";
import { VIEWS, bestFirst, coloured, colouring, emphasis, viewed, viewedText } from "./scores.js";
import { markSorted, someAtFirst } from "./table.js";

const FIRST_GROUPS = 4;
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
let view = "value";

/** The section's content. */
export function heatMaps() {
  const [groups, metrics] = [shownGroups(), shownMetrics()];
  const tables = el("div", {});
  const draw = () => {
    const draws = groups.map((group) => () => groupTable(group, metrics));
    tables.replaceChildren(
      someAtFirst(draws, { limit: FIRST_GROUPS, noun: "groups", nothing: "No group matches the filters." }),
    );
  };
  const change = (entry) => {
    view = entry;
    draw();
  };
  draw();
  return [switcher({ label: "Numbers of the heat map", entries: VIEWS, value: view, onchange: change }), legend(), tables];
}

function legend() {
  const item = (sample, text) => el("li", {}, sample, text);
  const swatch = (tone) => el("span", { class: `swatch tone ${tone}`, style: { "--depth": "60%" }, "aria-hidden": "true" });
  return el(
    "ul",
    { class: "legend" },
    item(swatch("better"), "better"),
    item(swatch("worse"), "worse (in differences)"),
    item(el("span", { class: "swatch diagonal", "aria-hidden": "true" }, "◆"), "calibrated and measured on the same set"),
    item("* ", "difference beyond noise (p < 0.05); the others are pale"),
    item("(*) ", "beyond the noise of the scored items only: one draw"),
    item("† ", "not measured in all cells of the row"),
    el(
      "li",
      { class: "hint" },
      "Hover over a score, or move with the arrow keys, for its draws, items and interval; click it or press Enter for links to its cells.",
    ),
  );
}

function groupTable(index, metrics) {
  const group = report.groups[index];
  const rows = shownRows(index);
  const dense = group.dense_row !== null && !rows.includes(group.dense_row) ? [group.dense_row] : [];
  const colours = metrics.map((metric) =>
    colouring(
      rows.map((row) => viewed(row, metric, view)),
      metric,
      view,
    ),
  );
  const draw = (row) => mapRow(row, metrics, colours);
  const categories = [...dense.map((row) => ["dense", [row]]), ...byCategory(rows)];
  const categorised = () => categories.map(([category, some]) => categoryBody(category, some.map(draw), metrics.length));
  const ordered = (metric) => [el("tbody", {}, [...dense, ...sorted(rows, metric)].map(draw))];
  const table = el("table", { class: "map", role: "grid" }, el("caption", {}, groupLabel(group)));
  let chosen = null;
  const sort = (metric, heads) => {
    chosen = chosen === metric ? null : metric;
    markSorted(heads, chosen === null ? -1 : metrics.indexOf(metric) + 1, bestFirst(metric, view)(0, 1) > 0);
    setBodies(table, chosen === null ? categorised() : ordered(metric));
  };
  table.append(mapHead(metrics, sort));
  setBodies(table, categorised());
  listen(table);
  return scrollBox(`Heat map of ${groupLabel(group)}`, table);
}

function setBodies(table, bodies) {
  for (const body of [...table.tBodies]) body.remove();
  table.append(...bodies);
  table.querySelector("td[data-row]")?.setAttribute("tabindex", "0");
}

function sorted(rows, metric) {
  const order = bestFirst(metric, view);
  return [...rows].sort((left, right) => {
    const [a, b] = [viewed(left, metric, view), viewed(right, metric, view)];
    return a === null || b === null ? (a === null) - (b === null) : order(a, b);
  });
}

function byCategory(rows) {
  const found = new Map();
  for (const row of rows) found.set(rowCategory(row), [...(found.get(rowCategory(row)) ?? []), row]);
  return [...found];
}

function categoryBody(category, rows, width) {
  const name = { dense: "not pruned", none: "without calibration" }[category] ?? category;
  return el(
    "tbody",
    {},
    el("tr", { class: "category" }, el("th", { scope: "rowgroup", colspan: width + 1 }, el("span", {}, name))),
    rows,
  );
}

function mapHead(metrics, sort) {
  const heads = [el("th", { scope: "col" }, "calibration, prompt")];
  for (const metric of metrics) {
    const { label: text, kind, higher_is_better } = report.metrics[metric];
    const label = [el("span", {}, text), el("small", {}, `${kind} ${higher_is_better ? "↑" : "↓"}`)];
    const button = el(
      "button",
      { type: "button", class: "sort", onclick: () => sort(metric, heads), title: "Sort: best first; again: by category" },
      label,
    );
    heads.push(el("th", { scope: "col" }, button));
  }
  return el("thead", {}, el("tr", { class: "runs" }, el("td", {}), runs(metrics)), el("tr", {}, heads));
}

function runs(metrics) {
  const found = [];
  for (const metric of metrics) {
    const { scale, category } = report.metrics[metric];
    const name = scale === "log" ? "perplexity" : category;
    if (found.at(-1)?.name === name) found.at(-1).width += 1;
    else found.push({ name, width: 1 });
  }
  return found.map(({ name, width }) => el("th", { scope: "colgroup", colspan: width }, name));
}

function mapRow(row, metrics, colours) {
  const { baseline_row, dense_row } = report.groups[report.rows.group[row]];
  const missing = rowMissing(row);
  const finished = rowCells(row).length;
  const notes = [
    row === baseline_row ? el("small", {}, "baseline") : null,
    missing.length ? el("small", { title: missing.join(", ") }, `${finished} of ${finished + missing.length} cells`) : null,
  ];
  const cells = metrics.map((metric, place) => mapCell(row, metric, row === dense_row ? null : colours[place]));
  return el("tr", {}, el("th", { scope: "row" }, el("span", {}, rowLabel(row)), notes), cells);
}

function mapCell(row, metric, colour) {
  const { class: tone = "", style } = colour ? coloured(viewed(row, metric, view), colour, emphasis(row, metric, view)) : {};
  const diagonal = isDiagonal(row, metric) ? "diagonal" : "";
  const partial = drawsBehind(row, metric) < rowCells(row).length;
  const text = [viewedText(row, metric, view), partial ? "†" : "", diagonal ? "◆" : ""].filter(Boolean).join(" ");
  const properties = { tabindex: "-1", "data-row": row, "data-metric": metric };
  return el("td", { class: `number ${tone} ${diagonal}`, style, ...properties }, text);
}

function listen(table) {
  const cellOf = (event) => event.target.closest("td[data-row]");
  const withCell = (act) => (event) => {
    const cell = cellOf(event);
    if (cell) act(cell, Number(cell.dataset.row), Number(cell.dataset.metric), event);
  };
  for (const name of ["mouseover", "focusin"]) table.addEventListener(name, withCell(showNote));
  for (const name of ["mouseout", "focusout"])
    table.addEventListener(
      name,
      withCell((cell) => hideNote(cell)),
    );
  table.addEventListener(
    "click",
    withCell((cell, row, metric) => openDetail(row, metric)),
  );
  table.addEventListener("keydown", withCell(onKey));
}

function onKey(cell, row, metric, event) {
  if (event.key === "Enter" || event.key === " ") openDetail(row, metric);
  else if (event.key === "Escape") hideNote(cell);
  else if (event.key in MOVES) moveFocus(cell, ...MOVES[event.key]);
  else return;
  event.preventDefault();
}

function moveFocus(cell, down, right) {
  const lines = [...cell.closest("table").querySelectorAll("tr")].filter((line) => line.querySelector("td[data-row]"));
  const line = lines[lines.indexOf(cell.parentElement) + down];
  const target = line?.cells[cell.cellIndex + right];
  if (!target?.dataset.row) return;
  cell.tabIndex = -1;
  target.tabIndex = 0;
  target.focus();
}
