// The report's data, and functions of it that several sections use. prune/report/model.py says what each field means.

const holder = document.getElementById("data");
export const report = await read(holder.type, holder.textContent);
holder.remove();

/** The data as html.py wrote it: JSON, or JSON packed as gzip and base64. */
async function read(type, text) {
  if (type === "application/json") return JSON.parse(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < bytes.length; place += 1) bytes[place] = letters.charCodeAt(place);
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).json();
}

/** An entry of a column; a column that holds nothing is null. */
export function at(column, index) {
  return column?.[index] ?? null;
}

export const PROMPTS = ["icl", "cot", "single", "zero_shot", "chat", "autoregressive"];
export const PRETRAINING = "pre-training";

/** The noises that a comparison includes, by `Basis`. */
export const BASES = [
  "noise unknown",
  "shared items; one draw",
  "shared items and draws",
  "standard errors, items not paired; one draw",
  "standard errors, items not paired, and draws",
  "draws only: the metric has no items",
];

/** Whether a comparison includes the noise of both sides' draws, which a claim on sets needs. */
export function knowsDraws(basis) {
  return [2, 4, 5].includes(basis);
}

/** `tiny wanda 50%`, with the other knobs in which groups differ. */
export function groupLabel(group) {
  return [group.model, group.method, group.sparsity, group.setting].filter(Boolean).join(" ");
}

/** The calibration set of a row, or null. */
export function rowCalib(row) {
  const calib = at(report.rows.calib, row);
  return calib === null ? null : report.calibs[calib];
}

/** The category of a row's calibration set; `dense` or `none` for rows without one. */
export function rowCategory(row) {
  return rowCalib(row)?.category ?? (isDense(row) ? "dense" : "none");
}

/** Whether a row is an unpruned model. */
export function isDense(row) {
  return report.groups[report.rows.group[row]].method === "dense";
}

/** `gsm8k-icl`, `c4`, `c4-zipf-attention`; the method where there is no calibration data. */
export function rowLabel(row) {
  const name = rowCalib(row)?.name ?? report.groups[report.rows.group[row]].method;
  const { prompt, select, weight } = report.rows;
  const data = [name, ...[prompt, select, weight].map((axis) => at(axis, row))].filter(Boolean).join("-");
  return [data, report.rows.knobs?.[row]].filter(Boolean).join(" ");
}

/** A row's place among its group: by calibration set, then prompt. */
export function rowOrder(row) {
  const calib = at(report.rows.calib, row) ?? report.calibs.length;
  return calib * 10 + PROMPTS.indexOf(at(report.rows.prompt, row));
}

/** Whether a row is calibrated on the set that the metric is measured on. */
export function isDiagonal(row, metric) {
  return rowCalib(row)?.name === report.metrics[metric].dataset;
}

/** The finished cells of a row. */
export function rowCells(row) {
  return report.rows.cells?.[row] ?? [];
}

/** The names of a row's cells without a result. */
export function rowMissing(row) {
  return report.rows.missing?.[row] ?? [];
}

/** The number of draws behind a row's mean of a metric. */
export function drawsBehind(row, metric) {
  return at(report.rows.metrics[metric].num_draws, row) ?? 0;
}

/** `ppl/wikitext2 ↓`: the arrow points to better. */
export function metricLabel(metric) {
  const { name, higher_is_better } = report.metrics[metric];
  return `${name}\u00a0${higher_is_better ? "↑" : "↓"}`;
}

/** The best first. */
export function betterFirst(metric) {
  const sign = report.metrics[metric].higher_is_better ? -1 : 1;
  return (left, right) => sign * (left - right);
}

/** The link to a cell's folder. */
export function cellHref(id) {
  return `${report.elsewhere[id] ?? report.cells_href}/${encodeURIComponent(id)}/`;
}
