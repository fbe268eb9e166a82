// The picture at a glance: a line for each calibration set, its difference and interval, better always to the right.

import { el, svg } from "./dom.js";
import { interval, signed } from "./format.js";
import { scale, ticks } from "./chart.js";
import { knowsDraws } from "./report.js";

/** Lines at first, where there are a few more than that. */
const FIRST_LINES = 14;
const KINDS = [
  ["pre-training", "web text"],
  ["arithmetic", "maths"],
  ["commonsense", "commonsense"],
  ["NLI", "NLI"],
  ["sentiment", "sentiment"],
  ["translation", "translation"],
  ["mixture", "mixture"],
  ["generated", "generated"],
  ["own", "your own"],
  ["control", "control"],
  ["other", "other"],
];
const WORDS = new Map(KINDS);

/** The kind of a mark's set, in a word. */
export function kindWord({ category, is_rounding: isRounding }) {
  return isRounding ? "rounding" : (WORDS.get(category) ?? category);
}

/** The figure of a panel: the reference stands among the marks, at 0. */
export function forest(panel, reference, title) {
  const lines = withReference(panel, reference);
  const few = lines.length <= FIRST_LINES + 4 ? lines : lines.slice(0, FIRST_LINES);
  const holder = el("div", {}, plot(panel, few, lines, reference, title));
  const more = el("button", { type: "button", class: "more" }, `Show all ${lines.length}`);
  more.addEventListener("click", () => {
    holder.replaceChildren(plot(panel, lines, lines, reference, title));
    more.remove();
  });
  return el("figure", { class: "forest" }, el("figcaption", {}, title), legend(lines), holder, few === lines ? null : more);
}

function withReference({ marks, higher_is_better: rises }, reference) {
  const known = marks.filter((mark) => mark.effect !== null);
  const isAfter = (mark) => (rises ? mark.effect < 0 : mark.effect > 0);
  const place = known.findIndex(isAfter);
  const own = { label: reference, effect: 0, isReference: true };
  return place < 0 ? [...known, own] : [...known.slice(0, place), own, ...known.slice(place)];
}

function legend(lines) {
  const there = new Set(lines.filter((line) => !line.isReference && !line.is_rounding).map((line) => line.category));
  const items = KINDS.filter(([kind]) => there.has(kind)).map(([kind, word]) =>
    el("li", {}, el("span", { class: "dot", style: colour(kind), "aria-hidden": "true" }), word),
  );
  const bold = lines.some(isClaim) ? el("li", {}, el("strong", {}, "bold"), " beyond noise") : null;
  return el("ul", { class: "legend" }, items, bold);
}

function colour(kind) {
  const place = KINDS.findIndex(([entry]) => entry === kind);
  return { "--series": `var(--k${place < 0 ? KINDS.length - 1 : place})` };
}

/** Lines of one picture; `all` decides the scale, so that it stays when more are shown. */
function plot(panel, lines, all, reference, title) {
  const narrow = matchMedia("(max-width: 640px)").matches;
  const frame = narrow
    ? { width: 350, left: 12, right: 64, step: 34, drop: 22 }
    : { width: 760, left: 190, right: 74, step: 22, drop: 11 };
  const place = horizontal(panel, all, frame);
  const [top, bottom] = [22, 22 + frame.step * lines.length];
  const height = bottom + 40;
  const text = (number) => signed(number, panel.decimals);
  const label = `${title}: ${lines.map((line) => `${line.label} ${text(line.effect)}`).join(", ")}`;
  return svg(
    "svg",
    { class: "plot", role: "img", "aria-label": label, viewBox: `0 0 ${frame.width} ${height}`, width: frame.width, height },
    band(panel, place, top, bottom),
    grid(place, frame, top, bottom, text),
    sides(place, reference, frame, top),
    lines.map((line, index) => row(line, place, frame, top + index * frame.step, text)),
    svg("text", { class: "unit", x: (frame.left + frame.width - frame.right) / 2, y: height - 4, "text-anchor": "middle" }, panel.unit),
  );
}

/** From a difference to a place: the better the further right, with long intervals cut. */
function horizontal({ marks, higher_is_better: rises }, lines, { left, right, width }) {
  const largest = Math.max(...lines.map((line) => Math.abs(line.effect)), 1e-9);
  const cut = (number) => Math.max(-3 * largest, Math.min(3 * largest, number));
  const ends = marks.flatMap((mark) => [mark.low, mark.high]).filter((end) => end !== null);
  const sign = rises ? 1 : -1;
  const reach = [0, largest / 2, -largest / 2, ...lines.map((line) => line.effect), ...ends.map(cut)];
  const across = scale(
    reach.map((number) => sign * number),
    left,
    width - right,
    false,
  );
  const place = (number) => Math.max(left, Math.min(width - right, across.place(sign * number)));
  return { place, ticks: ticks(across, width < 400 ? 4 : 7).map((tick) => sign * tick), isCut: (number) => !across.holds(sign * number) };
}

