// The speeds of the models that were timed, apart from the measures of quality.

import { el } from "./dom.js";
import { plain } from "./format.js";
import { cellHref, report } from "./report.js";
import { sortableTable } from "./table.js";

const KINDS = [
  ["decode", "Written a second"],
  ["prefill", "Read a second"],
  ["decode_2to4", "Written, 2:4 kernels"],
  ["prefill_2to4", "Read, 2:4 kernels"],
];

/** The content of the section on speed. */
export function speeds() {
  const items = report.speeds;
  const kinds = KINDS.filter(([kind]) => items.some((item) => kind in item.speeds));
  const columns = [
    {
      title: "Cell",
      value: (item) => item.name,
      cell: (item) => el("a", { href: cellHref(item.id) }, item.name),
    },
    ...kinds.map(([kind, title]) => ({
      title,
      numeric: true,
      value: (item) => item.speeds[kind] ?? null,
      cell: (item) => [tokens(item.speeds[kind]), toDense(item.to_dense[kind])],
    })),
    { title: "Prompts x tokens + new", cell: (item) => item.lengths },
    { title: "Device", value: (item) => item.device, cell: (item) => [item.device, item.note ? el("small", {}, `2:4 kernels ${item.note}`) : null] },
  ];
  return [
    el(
      "p",
      {},
      "Tokens a second, median of five generations, and the ratio to the dense model on the same device, where both ran ",
      "alone. Zeros alone bring no speed: a dense kernel multiplies by them as by any number. ",
      "These numbers enter no mean and no verdict.",
    ),
    sortableTable({ caption: "Speed", quiet: true, columns, items, limit: 24 }),
  ];
}

function tokens(number) {
  return number === undefined ? "–" : plain(number, 1);
}

function toDense(ratio) {
  return ratio === undefined ? null : el("small", {}, `${plain(ratio, 2)} x dense`);
}
