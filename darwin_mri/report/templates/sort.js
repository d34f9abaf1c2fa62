/* Column headers become buttons that sort: largest or A first, then the other way, then as given. Without this script
   the table stays as it was written. Rows that are equal keep their order; cells without a value come last. */
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const given = [...body.rows];
  heads.forEach((head, column) => {
    const numeric = given.some(row => row.cells[column].dataset.key);
    const first = numeric ? "descending" : "ascending";
    const value = row => {
      const cell = row.cells[column];
      if (numeric) return cell.dataset.key ? Number(cell.dataset.key) : null;
      const text = cell.textContent.trim();
      return text === "\u2013" ? null : text;
    };
    const compare = (a, b) => numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === null ? first : now === first ? (numeric ? "ascending" : "descending") : null;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        return x === null || y === null ? (x === null) - (y === null) : sign * compare(x, y);
      };
      body.append(...(next ? [...body.rows].sort(order) : given));
    });
  });
}
