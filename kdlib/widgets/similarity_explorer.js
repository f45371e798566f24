// Similarity explorer: what each network gives to which wrong class, as class-by-class matrices of mean log p.

// Codes 0 ... top stand for lowest ... 0; the one above for "no images of this class".
function decode(codes, lowest, top) {
  return Float64Array.from(codes, (code) => (code > top ? NaN : lowest * (1 - code / top)));
}

function isPair(i, classes) {
  return Math.floor(i / classes) !== i % classes;
}

// Mean over pairs of siblings and over pairs of classes of different superclasses.
function groupMeans(matrix, groupOf) {
  const sums = { siblings: [0, 0], others: [0, 0] };
  matrix.forEach((value, i) => {
    if (Number.isNaN(value) || !isPair(i, groupOf.length)) return;
    const sum = groupOf[Math.floor(i / groupOf.length)] === groupOf[i % groupOf.length] ? sums.siblings : sums.others;
    sum[0] += value;
    sum[1] += 1;
  });
  return { siblings: sums.siblings[0] / sums.siblings[1], others: sums.others[0] / sums.others[1] };
}

// Ranks from 1; equal values share the mean of the ranks they take up.
function ranks(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start;
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let i = start; i < end; i++) found[order[i]] = (start + end + 1) / 2;
    start = end;
  }
  return found;
}

// Spearman's rho of two matrices off the diagonal, over the pairs that both have; NaN if one of them is constant.
function rankCorrelation(a, b, classes) {
  const kept = [...a.keys()].filter((i) => isPair(i, classes) && !Number.isNaN(a[i]) && !Number.isNaN(b[i]));
  const centred = [a, b].map((matrix) => ranks(kept.map((i) => matrix[i])).map((rank) => rank - (kept.length + 1) / 2));
  const product = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  return product(...centred) / Math.sqrt(product(centred[0], centred[0]) * product(centred[1], centred[1]));
}

