// Curves along a knob: sparsity, number of samples, sequence length; a line for each calibration set and prompt.

import { el, labelledSelect } from "./dom.js";
import { someAtFirst } from "./table.js";
import { matchesAxes, matchesCategory, shownMetrics } from "./filters.js";
import { percent, plain, score } from "./format.js";
import { at, metricLabel, report, rowLabel } from "./report.js";
import { lineChart } from "./chart.js";

const AXES = {
  sparsity: "share of the weights removed",
  num_samples: "calibration samples",
  seq_len: "tokens a sample",
  tokens: "real tokens of the calibration set",
};
const FIRST_CURVES = 4;
let focus = null;

/** A select of the shown metrics above `content(metric)` of the chosen one; sections share the choice. */
export function byMetric(id, content) {
  const metrics = shownMetrics();
  if (!metrics.length) return [el("p", {}, "No metric matches the filters.")];
  if (!metrics.includes(focus)) focus = metrics[0];
  const holder = el("div", {}, content(focus));
  const onchange = (value) => {
    focus = Number(value);
    holder.replaceChildren(...[content(focus)].flat());
  };
  const options = metrics.map((metric) => [String(metric), metricLabel(metric)]);
  return [
    el(
      "div",
      { class: "pick" },
      labelledSelect({ id, label: "Metric shown here", options, value: String(focus), onchange }),
    ),
    holder,
  ];
}

/** The section's content. */
export function curves() {
  return byMetric("curve-metric", (metric) => {
    const charts = report.curves.filter(matchesAxes).map((curve) => () => curveChart(curve, metric));
    return someAtFirst(charts, { limit: FIRST_CURVES, noun: "charts", nothing: "No curve matches the filters." });
  });
}

function curveChart(curve, metric) {
  const { decimals } = report.metrics[metric];
  const xText = curve.axis === "sparsity" ? (x) => percent(x, 0) : (x) => plain(x, 0);
  const lines = curve.lines
    .filter((line) => matchesCategory(line.rows[0]))
    .map((line) => ({ label: rowLabel(line.rows[0]), points: linePoints(line, metric) }));
  const dense = curve.dense_row === null ? null : at(report.rows.metrics[metric].mean, curve.dense_row);
  return lineChart({
    title: [curve.model, curve.method, curve.sparsity, curve.setting].filter(Boolean).join(" "),
    xLabel: AXES[curve.axis] ?? curve.axis,
    yLabel: metricLabel(metric),
    xText,
    yText: (y) => score(y, decimals),
    xTicks: [...new Set(curve.lines.flatMap((line) => line.x))],
    lines: baselineFirst(lines),
    reference: dense === null ? null : { label: "dense", y: dense },
  });
}

function linePoints(line, metric) {
  const { mean, low, high } = report.rows.metrics[metric];
  return line.x
    .map((x, place) => ({
      x,
      y: at(mean, line.rows[place]),
      low: at(low, line.rows[place]),
      high: at(high, line.rows[place]),
    }))
    .filter((point) => point.y !== null);
}

/** The lines with the baseline's first, so that it is among those shown at first. */
export function baselineFirst(lines) {
  const isBaseline = (line) => line.label === report.baseline;
  return [...lines.filter(isBaseline), ...lines.filter((line) => !isBaseline(line))];
}
