// Methods side by side: one metric, calibration data and prompts against methods.

import { el, scrollBox } from "./dom.js";
import { byMetric } from "./curves.js";
import { someAtFirst } from "./table.js";
import { shownGroups, shownRows } from "./filters.js";
import { at, betterFirst, report, rowLabel, rowOrder } from "./report.js";
import { coloured, colouring } from "./scores.js";
import { score } from "./format.js";

const FIRST_TABLES = 4;

/** The section's content. */
export function methods() {
  const families = [...grouped(shownGroups())].filter(([, groups]) => groups.length > 1);
  if (!families.length) return [el("p", {}, "No model and sparsity with two methods matches the filters.")];
  return byMetric("method-metric", (metric) => {
    const tables = families.map(
      ([label, groups]) =>
        () =>
          comparison(label, groups, metric),
    );
    return someAtFirst(tables, { limit: FIRST_TABLES, noun: "tables" });
  });
}

/** Whether any model and sparsity has two methods. */
export function hasMethods() {
  const all = report.groups.map((_, index) => index).filter((index) => report.groups[index].method !== "dense");
  return [...grouped(all).values()].some((groups) => groups.length > 1);
}

function grouped(groups) {
  const families = new Map();
  for (const group of groups) {
    const { model, sparsity, setting } = report.groups[group];
    const label = [model, sparsity, setting].filter(Boolean).join(" ");
    families.set(label, [...(families.get(label) ?? []), group]);
  }
  return families;
}

function comparison(label, groups, metric) {
  const lines = new Map();
  for (const [place, group] of groups.entries()) {
    for (const row of shownRows(group))
      lines.set(rowLabel(row), Object.assign(lines.get(rowLabel(row)) ?? [], { [place]: row }));
  }
  const mean = (row) => (row === undefined ? null : at(report.rows.metrics[metric].mean, row));
  const colour = colouring([...lines.values()].flat().map(mean), metric, "value");
  const ordered = [...lines].sort(
    ([, left], [, right]) => rowOrder(Object.values(left)[0]) - rowOrder(Object.values(right)[0]),
  );
  const heads = ["calibration, prompt", ...groups.map((group) => report.groups[group].method)].map((text, place) =>
    el("th", { scope: "col", class: place ? "number" : null }, text),
  );
  const body = ordered.map(([name, rows]) =>
    line(
      name,
      groups.map((_, place) => mean(rows[place])),
      metric,
      colour,
    ),
  );
  const caption = `${label}, ${report.metrics[metric].name}`;
  return scrollBox(
    caption,
    el("table", { class: "map" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, body)),
  );
}

function line(name, numbers, metric, colour) {
  const best = numbers.filter((number) => number !== null).sort(betterFirst(metric))[0];
  const cells = numbers.map((number) => {
    const { class: tone = "", style } = coloured(number, colour);
    const text = score(number, report.metrics[metric].decimals);
    return el(
      "td",
      { class: `number ${tone}`, style },
      number !== null && number === best ? el("strong", {}, `${text} ●`) : text,
    );
  });
  return el("tr", {}, el("th", { scope: "row" }, name), cells);
}
