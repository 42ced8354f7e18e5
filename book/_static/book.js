// What the theme leaves unnamed for a screen reader (found with axe).
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll(".bd-sidenav summary")) {
    const link = summary.parentElement.parentElement.querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${link.textContent.trim()}`);
  }
  for (const entry of document.querySelectorAll(".citation-list, .citation-list [role]")) {
    entry.removeAttribute("role"); // a list without list items
  }
  const sidebar = document.querySelector(".bd-sidebar-primary");
  if (sidebar) {
    sidebar.setAttribute("role", "region");
    sidebar.setAttribute("aria-label", "Contents of the book");
  }
});

// The ledger: show the claims of one chapter, verdict or robustness.  Without scripts all are shown.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector(".lth-claims");
  if (!table) return;
  const rows = [...table.querySelectorAll("tbody tr")];
  const said = document.createElement("output");
  const bar = document.createElement("div");
  bar.className = "lth-filters";
  const filters = { chapter: "Chapter", verdict: "Verdict", settings: "Agreement" };
  const chosen = {};
  const show = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = Object.entries(chosen).some(([name, value]) => value && row.dataset[name] !== value);
      shown += !row.hidden;
    }
    said.textContent = `${shown} of ${rows.length} claims`;
  };
  for (const [name, title] of Object.entries(filters)) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.append(`${title} `, select);
    select.append(new Option("all", ""));
    for (const value of new Set(rows.map((row) => row.dataset[name]))) select.append(new Option(value, value));
    select.addEventListener("change", () => { chosen[name] = select.value; show(); });
    bar.append(label);
  }
  bar.append(said);
  table.before(bar);
  show();
  const reveal = () => { // a link to a row shows it, whatever is chosen
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.hidden) {
      for (const select of bar.querySelectorAll("select")) select.value = "";
      for (const name of Object.keys(chosen)) chosen[name] = "";
      show();
      row.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
});
