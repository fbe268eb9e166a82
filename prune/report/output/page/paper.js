// Paper does not scroll sideways: a table that is wider than the page is set smaller.

/** Gives each table, before it is printed, the least width that it needs in em of its letters (`--ems`, read by views.css). */
export function fitPaper() {
  for (const table of document.querySelectorAll(".scroll > table")) {
    table.classList.add("narrowest");
    table.style.setProperty("--ems", table.offsetWidth / parseFloat(getComputedStyle(table).fontSize));
    table.classList.remove("narrowest");
  }
}
