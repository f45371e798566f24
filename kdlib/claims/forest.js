// Filters and sorts the claims of the forest plot. Without it all of them stand there.
(() => {
  const forest = document.currentScript.closest(".kdlib-forest");
  const form = forest.querySelector("form");
  const status = form.querySelector("[role=status]");
  const filters = [...form.querySelectorAll("select[data-filter]")];
  const order = form.querySelector("select[data-order]");

  function show() {
    let shown = 0;
    for (const paper of forest.querySelectorAll(".forest-paper")) {
      const rows = [...paper.querySelectorAll(".forest-row")];
      const rank = (row) => Number(row.getAttribute(`data-order-${order.value}`));
      rows.sort((a, b) => rank(a) - rank(b));
      paper.querySelector(".forest-rows").append(...rows);
      for (const row of rows) {
        row.hidden = filters.some(({ value, dataset }) => value && row.dataset[dataset.filter] !== value);
      }
      const kept = rows.filter((row) => !row.hidden).length;
      paper.hidden = kept === 0;
      shown += kept;
    }
    const said = `${shown} of ${status.dataset.total} claims shown`;
    // Written anew only where it differs, or a screen reader would say it again.
    if (status.textContent !== said) status.textContent = said;
  }

  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show)); // the choices are reset after this event
  form.hidden = false;
  show();
})();
