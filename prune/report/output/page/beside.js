// Models or sweeps side by side: each calibration set's difference to the baseline, in one column for each of them.

import { el, labelledSelect } from "./dom.js";
import { isClaim } from "./forest.js";
import { signed } from "./format.js";
import { report } from "./report.js";
import { sortableTable } from "./table.js";

let chosen = null;

/** Whether there are two to compare. */
export function hasBeside() {
  return abilitiesOfSeveral().length > 0;
}

/** The section's content. */
export function beside() {
  const shared = abilitiesOfSeveral();
  if (!shared.includes(chosen)) chosen = shared[0];
  const holder = el("div", {}, table(chosen));
  const options = shared.map((ability) => [String(ability), `${report.abilities[ability].name} (${report.abilities[ability].kind})`]);
  const onchange = (value) => {
    chosen = Number(value);
    holder.replaceChildren(table(chosen));
  };
  return [
    el("div", { class: "pick" }, labelledSelect({ id: "beside-what", label: "Averaged over", options, value: String(chosen), onchange })),
    holder,
    el("p", { class: "notes" }, "Each column has its own baseline and its own correction. * beyond the noise of draws and items."),
  ];
}

function abilitiesOfSeveral() {
  return [...report.abilities.keys()].filter((ability) => panelsOf(ability).filter((panel) => panel !== null).length > 1);
}

function panelsOf(ability) {
  const isOf = (panel) => panel.ability === ability && panel.group === null && panel.marks.length > 0;
  return report.glances.map((glance) => glance.panels.find(isOf) ?? null);
}

function table(ability) {
  const panels = panelsOf(ability);
  const { name, unit } = report.abilities[ability];
  const labels = [...new Set(panels.flatMap((panel) => panel?.marks.map((mark) => mark.label) ?? []))];
  const columns = report.glances.map(({ part, model, reference }, place) => ({
    title: [part, model].filter(Boolean).join(": "),
    head: [[part, model].filter(Boolean).join(": "), el("small", {}, `to ${reference || "nothing"}`)],
    numeric: true,
    value: (label) => markOf(panels[place], label)?.effect ?? null,
    cell: (label) => markText(markOf(panels[place], label), ability),
  }));
  const first = { title: "Calibrated on", value: (label) => label, cell: (label) => label };
  return sortableTable({ caption: `Difference on ${name}, ${unit}`, columns: [first, ...columns], items: labels });
}

function markOf(panel, label) {
  return panel?.marks.find((mark) => mark.label === label);
}

function markText(mark, ability) {
  if (!mark) return "–";
  return `${signed(mark.effect, report.abilities[ability].decimals)}${isClaim(mark) ? " *" : ""}`;
}
