// Tables that are sorted by a click on their head, and curves whose values are read under the pointer or with the arrow keys.
"use strict";

(function () {
  // Panel and table -> column and direction; the refresh of a page sorts anew what was sorted.
  const sorted = new Map();

  function keyOf(table) {
    const panel = table.closest("[data-key]");
    return panel ? panel.dataset.key + "/" + [...panel.querySelectorAll("table")].indexOf(table) : "";
  }

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const number = table.tHead.rows[0].cells[column].classList.contains("num");
    const value = (row) => row.cells[column].dataset.v || "";
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1; // nothing is last, whatever the direction
      return sign * (number ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
    });
    body.append(...rows);
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    if (!button) return;
    const head = button.closest("th"), table = head.closest("table");
    const numeric = head.classList.contains("num");
    const before = head.getAttribute("aria-sort");
    const direction = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
    sort(table, head.cellIndex, direction);
    sorted.set(keyOf(table), [head.cellIndex, direction]);
  });

  function sortAgain(within) {
    for (const table of within.querySelectorAll("table")) {
      const chosen = sorted.get(keyOf(table));
      if (chosen && table.tHead && table.tHead.rows[0].cells[chosen[0]]) sort(table, chosen[0], chosen[1]);
    }
  }

  function rowsOf(figure) {
    return [...figure.querySelectorAll(".data tbody tr")];
  }

  function read(figure, row, aloud) {
    const chart = figure.querySelector(".chart"), cursor = figure.querySelector(".cursor"), readout = figure.querySelector(".readout");
    const from = Number(chart.dataset.from), to = Number(chart.dataset.to);
    const x = Math.min(1000, Math.max(0, (Number(row.dataset.at) - from) / (to - from) * 1000));
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    const heads = [...figure.querySelectorAll(".data thead th")].map((head) => head.textContent.trim());
    const cells = [...row.cells].map((cell) => cell.textContent.trim());
    readout.setAttribute("aria-live", aloud ? "polite" : "off");
    readout.textContent = cells[0] + " UTC: " + heads.slice(1).map((name, i) => name + " " + (cells[i + 1] || "–")).join(", ");
    figure.dataset.read = row.dataset.at;
  }

  function nearest(rows, at) {
    let best = rows[0];
    for (const row of rows) if (Math.abs(row.dataset.at - at) < Math.abs(best.dataset.at - at)) best = row;
    return best;
  }

  document.addEventListener("pointermove", (event) => {
    const chart = event.target instanceof Element && event.target.closest(".chart");
    if (!chart) return;
    const figure = chart.closest(".figure"), rows = figure ? rowsOf(figure) : [];
    if (!rows.length) return;
    const box = chart.getBoundingClientRect(), from = Number(chart.dataset.from), to = Number(chart.dataset.to);
    read(figure, nearest(rows, from + (event.clientX - box.left) / box.width * (to - from)), false);
  });

  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    const figure = event.target instanceof Element && event.target.matches(".figure") ? event.target : null;
    if (!step || !figure) return;
    const rows = rowsOf(figure);
    if (!rows.length) return;
    event.preventDefault();
    const now = figure.dataset.read ? rows.indexOf(nearest(rows, Number(figure.dataset.read))) : rows.length - (step > 0 ? 1 : 0);
    read(figure, rows[Math.min(rows.length - 1, Math.max(0, now + step))], true);
  });

  window.flowlakeTables = { sortAgain };
})();
