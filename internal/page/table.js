"use strict";
(() => {
  const table = document.querySelector("table.images");
  const tools = document.getElementById("tools");
  if (!table || !tools) return;
  const bodies = Array.from(table.tBodies);
  const per = bodies[0].rows.length;
  const rows = bodies.flatMap(b => Array.from(b.rows));
  let order = rows;
  const text = document.getElementById("filter");
  const verdict = document.getElementById("verdict");
  const count = document.getElementById("count");
  const words = new Map();
  const say = n => n.toLocaleString("en") + (n === 1 ? " image" : " images");
  // Rows stand in bodies of equal size, so that the browser lays out only those in sight.
  const place = () => {
    const all = order.filter(r => !r.hidden).concat(order.filter(r => r.hidden));
    const shown = all.findIndex(r => r.hidden);
    const n = shown < 0 ? all.length : shown;
    bodies.forEach((body, i) => {
      body.append(...all.slice(i * per, (i + 1) * per));
      const here = Math.max(0, Math.min(per, n - i * per));
      body.hidden = here === 0;
      body.style.containIntrinsicHeight = "auto " + here * 3.9 + "rem";
    });
  };
  const apply = () => {
    const want = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, changed = false;
    for (const row of rows) {
      let words_ = words.get(row);
      if (words_ === undefined && want.length) words.set(row, words_ = row.textContent.toLowerCase());
      const ok = (!verdict.value || row.dataset.v === verdict.value) && want.every(w => words_.includes(w));
      if (row.hidden === ok) { row.hidden = !ok; changed = true; }
      if (ok) shown++;
    }
    if (changed) place();
    count.textContent = shown === rows.length ? say(shown) : say(shown) + " of " + rows.length.toLocaleString("en");
  };
  let timer;
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(apply, 120); });
  verdict.addEventListener("change", apply);
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => { const c = row.cells[i]; return c.dataset.k === undefined ? c.textContent : Number(c.dataset.k); };
      const keyed = rows.map((row, at) => ({row, at, k: key(row)}));
      keyed.sort((a, b) => {
        const d = typeof a.k === "number" && typeof b.k === "number" ? a.k - b.k : String(a.k).localeCompare(String(b.k));
        return (up ? d : -d) || a.at - b.at;
      });
      order = keyed.map(x => x.row);
      place();
    });
  });
  tools.hidden = false;
  apply();
})();
// Without the script a digest is selected whole by one click, and its button stays hidden.
(() => {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(button.dataset.copy).then(() => {
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    }, () => {}));
  }
})();
