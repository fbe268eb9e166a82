// Tables that sort at a click on a heading and show their first rows at first.

import { el, scrollBox } from "./dom.js";

const FIRST_ROWS = 40;

/**
 * A table of `items`; a column is {title, head, cell, value, numeric, hint}: `head` is shown for the title, `cell` gives what is shown of an item, `value` what
 * it is sorted by (without it the column does not sort). The first column heads its row. `cards`: rows stack on a phone;
 * `quiet`: a heading over the table says what the caption says, so that it need not be seen.
 */
export function sortableTable({ caption, columns, items, cards = false, quiet = false, limit = FIRST_ROWS }) {
  let [order, sorted, descending, shown] = [items, null, false, limit];
  const body = el("tbody");
  const heads = columns.map((column) => columnHead(column, () => sortBy(column)));
  const more = el("button", { type: "button", class: "more", onclick: () => showAll() }, `Show all ${items.length}`);
  const fill = () => {
    body.replaceChildren(...order.slice(0, shown).map((item) => tableRow(columns, item)));
    more.hidden = items.length <= shown;
  };
  const sortBy = (column) => {
    descending = sorted === column && !descending;
    sorted = column;
    order = [...items].sort(comparing(column.value, descending));
    markSorted(heads, columns.indexOf(column), descending);
    fill();
  };
  const name = el("caption", { class: quiet ? "unseen" : null }, caption);
  const table = el("table", { class: cards ? "cards" : "plain" }, name, el("thead", {}, el("tr", {}, heads)), body);
  const box = scrollBox(caption, table);
  const showAll = () => {
    shown = Infinity;
    fill();
    box.focus({ preventScroll: true });
  };
  fill();
  return el("div", { class: "tablebox" }, box, more);
}

/** Compares items by a value; those without one come last, whichever way. */
export function comparing(value, descending) {
  return (left, right) => {
    const [a, b] = [value(left), value(right)];
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return descending ? -order : order;
  };
}

/** Says on the headings by which column the table is sorted. */
export function markSorted(heads, index, descending) {
  for (const [place, head] of heads.entries()) {
    if (place === index) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function columnHead(column, onclick) {
  const head = column.head ?? column.title;
  const content = column.value ? el("button", { type: "button", class: "sort", onclick }, head) : head;
  return el("th", { scope: "col", class: column.numeric ? "number" : null, title: column.hint }, content);
}

function tableRow(columns, item) {
  const cells = columns.map((column, index) => {
    const properties = { class: column.numeric ? "number" : null, "data-label": column.title };
    return index === 0
      ? el("th", { ...properties, scope: "row" }, column.cell(item))
      : el("td", properties, column.cell(item));
  });
  return el("tr", {}, cells);
}

/** Boxes side by side: the first few of `draws` (functions that make them) at once, all of them at a click on `Show all`. */
export function someAtFirst(draws, { limit, noun, nothing = "Nothing matches the filters." }) {
  if (!draws.length) return el("p", {}, nothing);
  const list = el(
    "div",
    { class: "boxes" },
    draws.slice(0, limit).map((draw) => draw()),
  );
  if (draws.length <= limit) return list;
  const more = el("button", { type: "button", class: "more" }, `Show all ${draws.length} ${noun}`);
  more.addEventListener("click", () => {
    list.append(...draws.slice(limit).map((draw) => draw()));
    more.remove();
    list.children[limit].querySelector("button, [tabindex]")?.focus();
  });
  return el("div", {}, list, more);
}
