// At a glance: for each model what to calibrate on, in a sentence and a picture of every set's difference to the baseline.

import { el, labelledSelect } from "./dom.js";
import { shownGroups } from "./filters.js";
import { interval, probability, signed, unbroken } from "./format.js";
import { forest, kindWord } from "./forest.js";
import { BASES, groupLabel, knowsDraws, metricLabel, report } from "./report.js";
import { sortableTable } from "./table.js";

/** The section's content: a box for each model. */
export function glances() {
  const groups = new Set(shownGroups());
  const shown = report.glances.filter((glance) => glance.groups.some((group) => groups.has(group)));
  if (!shown.length) return [el("p", {}, "No calibration data to compare matches the filters.")];
  return [
    el(
      "div",
      { class: "glances" },
      shown.map((glance) => box(glance, report.glances.indexOf(glance), shown.length > 1)),
    ),
  ];
}

function box(glance, place, isNamed) {
  const name = [glance.part, glance.model].filter(Boolean).join(": ");
  const told = [
    isNamed ? el("h3", {}, name) : null,
    el("p", { class: "answer" }, unbroken(glance.sentence)),
    glance.details.length ? el("p", { class: "sure" }, unbroken(glance.details.join(" "))) : null,
  ];
  return el("div", { class: "glance" }, told, glance.panels.some((panel) => panel.marks.length) ? picture(glance, place) : null);
}

/** The picture of a glance with its two selects: what is averaged, and where. */
function picture(glance, place) {
  const panels = glance.panels.filter((panel) => panel.marks.length);
  let [what, where] = [whatOf(panels[0]), whereOf(panels[0])];
  const holder = el("div", {});
  const draw = () => {
    const panel = panels.find((entry) => whatOf(entry) === what && whereOf(entry) === where);
    holder.replaceChildren(...(panel ? drawn(glance, panel) : [el("p", {}, "Not measured there, or averaged over all groups only.")]));
  };
  const choose = (id, label, options, change) =>
    options.length > 1
      ? labelledSelect({ id: `${id}-${place}`, label, options, value: options[0][0], onchange: (value) => draw(change(value)) })
      : null;
  draw();
  return [
    holder,
    el(
      "div",
      { class: "choices" },
      choose("glance-what", "Averaged over", whatOptions(panels), (value) => (what = value)),
      choose("glance-where", "Pruned how", whereOptions(panels, glance), (value) => (where = value)),
    ),
  ];
}

function whatOf({ ability, metric }) {
  return ability === null ? `metric ${metric}` : `ability ${ability}`;
}

function whereOf({ group }) {
  return group === null ? "all" : String(group);
}

function whatOptions(panels) {
  const first = new Map(panels.map((panel) => [whatOf(panel), panel]));
  const plain = [...first].filter(([, panel]) => panel.ability !== null).map(([value, panel]) => [value, abilityLabel(panel)]);
  const single = [...first].filter(([, panel]) => panel.ability === null);
  const options = single.map(([value, panel]) => [value, metricLabel(panel.metric)]);
  return options.length ? [...plain, { label: "Single scores", options }] : plain;
}

function abilityLabel({ ability }) {
  const { name, kind } = report.abilities[ability];
  return `${name} (${kind})`;
}

function whereOptions(panels, { groups }) {
  const all = groups.length > 1 ? `all ${groups.length} ways together` : groupLabel(report.groups[groups[0]]);
  const there = [...new Set(panels.map((panel) => panel.group).filter((group) => group !== null))];
  return [
    [whereOf(panels[0]), all],
    ...there.map((group) => [String(group), groupLabel(report.groups[group])]).filter(([value]) => value !== whereOf(panels[0])),
  ];
}

function drawn(glance, panel) {
  return [forest(panel, glance.reference, title(glance, panel)), ...notes(panel, glance), numbers(panel, glance)].filter(Boolean);
}

function title(glance, panel) {
  const what = panel.ability === null ? report.metrics[panel.metric].name : report.abilities[panel.ability].name;
  return `Difference to ${glance.reference} on ${what}, ${panel.unit}`;
}

/** Notes on the picture: the noise in its bars, and the sets and scores that it leaves out, unless the sentence says so. */
function notes(panel, { reference, details }) {
  const { draws, items, rounding } = panel.noise;
  const parts = Object.entries({ draws, items, rounding }).filter(([, size]) => size !== null);
  const sizes = parts.map(([name, size]) => `${name} ${size.toFixed(panel.decimals)}`);
  const withDraws = panel.marks.some((mark) => knowsDraws(mark.basis));
  const texts = [
    sizes.length ? `Noise of one difference here: ${sizes.join(", ")} ${panel.unit}.` : "",
    withDraws ? "" : "Dashed bars include the noise of the scored items only: one draw says nothing about the next.",
    rounding === null ? "" : "The grey band is rounding alone: the same samples in reverse order.",
    panel.is_headline || !withDraws ? "" : `Exploratory: corrected for the ${panel.family} comparisons of this picture only.`,
    ...panel.left_out.filter((text) => !details.includes(text)),
    panel.incomplete.length ? `Not in the picture, because they lack some of these scores: ${panel.incomplete.join(", ")}.` : "",
    ownNote(panel, reference),
  ];
  return [el("p", { class: "notes" }, texts.filter(Boolean).join(" "))];
}

function ownNote({ marks, metric }, reference) {
  if (!marks.some((mark) => mark.left_out.length)) return "";
  return metric === null
    ? `◆ without scores on sets that it or ${reference} was calibrated on.`
    : `◆ measured on a set that it or ${reference} was calibrated on.`;
}

function numbers(panel, glance) {
  const text = (number) => signed(number, panel.decimals);
  const columns = [
    { title: "Calibrated on", value: (mark) => mark.label, cell: (mark) => mark.label },
    { title: "Kind", value: (mark) => kindWord(mark), cell: kindWord },
    { title: `Difference, ${panel.unit}`, numeric: true, value: (mark) => mark.effect, cell: (mark) => text(mark.effect) },
    { title: "95 % interval", cell: (mark) => interval(mark.low, mark.high, text) },
    { title: "p", numeric: true, value: (mark) => mark.p, cell: (mark) => probability(mark.p) },
    { title: "Draws", numeric: true, value: (mark) => mark.num_draws, cell: (mark) => String(mark.num_draws) },
    { title: "Noise", cell: (mark) => BASES[mark.basis] },
    { title: panel.metric === null ? "Left out" : "Own set", cell: (mark) => mark.left_out.join(", ") },
  ];
  const details = el("details", {}, el("summary", {}, "The numbers"));
  const caption = title(glance, panel);
  details.addEventListener("toggle", () => details.append(sortableTable({ caption, columns, items: panel.marks })), {
    once: true,
  });
  return details;
}
