(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // --- light and dark: as the system has it, unless the reader chose ------------------------------------------------
  const themes = ["automatic", "dark", "light"];
  const button = document.getElementById("theme");
  const kept = () => { try { return localStorage.getItem("fusekit-theme"); } catch { return null; } };
  const keep = (name) => { try { localStorage.setItem("fusekit-theme", name); } catch { /* the page works without */ } };
  const show = (name) => {
    if (name === "automatic") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", name);
    button.textContent = `Theme: ${name}`;
    button.dataset.name = name;
  };
  show(themes.includes(kept()) ? kept() : "automatic");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.name) + 1) % themes.length];
    show(next);
    keep(next);
  });

  // --- tables: a column's head sorts by it; what has no value stays last ---------------------------------------------
  const key = (cell) => {
    if (cell.dataset.v === undefined) return cell.textContent.trim();
    const value = Number(cell.dataset.v);
    return Number.isNaN(value) ? null : value;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? (a < b ? -1 : a > b ? 1 : 0)
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === null ? head.dataset.first : now === "ascending" ? "descending" : "ascending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
      rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  // --- curtains: two of a case's pictures on each other ---------------------------------------------------------------
  for (const pair of document.querySelectorAll(".pair")) {
    const figures = [...pair.querySelectorAll(".strip figure")];
    const curtain = pair.querySelector(".curtain");
    const slider = curtain.querySelector("input");
    const names = {};
    const told = () => slider.setAttribute("aria-valuetext", `${slider.value} % ${names.left}, the rest ${names.right}`);
    for (const select of pair.querySelectorAll("select")) {
      const side = select.dataset.side;
      const picture = curtain.querySelector(`img.${side}`);
      const put = () => {
        const figure = figures[select.selectedIndex];
        picture.src = figure.querySelector("img").src;
        picture.classList.toggle("difference", figure.classList.contains("difference"));
        names[side] = figure.querySelector("figcaption").textContent;
        picture.alt = names[side];
        told();
      };
      for (const figure of figures) select.add(new Option(figure.querySelector("figcaption").textContent));
      select.selectedIndex = Number(select.dataset.at);
      select.addEventListener("change", put);
      put();
    }
    slider.addEventListener("input", () => {
      curtain.style.setProperty("--at", `${slider.value}%`);
      told();
    });
  }
  const brighten = document.querySelector(".brighten input");
  if (brighten) {
    const bright = () => root.classList.toggle("bright", brighten.checked);
    brighten.addEventListener("change", bright);
    bright();
  }
})();