function band({ noise }, { place }, top, bottom) {
  if (noise.rounding === null) return null;
  const [first, last] = [place(noise.rounding), place(-noise.rounding)].sort((left, right) => left - right);
  return svg(
    "rect",
    { class: "rounding", x: first, y: top, width: Math.max(1, last - first), height: bottom - top },
    svg("title", {}, "rounding alone"),
  );
}

function grid({ place, ticks: at }, frame, top, bottom, text) {
  return at
    .filter((tick) => Math.abs(tick) > 1e-12)
    .map((tick) => [
      svg("line", { class: "grid", x1: place(tick), x2: place(tick), y1: top, y2: bottom }),
      svg("text", { x: place(tick), y: bottom + 16, "text-anchor": "middle" }, text(tick)),
    ])
    .concat([[svg("line", { class: "zero", x1: place(0), x2: place(0), y1: top, y2: bottom })]])
    .flat();
}

function sides({ place }, reference, { left, right, width }, top) {
  const centre = place(0);
  const word = (x, anchor, content) => svg("text", { class: "side", x, y: top - 8, "text-anchor": anchor }, content);
  return [
    centre - left > 70 ? word(centre - 8, "end", "← worse") : null,
    width - right - centre > 60 ? word(centre + 8, "start", `better than ${reference} →`) : null,
  ];
}

/** Whether a mark supports a claim on its set: beyond the noise of draws, not of items alone. */
export function isClaim({ stand, basis, is_rounding: isRounding }) {
  return Boolean(stand) && knowsDraws(basis) && !isRounding;
}

function row(line, { place, isCut }, frame, y, text) {
  const middle = y + frame.drop;
  const isNarrow = frame.left < 100;
  const stands = isClaim(line);
  const name = `${line.label}${line.is_rounding ? ": rounding" : ""}${line.left_out?.length ? " ◆" : ""}`;
  const shown = name.length > 27 ? `${name.slice(0, 26)}…` : name;
  const tip = `${name}: ${text(line.effect)} ${interval(line.low ?? null, line.high ?? null, text)}`;
  const label = isNarrow ? { x: frame.left, y: middle - 10 } : { x: frame.left - 10, y: middle + 4, "text-anchor": "end" };
  return svg(
    "g",
    { class: `set${stands ? " stands" : ""}${line.isReference ? " reference" : ""}`, style: colour(line.is_rounding ? "control" : line.category) },
    svg("title", {}, line.isReference ? `${line.label}: the others are compared with it` : tip),
    svg("text", label, shown),
    line.isReference ? null : bar(line, place, isCut, middle),
    point(line, place(line.effect), middle, stands),
    line.isReference ? null : svg("text", { class: "value", x: frame.width - 4, y: middle + 4, "text-anchor": "end" }, text(line.effect)),
  );
}

function bar({ low, high, basis }, place, isCut, y) {
  if (low === null || high === null) return null;
  const ends = [low, high].map((end) => [place(end), isCut(end)]).sort(([left], [right]) => left - right);
  const cap = ([x, cut], way) =>
    cut ? svg("path", { class: "cut", d: `M${x - 5 * way} ${y - 4} L${x} ${y} L${x - 5 * way} ${y + 4}` }) : null;
  const dashed = knowsDraws(basis) ? null : "3 3";
  return [
    svg("line", { class: "bar", x1: ends[0][0], x2: ends[1][0], y1: y, y2: y, "stroke-dasharray": dashed }),
    cap(ends[0], -1),
    cap(ends[1], 1),
  ];
}

function point({ isReference, is_rounding: isRounding }, x, y, stands) {
  if (isReference) return svg("path", { class: "zero-point", d: `M${x} ${y - 6} L${x + 6} ${y} L${x} ${y + 6} L${x - 6} ${y} Z` });
  if (isRounding) return svg("rect", { class: "dot-point open", x: x - 4, y: y - 4, width: 8, height: 8 });
  return svg("circle", { class: `dot-point${stands ? "" : " open"}`, cx: x, cy: y, r: 5 });
}
