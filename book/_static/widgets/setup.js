// Where a page's widgets find their code: beside this file, so that nothing is asked of another host.
// Runs after require.js and before embed-amd.js (see nb_ipywidgets_js in _config.yml).
(function () {
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const paths = { anywidget: here + "anywidget" };
  // embed-amd.js defines these four itself; the address tells it where its icon fonts lie.
  for (const name of ["base", "controls", "html-manager", "html-manager/dist/libembed-amd"]) {
    paths["@jupyter-widgets/" + name] = here + "embed-amd";
  }
  window.requirejs.config({ paths: paths });
  // The theme's icon script would otherwise replace the icons inside widgets, and Play would stop working.
  window.FontAwesomeConfig = Object.assign({}, window.FontAwesomeConfig, { observeMutations: false });
})();