function extent(matrices, classes) {
  let [low, high] = [Infinity, -Infinity];
  for (const matrix of matrices) {
    matrix.forEach((value, i) => {
      if (Number.isNaN(value) || !isPair(i, classes)) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
    });
  }
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

// A number with a real minus sign; what rounds to zero has none.
function signed(value, digits = 2) {
  if (!Number.isFinite(value)) return "unknown";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

const SCALES = [["both", "one scale for the two shown"], ["all", "one scale for all models"], ["own", "each its own scale"]];
const GREY = "#b9c0c8";

function render({ model, el }) {
  const classes = model.get("class_names");
  const groupNames = model.get("superclass_names");
  const groupOf = model.get("superclass_of");
  const groupColours = model.get("superclass_colours");
  const models = model.get("models");
  const temperatures = model.get("temperatures");
  const colours = { values: model.get("value_colours"), difference: model.get("difference_colours") };
  const count = classes.length;
  // Sorted by superclass: siblings stand in blocks. Position in the picture <-> index of the class.
  const order = classes.map((_, i) => i).sort((a, b) => groupOf[a] - groupOf[b] || a - b);
  const place = order.reduce((found, c, i) => { found[c] = i; return found; }, []);
  const codes = new Uint16Array(bytesOf(model.get("values")).slice().buffer);
  const all = decode(codes, model.get("lowest"), model.get("codes"));
  const matrixAt = (index) => all.subarray(index * count * count, (index + 1) * count * count);
  const swept = models.filter((m) => m.swept);
  const SIDES = ["left", "right"];
  let scale = "both";

  const root = make("div", { class: "kdlib kdlib-similarity", role: "region", "aria-label": "Similarity explorer" });
  const put = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  const matrixOf = (m) => matrixAt(m.start + (m.swept ? Math.max(0, temperatures.indexOf(model.get("temperature"))) : 0));
  const titleOf = (m) => (m.swept ? `${m.title}, T = ${model.get("temperature")}` : m.title);
  const relation = (row, column) => (row === column ? "the same class" : groupOf[row] === groupOf[column] ? "sibling" : "no sibling");

  const pickers = SIDES.map((side) => {
    const picker = dropdown(side === "left" ? "Left model" : "Right model", (name) => put({ [side]: name }));
    picker.fill(models.map((m) => [m.name, m.swept ? `${m.title}, at T` : m.title]), model.get(side));
    return picker;
  });
  const views = choice("View", ["side by side", "difference"].map((view) => ({ value: view, content: [view] })), (view) => put({ view }));
  const scalePicker = dropdown("Colours", (value) => { scale = value; show(); });
  scalePicker.fill(SCALES, scale);
  const heat = temperatures.length
    ? slider(`Temperature T: ${swept.map((m) => m.title).join(", ")}`, temperatures, String, (t) => put({ temperature: t })) : null;
  const bring = make("button", { type: "button", onclick: () => put(swept.length > 1
    ? { left: swept[0].name, right: swept[1].name } : { left: swept[0].name }) }, `Show ${swept.slice(0, 2).map((m) => m.title).join(" and ")}`);
  const heatNote = make("p", { class: "kdlib-small kdlib-muted" });

  const readoutId = uniqueName();
  const panels = SIDES.map(() => {
    const panel = {
      dot: make("span", { class: "kdlib-dot" }), heading: make("span", {}), canvas: make("canvas", { "aria-hidden": "true" }),
      labels: draw("svg", { "aria-hidden": "true" }), strips: make("div", { "aria-hidden": "true" }),
      low: make("span", {}), middle: make("span", {}), high: make("span", {}), ramp: make("div", { class: "kdlib-ramp", "aria-hidden": "true" }),
      legend: make("p", { class: "kdlib-small kdlib-muted" }),
    };
    panel.box = make("div", {
      class: "kdlib-matrix kdlib-chart", tabindex: 0, role: "application", "aria-roledescription": "matrix", "aria-describedby": readoutId,
      "data-lm-suppress-shortcuts": "true", onkeydown: step,
    }, panel.canvas, panel.strips, panel.labels);
    for (const kind of ["pointermove", "pointerdown"]) panel.box.addEventListener(kind, (event) => point(event, panel));
    panel.node = make("div", {}, make("h4", {}, panel.dot, panel.heading), panel.box,
      make("div", { class: "kdlib-scale" }, panel.ramp, make("div", { class: "kdlib-ends kdlib-small" }, panel.low, panel.middle, panel.high), panel.legend));
    return panel;
  });
  const pair = ["Images of", "Log-probability of"].map((label, i) => {
    const picker = dropdown(label, (value) => put({ [i ? "column" : "row"]: Number(value) }));
    picker.fill(order.map((c) => [c, `${classes[c]} (${groupNames[groupOf[c]]})`]), "");
    return picker;
  });
  const readout = make("p", { class: "kdlib-summary", id: readoutId, "aria-live": "polite" });
  const table = make("table", { class: "kdlib-table" });
  const key = make("div", { class: "kdlib-key kdlib-small" },
    ...groupNames.map((name, g) => make("span", {}, make("span", { class: "kdlib-chip", style: { background: fill(groupColours[g], g) } }), name)),
    make("span", {}, make("span", { class: "kdlib-chip", style: { background: GREY } }), "diagonal, or a class without images"));

  root.append(
    make("div", { class: "kdlib-fields" }, ...pickers.map((picker) => picker.control),
      make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "View"), views.group), scalePicker.control),
    ...(heat ? [make("div", { class: "kdlib-heat" }, heat.control, make("div", {}, bring, heatNote))] : []),
    make("div", { class: "kdlib-panels" }, ...panels.map((panel) => panel.node)),
    key,
    make("div", { class: "kdlib-fields" }, ...pair.map((picker) => picker.control)),
    readout,
    table,
    make("p", { class: "kdlib-small kdlib-muted" }, "Rows: the class of the images. Columns: the class whose log-probability is averaged, in nats. " +
      "Point at a cell, or focus a matrix and use the arrow keys. Outlined blocks are superclasses."),
  );

  function point(event, panel) {
    const frame = panel.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * count);
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * count);
    if (row < 0 || column < 0 || row >= count || column >= count) return;
    if (order[row] !== model.get("row") || order[column] !== model.get("column")) put({ row: order[row], column: order[column] });
  }

  function step(event) {
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
    const row = place[model.get("row")] + dy;
    const column = { Home: 0, End: count - 1 }[event.key] ?? place[model.get("column")] + dx;
    if (!dy && !dx && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    if (row >= 0 && column >= 0 && row < count && column < count) put({ row: order[row], column: order[column] });
  }

  function paint(panel, matrix, [low, high], ramp) {
    const width = Math.max(200, Math.floor(panel.box.clientWidth));
    const strip = 9;
    const letters = Math.min(110, 10 + 5.7 * Math.max(...classes.map((name) => name.length)));
    const named = (width - strip - letters) / count >= 10.5;  // else two names would run into each other
    const gutter = strip + (named ? letters : 4);
    const cell = Math.max(1, (width - gutter - 2) / count);
    const side = cell * count;
    const sharp = window.devicePixelRatio || 1;
    const { canvas, labels, strips, box } = panel;
    [canvas.width, canvas.height] = [Math.round(side * sharp), Math.round(side * sharp)];
    for (const [name, value] of Object.entries({ left: gutter, top: 1, width: side, height: side })) canvas.style[name] = `${value}px`;
    box.style.height = `${side + gutter + 2}px`;
    const context = canvas.getContext("2d");
    const edge = (i) => Math.round((i * canvas.width) / count);
    for (let r = 0; r < count; r++) {
      for (let c = 0; c < count; c++) {
        const value = matrix[order[r] * count + order[c]];
        const share = (value - low) / (high - low || 1);
        const shade = Math.round(Math.min(1, Math.max(0, share)) * (ramp.length - 1));
        context.fillStyle = r === c || Number.isNaN(value) ? GREY : ramp[shade];
        context.fillRect(edge(c), edge(r), edge(c + 1) - edge(c), edge(r + 1) - edge(r));
      }
    }
    const runs = [];
    order.forEach((c, i) => {
      if (i && groupOf[c] === groupOf[order[i - 1]]) runs[runs.length - 1].size += 1;
      else runs.push({ group: groupOf[c], start: i, size: 1 });
    });
    strips.replaceChildren(...runs.flatMap(({ group, start, size }) => {
      const [at, long] = [start * cell, size * cell - 1];
      const background = fill(groupColours[group], group);
      const bar = (style) => make("i", { class: "kdlib-strip", style: { ...style, background } });
      return [
        bar({ left: `${gutter - strip}px`, top: `${1 + at}px`, width: `${strip - 2}px`, height: `${long}px` }),
        bar({ left: `${gutter + at}px`, top: `${side + 3}px`, width: `${long}px`, height: `${strip - 2}px` }),
      ];
    }));
    const [row, column] = [place[model.get("row")], place[model.get("column")]];
    const frame = (x, y, w, h, colour, wide) =>
      draw("rect", { x, y, width: w, height: h, fill: "none", stroke: colour, "stroke-width": wide });
    const parts = runs.flatMap(({ start, size }) => [["#ffffff", 3.5], ["#1b1f24", 1.5]].map(([colour, wide]) =>
      frame(gutter + start * cell, 1 + start * cell, size * cell, size * cell, colour, wide)));
    parts.push(...[["#000000", 5], ["#ffffff", 2.5]].map(([colour, wide]) =>
      frame(gutter + column * cell - 1, row * cell, cell + 2, cell + 2, colour, wide)));
    if (named) {
      order.forEach((c, i) => {
        const middle = (i + 0.5) * cell;
        const strong = (chosen) => `font-size:${Math.min(11, cell - 0.5)}px;font-weight:${chosen ? 700 : 400}`;
        parts.push(draw("text", { x: gutter - strip - 4, y: 1 + middle + 4, "text-anchor": "end", style: strong(i === row) }, classes[c]));
        const [x, y] = [gutter + middle + 4, side + strip + 6];
        parts.push(draw("text", { x, y, "text-anchor": "end", transform: `rotate(-90 ${x} ${y})`, style: strong(i === column) }, classes[c]));
      });
    }
    labels.setAttribute("width", width);
    labels.setAttribute("height", side + gutter + 2);
    labels.replaceChildren(...parts);
  }

  function legend(panel, [low, high], ramp, words) {
    panel.ramp.style.background = `linear-gradient(90deg, ${ramp.join(", ")})`;
    [panel.low.textContent, panel.middle.textContent, panel.high.textContent] = [low, (low + high) / 2, high].map((v) => signed(v));
    panel.legend.textContent = words;
  }

  function show() {
    const theme = root.dataset.theme;
    const sides = SIDES.map((side) => models.find((m) => m.name === model.get(side)) || models[0]);
    const shown = sides.map(matrixOf);
    const [row, column, view] = [model.get("row"), model.get("column"), model.get("view")];
    const difference = shown[1].map((value, i) => value - shown[0][i]);
    const titles = sides.map(titleOf);
    pickers.forEach((picker, i) => { picker.select.value = sides[i].name; });
    views.show(view);
    scalePicker.select.disabled = view === "difference";
    if (heat) {
      const moved = sides.some((m) => m.swept);
      heat.show(model.get("temperature"));
      heat.input.disabled = !moved;
      bring.hidden = moved;
      heatNote.textContent = moved ? "" : "The slider moves these models; neither is shown now.";
    }
    const apart = view === "side by side";
    root.classList.toggle("kdlib-apart", apart);
    panels[1].node.hidden = !apart;
    if (apart) {
      const whole = scale === "all" ? Array.from({ length: all.length / count / count }, (_, i) => matrixAt(i)) : shown;
      panels.forEach((panel, i) => {
        const range = extent(scale === "own" ? [shown[i]] : whole, count);
        panel.dot.hidden = false;
        panel.dot.style.background = legible(sides[i].colour, theme);
        panel.heading.textContent = titles[i];
        panel.box.setAttribute("aria-label", `matrix of ${titles[i]}; arrow keys move from cell to cell`);
        paint(panel, shown[i], range, colours.values);
        legend(panel, range, colours.values, "mean log-probability, nats");
      });
    } else {
      const [low, high] = extent([difference], count);
      const top = Math.max(-low, high, 1e-6);
      panels[0].dot.hidden = true;
      panels[0].heading.textContent = `${titles[1]} minus ${titles[0]}`;
      panels[0].box.setAttribute("aria-label", `matrix of ${titles[1]} minus ${titles[0]}; arrow keys move from cell to cell`);
      paint(panels[0], difference, [-top, top], colours.difference);
      legend(panels[0], [-top, top], colours.difference, `difference in nats: left end, higher in ${titles[0]}; right end, higher in ${titles[1]}`);
    }
    pair[0].select.value = row;
    pair[1].select.value = column;
    const at = row * count + column;
    const value = (key, number, digits = 2) => make("b", { "data-kdlib-value": key }, signed(number, digits));
    const missing = shown.some((matrix) => Number.isNaN(matrix[at]));
    readout.replaceChildren("Images of ", make("b", {}, classes[row]), ": mean log-probability of ", make("b", {}, classes[column]),
      ` (${relation(row, column)}) is `, value("left", shown[0][at]), ` in ${titles[0]} and `, value("right", shown[1][at]),
      ` in ${titles[1]}; right minus left is `, value("difference", difference[at]), " nats.",
      missing ? " Unknown: there are no images of this class." : "");
    const means = shown.map((matrix) => groupMeans(matrix, groupOf));
    const line = (name, read) => make("tr", {}, make("th", { scope: "row" }, name), ...means.map((each) => make("td", {}, signed(read(each)))));
    table.replaceChildren(
      make("caption", { class: "kdlib-small" }, "Off the diagonal, Spearman's rho between the two matrices is ",
        value("rho", rankCorrelation(shown[0], shown[1], count)), "."),
      make("tr", {}, make("th", { scope: "col" }, "mean log-probability of"), ...titles.map((title) => make("th", { scope: "col" }, title))),
      line("a sibling", (each) => each.siblings), line("another class", (each) => each.others),
      line("sibling minus other", (each) => each.siblings - each.others));
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(root, show);
  const stopModel = onChange(model, ["left", "right", "view", "temperature", "row", "column"], show);
  return () => {
    stopTheme();
    stopResize();
    stopModel();
  };
}

export { decode, groupMeans, rankCorrelation, signed };
export default { render };
