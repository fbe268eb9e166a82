// The page: a header, the filters, and the sections, drawn one after another so that the first is there at once.

import { el } from "./dom.js";
import { detailElements } from "./detail.js";
import { filterBar } from "./filters.js";
import { count } from "./format.js";
import { heatMaps } from "./heatmap.js";
import { curves } from "./curves.js";
import { hasMethods, methods } from "./methods.js";
import { blocks, masks } from "./pruning.js";
import { questions } from "./questions.js";
import { report } from "./report.js";
import { cost, overlapWarnings, provenance, seeds, unfinished } from "./running.js";
import { speeds } from "./speed.js";
import { verdicts } from "./verdict.js";

const SECTIONS = [
  { id: "verdict", title: "Verdict", content: verdicts },
  { id: "heatmap", title: "Heat map", content: heatMaps },
  { id: "questions", title: "The study's four questions", content: questions, there: report.questions.length > 0 },
  { id: "curves", title: "Curves", content: curves, there: report.curves.length > 0 },
  { id: "methods", title: "Methods side by side", content: methods, there: hasMethods() },
  { id: "blocks", title: "Error and sparsity by block", content: blocks, there: report.blocks.length > 0 },
  { id: "masks", title: "Mask overlap", content: masks, there: report.mask_overlaps.length > 0 },
  { id: "seeds", title: "Seeds", content: seeds },
  { id: "cost", title: "Cost", content: cost },
  { id: "speed", title: "Speed", content: speeds, there: report.speeds?.length > 0 },
  {
    id: "overlap",
    title: "Overlap with the evaluation",
    content: overlapWarnings,
    there: report.overlap_warnings.length > 0,
  },
  { id: "unfinished", title: "Failed and missing cells", content: unfinished },
  { id: "provenance", title: "Provenance", content: provenance },
].filter(({ there = true }) => there);

const main = document.getElementById("main");
const bodies = new Map(SECTIONS.map(({ id }) => [id, el("div", {})]));
let drawing = 0;

function about() {
  const banner = report.sample_data
    ? el("p", { class: "banner" }, "Sample data: generated rows and Python's documentation, not research data.")
    : null;
  const sweeps = report.sweeps.length
    ? `, ${report.sweeps.length === 1 ? "sweep" : "sweeps"} ${report.sweeps.join(", ")}`
    : "";
  const written = `${report.generated.slice(0, 16).replace("T", " ")} UTC`;
  const origin = `${count(report.cells.id.length, "finished cell")} of ${report.outputs}${sweeps}; written ${written}.`;
  const warnings = report.warnings.length
    ? el(
        "ul",
        { class: "warnings", "aria-label": "Warnings" },
        report.warnings.map((text) => el("li", {}, text)),
      )
    : null;
  return [banner, el("p", { class: "origin" }, origin), warnings].filter(Boolean);
}

function contents() {
  const links = SECTIONS.map(({ id, title }) => el("li", {}, el("a", { href: `#${id}` }, title)));
  return el("nav", { "aria-label": "Sections" }, el("ul", {}, links));
}

function section({ id, title }) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), bodies.get(id));
}

/** Draws all sections anew; a later call replaces one that is still drawing. */
function draw() {
  const mine = ++drawing;
  main.setAttribute("aria-busy", "true");
  const next = (place) => {
    if (mine !== drawing) return;
    if (place === SECTIONS.length) return main.setAttribute("aria-busy", "false");
    const { id, content } = SECTIONS[place];
    bodies.get(id).replaceChildren(...content().flat().filter(Boolean));
    setTimeout(next, 0, place + 1);
  };
  next(0);
}

document.getElementById("about").append(...about());
main.replaceChildren(contents(), filterBar(draw), ...SECTIONS.map(section));
document.body.append(...detailElements());
draw();
