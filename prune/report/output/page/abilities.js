// What is left of each ability, and whether a model that still chooses answers also writes them: a table for each group.

import { el } from "./dom.js";
import { shownGroups, shownRows } from "./filters.js";
import { percent, signed } from "./format.js";
import { at, groupLabel, report, rowLabel } from "./report.js";
import { someAtFirst, sortableTable } from "./table.js";

const FIRST_GROUPS = 4;
const MEASURES = { retention: "share retained", times: "× dense" };

/** The section's content. */
export function abilities() {
  const groups = shownGroups().filter((group) => columnsOf(group).length);
  const nothing = "No group was scored beside its dense model.";
  const tables = groups.map((group) => () => groupTable(group));
  return [
    el(
      "p",
      {},
      "Against the dense model, each row over the same scores of an ability. A share is that of the dense model's score " +
        "above chance; it is shown only where the dense model is 5 standard errors above chance.",
    ),
    gapNote(groups),
    someAtFirst(tables, { limit: FIRST_GROUPS, noun: "groups", nothing }),
  ];
}

function gapNote(groups) {
  const there = report.gaps.some((gap) => groups.includes(gap.group));
  const text = "chooses − writes: where it is far above the dense model's, a pruned model still chooses answers but no longer writes them.";
  return there ? el("p", {}, text) : null;
}

/** Whether any group has something to show. */
export function hasAbilities() {
  return report.retained.length + report.gaps.length > 0;
}

function columnsOf(group) {
  const retained = report.retained.filter((entry) => entry.group === group);
  const gap = report.gaps.find((entry) => entry.group === group);
  return [...retained.map(abilityColumn), ...(gap ? [gapColumn(gap)] : [])];
}

function groupTable(group) {
  const place = new Map(report.groups[group].rows.map((row, index) => [row, index]));
  const columns = columnsOf(group).map(({ number, text, ...column }) => ({
    ...column,
    numeric: true,
    value: (row) => number(place.get(row)),
    cell: (row) => text(number(place.get(row))),
  }));
  const first = { title: "Calibrated on", value: rowLabel, cell: rowLabel };
  const caption = groupLabel(report.groups[group]);
  return sortableTable({ caption, columns: [first, ...columns], items: shownRows(group), limit: 20 });
}

function abilityColumn({ ability, measure, scores, values }) {
  const { name, kind, decimals } = report.abilities[ability];
  const text = {
    retention: (number) => percent(number, 0),
    times: (number) => (number === null ? "–" : `× ${number.toFixed(2)}`),
  }[measure];
  return {
    title: `${name}, ${kind}`,
    head: [name, el("small", {}, `${kind}: ${MEASURES[measure] ?? measure}`)],
    hint: scores.join(", "),
    number: (index) => at(values, index),
    text: text ?? ((number) => signed(number, decimals)),
  };
}

function gapColumn({ sets, values, dense }) {
  const against = dense === null ? "" : `, dense ${signed(dense, 1)}`;
  return {
    title: "chooses − writes",
    head: ["chooses − writes", el("small", {}, `acc_mc − acc: points${against}`)],
    hint: `A row far above dense still chooses answers but no longer writes them: ${sets.join(", ")}`,
    number: (index) => at(values, index),
    text: (number) => signed(number, 1),
  };
}
