// Line charts with bands, drawn as SVG, each with keys that switch its lines and with its numbers as a table.

import { el, svg } from "./dom.js";
import { count } from "./format.js";
import { sortableTable } from "./table.js";

const NUM_COLOURS = 8;
const FIRST_LINES = 8;
const DASHES = [null, "8 4", "2 3", "10 3 2 3"];
const MARGIN = { left: 72, right: 14, top: 10, bottom: 40 };

/**
 * A figure of `lines`, each {label, points: [{x, y, low, high}]} with x ascending; `low` and `high` are null where there is
 * no band. `yText` and `xText` print numbers, `xTicks` are the places to print on x; `reference` is {label, y} or null. The
 * first lines are shown, the others by their key.
 */
export function lineChart({ lines, ...chart }) {
  const shown = new Set(lines.slice(0, FIRST_LINES).keys());
  const numbered = lines.map((line, index) => ({ ...line, index }));
  const holder = el("div", {});
  const draw = () => holder.replaceChildren(plot({ ...chart, lines: numbered.filter(({ index }) => shown.has(index)) }));
  const toggle = (index) => (event) => {
    if (!shown.delete(index)) shown.add(index);
    event.currentTarget.setAttribute("aria-pressed", String(shown.has(index)));
    draw();
  };
  const key = ({ label, index }) =>
    el("button", { type: "button", "aria-pressed": String(shown.has(index)), onclick: toggle(index) }, sample(index), label);
  draw();
  return el(
    "figure",
    {},
    el("figcaption", {}, chart.title),
    holder,
    keyLists(chart.title, numbered.map(key)),
    numbers(chart, lines),
  );
}

function keyLists(title, keys) {
  const list = (some) =>
    el(
      "ul",
      { class: "keys", "aria-label": `Lines of ${title}` },
      some.map((key) => el("li", {}, key)),
    );
  const rest = keys.slice(FIRST_LINES);
  const folded = el("details", {}, el("summary", {}, count(rest.length, "more line")), list(rest));
  return [list(keys.slice(0, FIRST_LINES)), rest.length ? folded : null];
}

function numbers({ title, xLabel, xText, yText }, lines) {
  const items = lines.flatMap((line) => line.points.map((point) => ({ ...point, label: line.label })));
  const columns = [
    { title: "Line", value: (item) => item.label, cell: (item) => item.label },
    { title: xLabel, numeric: true, value: (item) => item.x, cell: (item) => xText(item.x) },
    { title: "Mean", numeric: true, value: (item) => item.y, cell: (item) => yText(item.y) },
    {
      title: "95 % over seeds",
      numeric: true,
      cell: (item) => (item.low === null ? "–" : `${yText(item.low)} to ${yText(item.high)}`),
    },
  ].slice(0, items.some((item) => item.low !== null) ? 4 : 3);
  const details = el("details", {}, el("summary", {}, "The numbers"));
  details.addEventListener("toggle", () => details.append(sortableTable({ caption: title, columns, items })), {
    once: true,
  });
  return details;
}

function plot({ title, xLabel, yLabel, xText, yText, xTicks, reference = null, lines }) {
  const [width, height] = matchMedia("(max-width: 640px)").matches ? [340, 260] : [560, 320];
  const points = lines.flatMap((line) => line.points);
  const heights = [...points.flatMap((point) => [point.y, point.low, point.high]), reference?.y];
  const known = heights.filter((y) => y !== null && y !== undefined);
  const across = points.map((point) => point.x);
  const x = scale(across, MARGIN.left, width - MARGIN.right, false);
  const y = scale(known, height - MARGIN.bottom, MARGIN.top, wide(known));
  const frame = { width, height, x, y };
  const label = `${title}: ${lines.map((line) => line.label).join(", ")}; its numbers are in the table below`;
  return svg(
    "svg",
    { class: "plot", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, width, height },
    points.length ? axes(frame, xLabel, yLabel, xText, yText, xTicks) : null,
    reference && points.length ? referenceLine(frame, reference, yText) : null,
    lines.map((line) => band(frame, line)),
    lines.map((line) => drawn(frame, line, xText, yText)),
  );
}

/** Whether positive numbers span so much that they need a log scale. */
function wide(numbers) {
  return numbers.length > 0 && Math.min(...numbers) > 0 && Math.max(...numbers) / Math.min(...numbers) > 20;
}

/** A scale from numbers to places on the screen: linear or logarithmic, with a little air. */
export function scale(numbers, from, to, logarithmic) {
  const warp = logarithmic ? Math.log : (number) => number;
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)].map(warp);
  const air = high > low ? 0.04 * (high - low) : 0.1 * Math.abs(high) || 1;
  const [first, last] = [low - air, high + air];
  const place = (number) => from + ((warp(number) - first) / (last - first)) * (to - from);
  const holds = (number) => warp(number) >= first && warp(number) <= last;
  return { place, holds, logarithmic, first, last };
}

