// Elements. Text becomes text nodes only, so nothing in the data can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `on...` properties listen, `style` sets CSS properties, true and false switch an attribute. */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An SVG element, made like `el`. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) setProperty(node, name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function setProperty(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "style") for (const [key, entry] of Object.entries(value)) node.style.setProperty(key, entry);
  else node.setAttribute(name, value === true ? "" : value);
}

/** A select with a label over it; options are [value, text], or {label, options} for a group of them. */
export function labelledSelect({ id, label, options, value, onchange }) {
  const option = ([entry, text]) => el("option", { value: entry, selected: entry === value }, text);
  const select = el(
    "select",
    { id, onchange: () => onchange(select.value) },
    options.map((entry) =>
      Array.isArray(entry) ? option(entry) : el("optgroup", { label: entry.label }, entry.options.map(option)),
    ),
  );
  return el("div", { class: "field" }, el("label", { for: id }, label), select);
}

/** Buttons of which one is pressed; entries are [value, text]. */
export function switcher({ label, entries, value, onchange }) {
  const buttons = entries.map(([entry, text]) =>
    el(
      "button",
      { type: "button", "data-value": entry, "aria-pressed": String(entry === value), onclick: () => press(entry) },
      text,
    ),
  );
  const press = (entry) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === entry));
    onchange(entry);
  };
  return el("div", { class: "switcher", role: "group", "aria-label": label }, buttons);
}

/** A box that scrolls sideways by itself, also with the keyboard. */
export function scrollBox(label, ...children) {
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, children);
}
