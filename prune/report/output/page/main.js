// The page: a header, the filters, and the sections, drawn one after another so that the first is there at once.

import { el } from "./dom.js";
import { abilities, hasAbilities } from "./abilities.js";
import { beside, hasBeside } from "./beside.js";
import { detailElements } from "./detail.js";
import { filterBar } from "./filters.js";
import { count } from "./format.js";
import { glances } from "./glance.js";
import { heatMaps } from "./heatmap.js";
import { curves } from "./curves.js";
import { hasMethods, methods } from "./methods.js";
import { fitPaper } from "./paper.js";
import { blocks, masks } from "./pruning.js";
import { questions } from "./questions.js";
import { report } from "./report.js";
import { cost, draws, overlapWarnings, provenance, unfinished } from "./running.js";
import { speeds } from "./speed.js";
import { verdicts } from "./verdict.js";

const SECTIONS = [
  { id: "glance", title: "At a glance", content: glances, there: report.glances.length > 0 },
  { id: "beside", title: "Side by side", content: beside, there: hasBeside() },
  { id: "heatmap", title: "Heat map", content: heatMaps },
  { id: "abilities", title: "What is left of each ability", content: abilities, there: hasAbilities() },
  { id: "verdict", title: "Best by score", content: verdicts },
  { id: "questions", title: "The study's four questions", content: questions, there: report.questions.length > 0 },
  { id: "curves", title: "Curves", content: curves, there: report.curves.length > 0 },
  { id: "methods", title: "Methods side by side", content: methods, there: hasMethods() },
  { id: "blocks", title: "Error and sparsity by block", content: blocks, there: report.blocks.length > 0 },
  { id: "masks", title: "Mask overlap", content: masks, there: report.mask_overlaps.length > 0 },
  { id: "draws", title: "Draws", content: draws },
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

/** The banner over everything, on sample data only. */
function banner() {
  return report.sample_data
    ? [el("p", { class: "banner" }, "Sample data: generated rows and Python's documentation, not research data.")]
    : [];
}

/** The warnings, and what was read. */
function about() {
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
  return el("div", { id: "warnings" }, warnings, el("p", { class: "origin" }, origin));
}

function contents() {
  const link = (id, title) => el("li", {}, el("a", { href: `#${id}` }, title));
  const warnings = report.warnings.length ? link("warnings", count(report.warnings.length, "warning")) : null;
  return el("nav", { "aria-label": "Sections" }, el("ul", {}, warnings, SECTIONS.map(({ id, title }) => link(id, title))));
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

const [first, ...others] = SECTIONS[0].id === "glance" ? SECTIONS : [null, ...SECTIONS];
document.getElementById("about").append(...banner());
main.replaceChildren(
  ...[contents(), first && section(first), about(), filterBar(draw), ...others.map(section)].filter(Boolean),
);
document.body.append(...detailElements());
window.addEventListener("beforeprint", fitPaper);
draw();
