// The study's four questions: each answer with its effect, interval and number of cells.

import { el, svg } from "./dom.js";
import { count, interval, plain, signed, unbroken } from "./format.js";
import { report } from "./report.js";
import { scale } from "./chart.js";
import { sortableTable } from "./table.js";

/** The section's content. */
export function questions() {
  return report.questions.map(question);
}

function question({ title, summary, enough, answers: all }) {
  const answers = all.filter((answer) => answer.effect !== null);
  const told = el(
    "p",
    {},
    enough ? null : el("span", { class: "mark unknown" }, "not decided"),
    enough ? null : " ",
    unbroken(summary),
  );
  const table = answers.length
    ? sortableTable({
        caption: `Contrasts: ${title}`,
        columns: columns(answers),
        items: answers,
        cards: true,
        quiet: true,
        limit: 12,
      })
    : null;
  return el("div", { class: "question" }, el("h3", {}, title), told, table);
}

function columns(answers) {
  return [
    { title: "Contrast", value: (answer) => answer.contrast, cell: (answer) => answer.contrast },
    { title: "Category", value: (answer) => answer.category ?? "", cell: (answer) => answer.category ?? "all" },
    { title: "Metric", value: (answer) => answer.kind, cell: (answer) => answer.kind },
    { title: "Effect", numeric: true, value: (answer) => answer.effect, cell: effectText },
    {
      title: "95 % interval",
      cell: (answer) => [el("span", { class: "figure" }, boundsText(answer)), forest(answer, answers)],
    },
    { title: "p", numeric: true, value: (answer) => answer.p, cell: (answer) => plain(answer.p) },
    {
      title: "Based on",
      value: (answer) => answer.num_cells,
      cell: (answer) => [count(answer.num_cells, "cell"), el("small", {}, unitsText(answer))],
    },
  ];
}

function unitsText({ num_units: number, units }) {
  return `${number} ${number === 1 ? units.replace(/ies\b/g, "y").replace(/s\b/g, "") : units}`;
}

function effectText({ effect, decimals, unit, outcome }) {
  return [`${signed(effect, decimals)} ${unit}`, el("small", {}, outcome)];
}

function boundsText({ low, high, decimals }) {
  return interval(low, high, (number) => signed(number, decimals)) || "–";
}

/** An interval and its effect against zero, on the scale that the answers of the same unit share. */
function forest(answer, answers) {
  if (answer.low === null || answer.high === null) return null;
  const alike = answers.filter((other) => other.unit === answer.unit && other.low !== null && other.high !== null);
  const x = scale([0, ...alike.flatMap((other) => [other.low, other.high])], 4, 156, false);
  return svg(
    "svg",
    { class: "plot", viewBox: "0 0 160 16", width: 160, height: 16, "aria-hidden": "true" },
    svg("line", { class: "zero", x1: x.place(0), x2: x.place(0), y1: 0, y2: 16 }),
    svg("line", { class: "interval", x1: x.place(answer.low), x2: x.place(answer.high), y1: 8, y2: 8 }),
    svg("circle", { class: "effect", cx: x.place(answer.effect), cy: 8, r: 4.5 }),
  );
}
