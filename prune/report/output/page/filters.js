// The filters: one state, and the groups, metrics and rows that it leaves.

import { el, labelledSelect } from "./dom.js";
import { count } from "./format.js";
import { report, rowCalib, rowOrder } from "./report.js";

const chosen = { model: "", method: "", sparsity: "", setting: "", metric: "", category: "" };
const pruned = report.groups.map((group, index) => [group, index]).filter(([group]) => group.method !== "dense");

/** The groups to show, as indices; dense ones only when there is nothing else. */
export function shownGroups() {
  const all = pruned.length ? pruned : report.groups.map((group, index) => [group, index]);
  return all.filter(([group]) => matchesGroup(group)).map(([, index]) => index);
}

function matchesGroup(group) {
  return ["model", "method", "sparsity", "setting"].every((field) => !chosen[field] || group[field] === chosen[field]);
}

/** Whether to show something with a model and perhaps a method and sparsity. */
export function matchesAxes(thing) {
  return ["model", "method", "sparsity"].every(
    (field) => !chosen[field] || thing[field] === null || thing[field] === chosen[field],
  );
}

/** The metrics to show, as indices. */
export function shownMetrics() {
  const [field, value] = chosen.metric.split("=");
  return [...report.metrics.keys()].filter((index) => !field || report.metrics[index][field] === value);
}

/** Whether a row's calibration set is of the chosen category; rows without a set always are. */
export function matchesCategory(row) {
  return !chosen.category || (rowCalib(row)?.category ?? chosen.category) === chosen.category;
}

/** A group's rows to show, by calibration set and prompt. */
export function shownRows(group) {
  return report.groups[group].rows.filter(matchesCategory).sort((left, right) => rowOrder(left) - rowOrder(right));
}

/** The bar of filters; `onchange` is called after each choice. */
export function filterBar(onchange) {
  const note = el("p", { class: "shown", role: "status" }, shownNote());
  const change = (choices) => {
    Object.assign(chosen, choices);
    note.textContent = shownNote();
    onchange();
  };
  const reset = (event) => {
    for (const select of event.target.form.querySelectorAll("select")) select.value = "";
    change(Object.fromEntries(Object.keys(chosen).map((name) => [name, ""])));
  };
  const selects = fields().map(({ name, label, options }) =>
    labelledSelect({ id: `filter-${name}`, label, options, value: "", onchange: (value) => change({ [name]: value }) }),
  );
  const button = el("button", { type: "button", onclick: reset }, "Show all");
  const properties = { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() };
  return el("form", properties, selects, button, note);
}

function fields() {
  return [
    axisField("model", "Model"),
    axisField("method", "Method"),
    axisField("sparsity", "Sparsity"),
    axisField("setting", "Setting"),
    { name: "metric", label: "Metric", options: metricOptions() },
    { name: "category", label: "Calibrated on", options: [["", "all categories"], ...plainOptions(categories())] },
  ].filter((field) => field !== null);
}

function axisField(name, label) {
  const values = distinct(pruned.map(([group]) => group[name]).filter(Boolean));
  if (values.length < 2) return null;
  return { name, label, options: [["", `all (${values.length})`], ...plainOptions(values)] };
}

function metricOptions() {
  const group = (field, label) => ({
    label,
    options: distinct(report.metrics.map((metric) => metric[field])).map((value) => [`${field}=${value}`, value]),
  });
  return [
    ["", `all (${report.metrics.length})`],
    group("category", "Measured on"),
    group("kind", "Kind"),
    group("name", "One metric"),
  ];
}

function categories() {
  return distinct(report.calibs.map((calib) => calib.category));
}

function plainOptions(values) {
  return values.map((value) => [value, value]);
}

function distinct(values) {
  return [...new Set(values)];
}

function shownNote() {
  const groups = shownGroups();
  const rows = groups.flatMap((group) => shownRows(group));
  const counts = [count(groups.length, "group"), count(rows.length, "row"), count(shownMetrics().length, "metric")];
  return `Showing ${counts.join(", ")}.`;
}
