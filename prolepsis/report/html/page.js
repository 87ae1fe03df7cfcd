"use strict";
// Without this script everything is shown.
(() => {
  const form = document.getElementById("filter");
  const rows = [...document.querySelectorAll(".rows tr[id]")];
  const sections = [...document.querySelectorAll(".claim")];
  const cells = [...document.querySelectorAll(".matrix td a")];
  const chosen = (name) => form.elements[name].value;
  const facts = new Map(rows.map((row) => [row, {
    v: row.querySelector("th [class]").className,
    // Most rows are of organisms, and do not say so.
    t: row.dataset.t || "organism",
    s: row.querySelector("th b").textContent,
  }]));

  function filter() {
    const words = chosen("c").trim().toLowerCase();
    for (const section of sections) {
      const named = !words || (section.id + " " + section.querySelector(".statement").textContent).toLowerCase().includes(words);
      let shown = 0;
      for (const row of section.querySelectorAll(".rows tr[id]")) {
        row.hidden = !named || ["v", "t", "s"].some((name) => chosen(name) && facts.get(row)[name] !== chosen(name));
        shown += !row.hidden;
      }
      section.hidden = !shown;
    }
    for (const figure of document.querySelectorAll("figure[data-s]")) {
      figure.hidden = Boolean(chosen("s")) && figure.dataset.s !== chosen("s");
    }
    for (const cell of cells) {
      cell.classList.toggle("off", document.getElementById(decodeURIComponent(cell.hash.slice(1))).hidden);
    }
    for (const line of document.querySelectorAll(".matrix tbody tr:not(.family)")) {
      line.hidden = ![...line.querySelectorAll("td a")].some((cell) => !cell.classList.contains("off"));
    }
    for (const family of document.querySelectorAll(".matrix tbody")) {
      family.hidden = ![...family.querySelectorAll("tr:not(.family)")].some((line) => !line.hidden);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.elements.n.value = `${shown} of ${rows.length} shown`;
  }

  // What a link leads to is shown, whatever was filtered out.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden || target.closest("[hidden]")) {
      form.reset();
      filter();
    }
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
    target.scrollIntoView();
  }

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", reveal);
  filter();
  reveal();
})();