/** Round numbers over a scale, about so many. */
export function ticks({ first, last, logarithmic }, number = 5) {
  if (logarithmic) return logTicks(Math.exp(first), Math.exp(last));
  const step = niceStep((last - first) / number);
  const found = [];
  for (let number = Math.ceil(first / step) * step; number <= last + step * 1e-9; number += step)
    found.push(Number(number.toPrecision(10)));
  return found;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

function logTicks(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10)
    found.push(...[1, 2, 5].map((factor) => factor * power));
  return found.filter((number) => number >= low && number <= high);
}

function axes({ width, height, x, y }, xLabel, yLabel, xText, yText, xTicks) {
  const [bottom, middle] = [height - MARGIN.bottom, (MARGIN.top + height - MARGIN.bottom) / 2];
  const row = (tick) => [
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y.place(tick), y2: y.place(tick) }),
    svg("text", { x: MARGIN.left - 6, y: y.place(tick) + 4, "text-anchor": "end" }, yText(tick)),
  ];
  const column = (tick) => svg("text", { x: x.place(tick), y: bottom + 16, "text-anchor": "middle" }, xText(tick));
  return [
    ticks(y).map(row),
    xTicks.filter(x.holds).map(column),
    svg("text", { x: (MARGIN.left + width) / 2, y: height - 6, "text-anchor": "middle" }, xLabel),
    svg(
      "text",
      { x: 12, y: middle, transform: `rotate(-90 12 ${middle})`, "text-anchor": "middle" },
      yLabel + (y.logarithmic ? " (log)" : ""),
    ),
  ].flat(2);
}

function referenceLine({ width, y }, reference, yText) {
  const height = y.place(reference.y);
  return [
    svg("line", { class: "dense", x1: MARGIN.left, x2: width - MARGIN.right, y1: height, y2: height }),
    svg(
      "text",
      { x: width - MARGIN.right, y: height - 4, "text-anchor": "end" },
      `${reference.label} ${yText(reference.y)}`,
    ),
  ];
}

function band({ x, y }, { points, index }) {
  const known = points.filter((point) => point.low !== null && point.high !== null);
  if (known.length < 2) return null;
  const edge = (field) => (point) => `${x.place(point.x).toFixed(1)},${y.place(point[field]).toFixed(1)}`;
  const outline = [...known.map(edge("low")), ...[...known].reverse().map(edge("high"))];
  return svg("polygon", { class: "band", points: outline.join(" "), style: series(index) });
}

function drawn({ x, y }, line, xText, yText) {
  const known = line.points.filter((point) => point.y !== null);
  const path = known.map((point) => `${x.place(point.x).toFixed(1)},${y.place(point.y).toFixed(1)}`).join(" ");
  const range = (point) => (point.low === null ? "" : ` [${yText(point.low)}, ${yText(point.high)}]`);
  const dots = known.map((point) =>
    marker(
      line.index,
      x.place(point.x),
      y.place(point.y),
      `${line.label} at ${xText(point.x)}: ${yText(point.y)}${range(point)}`,
    ),
  );
  return svg(
    "g",
    { style: series(line.index) },
    svg("polyline", { class: "line", points: path, "stroke-dasharray": dash(line.index) }),
    dots,
  );
}

function marker(index, x, y, title) {
  const shapes = [
    () => svg("circle", { class: "point", cx: x, cy: y, r: 4.5 }, tip(title)),
    () => svg("rect", { class: "point", x: x - 4, y: y - 4, width: 8, height: 8 }, tip(title)),
    () => svg("path", { class: "point", d: `M${x} ${y - 5.5} L${x + 5} ${y + 4} L${x - 5} ${y + 4} Z` }, tip(title)),
    () =>
      svg(
        "path",
        { class: "point", d: `M${x} ${y - 5.5} L${x + 5.5} ${y} L${x} ${y + 5.5} L${x - 5.5} ${y} Z` },
        tip(title),
      ),
  ];
  return shapes[index % shapes.length]();
}

function tip(text) {
  return text ? svg("title", {}, text) : null;
}

function series(index) {
  return { "--series": `var(--s${index % NUM_COLOURS})` };
}

function dash(index) {
  return DASHES[Math.floor(index / NUM_COLOURS) % DASHES.length];
}

function sample(index) {
  return svg(
    "svg",
    { class: "plot", viewBox: "0 0 32 14", "aria-hidden": "true", style: series(index) },
    svg("line", { class: "line", x1: 1, x2: 31, y1: 7, y2: 7, "stroke-dasharray": dash(index) }),
    marker(index, 16, 7, ""),
  );
}
