// Dissection explorer: what each unit of each model responds to, and how many detect a concept at which IoU.

// Weights of one axis of a bilinear upsampling with half-pixel centres (align_corners=False): for each target
// pixel the two source cells and their weights. In single precision like the dissection's, whose rounding decides
// where a map meets its threshold exactly (a sparse unit's threshold is 0, and so is most of its map).
const single = Math.fround;

function axis(cells, pixels) {
  const scale = single(cells / pixels);
  return Array.from({ length: pixels }, (_, i) => {
    const place = Math.max(0, single(scale * (i + 0.5) - 0.5));
    const low = Math.min(Math.floor(place), cells - 1);
    const share = single(place - low);
    return { low, high: Math.min(low + 1, cells - 1), first: single(1 - share), second: share };
  });
}

function blend(a, weights, b) {
  return single(single(a * weights.first) + single(b * weights.second));
}

// Upsample first, threshold second, strictly: the region of the unit, one byte per pixel.
function regionMask(map, [h, w], [height, width], threshold) {
  const [rows, columns] = [axis(h, height), axis(w, width)];
  const mask = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    const r = rows[y];
    for (let x = 0; x < width; x++) {
      const c = columns[x];
      const above = blend(map[r.low * w + c.low], c, map[r.low * w + c.high]);
      const below = blend(map[r.high * w + c.low], c, map[r.high * w + c.high]);
      mask[y * width + x] = blend(above, r, below) > threshold ? 1 : 0;
    }
  }
  return mask;
}

function overlap(region, concept) {
  let [both, either, area] = [0, 0, 0];
  for (let i = 0; i < region.length; i++) {
    both += region[i] & concept[i];
    either += region[i] | concept[i];
    area += region[i];
  }
  return { area: area / region.length, iou: either ? both / either : 0 };
}

const ORDERS = [["score", "IoU, highest first"], ["concept", "concept, A to Z"], ["number", "unit number"]];

function orderedUnits(unitModel, categoryNames, filter, order, threshold) {
  const units = unitModel.scores.map((_, i) => i).filter((i) =>
    filter === "all" || (filter === "detectors" && unitModel.scores[i] >= threshold && unitModel.categories[i] >= 0) ||
    categoryNames[unitModel.categories[i]] === filter);
  const byScore = (a, b) => unitModel.scores[b] - unitModel.scores[a] || a - b;
  if (order === "score") units.sort(byScore);
  if (order === "concept") units.sort((a, b) => unitModel.concepts[a].localeCompare(unitModel.concepts[b]) || byScore(a, b));
  return units;
}

async function render({ model, el }) {
  const models = model.get("models");
  const names = models.map((m) => m.name);
  const categories = model.get("categories");
  const categoryColours = model.get("category_colours");
  const steps = model.get("threshold_steps");
  const perUnit = model.get("images_per_unit");
  const [height, width] = model.get("image_size");
  const tileClasses = model.get("tile_classes");
  const truthColour = model.get("truth_colour");
  const quantile = model.get("quantile");

  const root = make("div", { class: "kdlib kdlib-dissection", role: "region", "aria-label": "Dissection explorer" });
  const url = URL.createObjectURL(new Blob([bytesOf(model.get("sprite"))], { type: model.get("sprite_type") }));
  const sheet = new Image();
  sheet.src = url;
  const atlas = { sheet, columns: model.get("sprite_columns"), tile: model.get("tile") };
  let maps, bits;
  try {
    const [rawMaps, rawBits] = await Promise.all([unpack(model.get("maps")), unpack(model.get("concept_masks")), sheet.decode()]);
    maps = new Float32Array(rawMaps);
    bits = new Uint8Array(rawBits);
  } catch (problem) {
    // The still picture stays; the reason stands below it.
    root.textContent = `This widget could not start: ${problem.message}`;
    mount(root, el);
    URL.revokeObjectURL(url);
    return () => {};
  }
  const maskBytes = Math.ceil((height * width) / 8);
  let [filter, order, showRegion, showConcept] = ["all", "score", true, true];
  // Several traits change at once: no picture of a state in between, where a unit may not be the model's.
  let changing = false;
  const put = (changes) => {
    changing = true;
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    changing = false;
    model.save_changes();
    show();
  };
  const current = () => models[Math.max(0, names.indexOf(model.get("model")))];

  const bar = slider("A unit is a detector from IoU", steps, (t) => t.toFixed(3), (t) => put({ threshold: t }));
  // Kept and only restyled afterwards: the bars can glide.
  const countRows = models.map((m) => {
    const row = {
      dot: make("span", { class: "kdlib-dot" }), total: make("b"), words: make("p"),
      pieces: categories.map((_, c) => make("i", { class: "kdlib-moving", style: { background: fill(categoryColours[c], c) } })),
    };
    row.node = make("div", { class: "kdlib-count", "data-model": m.name },
      make("span", { class: "kdlib-count-name" }, row.dot, m.title),
      make("span", {}, row.total, make("span", { class: "kdlib-muted kdlib-small" }, ` of ${m.scores.length}`)),
      make("div", { class: "kdlib-stack", "aria-hidden": "true" }, ...row.pieces), row.words);
    return row;
  });
  const counts = make("div", { class: "kdlib-counts" }, ...countRows.map((row) => row.node));
  const categoryKey = make("div", { class: "kdlib-key kdlib-small", style: { "margin-top": "0.7rem" } },
    ...categories.map((name, c) => make("span", {},
      make("span", { class: "kdlib-chip", style: { background: fill(categoryColours[c], c) } }), name)));
  const curve = make("div", { class: "kdlib-chart" });
  const curveKey = make("div", { class: "kdlib-key kdlib-small" });
  const picker = choice("Model", models.map((m) => ({
    value: m.name, content: [make("span", { class: "kdlib-dot", style: { background: m.colour } }), m.title],
  })), (name) => choose(name, filter, order));
  const filterPicker = dropdown("Show units of", (value) => choose(model.get("model"), value, order));
  const orderPicker = dropdown("Sort by", (value) => choose(model.get("model"), filter, value));
  const unitPicker = dropdown("Unit", (value) => put({ unit: Number(value) }));
  const previous = make("button", { type: "button", "aria-label": "previous unit", onclick: () => move(-1) }, "‹");
  const next = make("button", { type: "button", "aria-label": "next unit", onclick: () => move(1) }, "›");
  const facts = make("div", { class: "kdlib-facts" });
  const cards = Array.from({ length: perUnit }, () => {
    const canvas = make("canvas", { role: "img" });
    const caption = make("p", { class: "kdlib-small" });
    return { canvas, caption, node: make("div", { class: "kdlib-card" }, canvas, caption) };
  });
  const toggle = (checked, sample, text, onChange) => {
    const box = make("input", { type: "checkbox", checked });
    box.addEventListener("change", () => { onChange(box.checked); show(); });
    return make("label", { class: "kdlib-check kdlib-small" }, box, sample, text);
  };
  const regionLine = make("span", { class: "kdlib-line" });
  const conceptLine = make("span", { class: "kdlib-line kdlib-line-dashed", style: { "border-color": truthColour } });
  const empty = make("p", { class: "kdlib-muted" });
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });

  root.append(
    make("div", { class: "kdlib-top" },
      make("div", {}, bar.control, counts, categoryKey),
      make("div", {}, make("h4", {}, "Detectors over the threshold"), curveKey, curve)),
    make("div", { class: "kdlib-units" },
      make("h4", {}, "Look at one unit"),
      make("div", { class: "kdlib-pickers" },
        make("div", { class: "kdlib-control kdlib-wide" }, make("div", { class: "kdlib-label" }, "Model"), picker.group),
        filterPicker.control, orderPicker.control,
        make("div", { class: "kdlib-unit-line kdlib-wide" }, previous, unitPicker.control, next)),
      facts, empty, make("div", { class: "kdlib-cards" }, ...cards.map((card) => card.node)),
      make("div", { class: "kdlib-overlays" },
        toggle(true, regionLine, "the unit's active region", (v) => { showRegion = v; }),
        toggle(true, conceptLine, "the concept's true mask", (v) => { showConcept = v; }))),
    summary,
  );

  // Another model, filter or order starts at the first unit of its list; so does a unit that is not in it.
  function choose(name, newFilter, newOrder) {
    [filter, order] = [newFilter, newOrder];
    const units = orderedUnits(models[names.indexOf(name)], categories, filter, order, model.get("threshold"));
    put({ model: name, unit: units.length ? units[0] : 0 });
  }

  function move(by) {
    const units = orderedUnits(current(), categories, filter, order, model.get("threshold"));
    const place = units.indexOf(model.get("unit"));
    put({ unit: units[(place + by + units.length) % units.length] });
  }

  function showCounts(threshold, theme) {
    const most = Math.max(...models.map((m) => m.scores.length));
    models.forEach((m, i) => {
      const each = countDetectors(m, threshold, categories.length);
      const { dot, total, pieces, words } = countRows[i];
      dot.style.background = legible(m.colour, theme);
      total.textContent = each.reduce((sum, n) => sum + n, 0);
      pieces.forEach((piece, c) => {
        piece.style.width = `${(100 * each[c]) / most}%`;
        piece.style.borderRightWidth = each[c] ? "1px" : "0";
        piece.title = `${each[c]} ${categories[c]}`;
      });
      words.textContent = each.map((n, c) => `${n} ${categories[c]}`).filter((_, c) => each[c]).join(", ") || "no detectors";
    });
  }

  function showCurve(threshold, theme) {
    const series = models.map((m, i) => ({
      name: m.title, colour: legible(m.colour, theme), dash: DASHES[i % DASHES.length], strong: m === current(),
      values: steps.map((t) => countDetectors(m, t, categories.length).reduce((sum, n) => sum + n, 0)),
    }));
    const top = niceTop(Math.max(1, ...series.flatMap((line) => line.values)));
    const ticks = [0, 1, 2, 3, 4].map((i) => steps[Math.round((i * (steps.length - 1)) / 4)]);
    lineChart(curve, {
      xs: steps, series, cursor: threshold, height: 190, yTop: top, step: true,
      xTicks: ticks.map((t) => [t, String(t)]), yTicks: [0, top / 2, top].map((y) => [y, String(y)]),
    });
    curveKey.replaceChildren(...series.map((line) => make("span", {}, lineSample(line.colour, line.dash), line.name)));
  }

  function showCard(card, m, unit, rank) {
    const slot = unit * perUnit + rank;
    const tile = m.tiles[slot];
    const cells = m.map_size[0] * m.map_size[1];
    const start = m.map_start + slot * cells;
    const region = regionMask(maps.subarray(start, start + cells), m.map_size, [height, width], m.thresholds[unit]);
    const concept = unpackBits(bits, (m.mask_start + slot) * maskBytes, height * width);
    const painted = paintTile(card.canvas, atlas, tile, [height, width]);
    if (showRegion) dimOutside(painted, region, width);
    if (showRegion) strokeMask(painted, region, [height, width], { colour: m.colour });
    if (showConcept && m.concepts[unit]) {
      strokeMask(painted, concept, [height, width], { colour: truthColour, dash: [0.7, 0.3], wide: 3, casing: 1.5 });
    }
    const here = overlap(region, concept);
    const share = `${(100 * here.area).toFixed(1)} %`;
    card.caption.replaceChildren(make("b", {}, tileClasses[tile]), make("br"), `active on ${share}`,
      ...(m.concepts[unit] ? [make("br"), `IoU here ${here.iou.toFixed(2)}`] : []));
    card.canvas.setAttribute("aria-label", `image ${rank + 1} of unit ${unit}, a ${tileClasses[tile]}: active on ${share} of the picture` +
      (m.concepts[unit] ? `, overlap with ${m.concepts[unit]} ${here.iou.toFixed(2)}` : ""));
  }

  function show() {
    if (changing) return;
    const [threshold, m, theme] = [model.get("threshold"), current(), root.dataset.theme];
    const unit = Math.min(model.get("unit"), m.scores.length - 1);
    bar.show(threshold);
    showCounts(threshold, theme);
    showCurve(threshold, theme);
    picker.show(m.name);
    picker.buttons.forEach((button, i) => { button.firstChild.style.background = legible(models[i].colour, theme); });
    const filters = [["all", "all categories"], ["detectors", "detectors only"],
      ...categories.map((name) => [name, `${name} (${m.categories.filter((c) => categories[c] === name).length})`])];
    filterPicker.fill(filters, filter);
    orderPicker.fill(ORDERS, order);
    const units = orderedUnits(m, categories, filter, order, threshold);
    const listed = units.includes(unit) ? units : [unit, ...units];
    const hidden = units.length === 0;
    unitPicker.fill(hidden ? [["", "none"]] : listed.map((i) =>
      [i, `${m.scores[i] >= threshold && m.concepts[i] ? "● " : "○ "}${i}: ${unitText(m, i)}`]), hidden ? "" : unit);
    for (const control of [unitPicker.select, previous, next]) control.disabled = hidden;
    empty.textContent = hidden ? `No unit of ${m.title} is listed: choose another category.` : "";
    cards.forEach((card) => { card.node.hidden = hidden; });
    facts.hidden = hidden;
    const total = (each) => each.reduce((sum, n) => sum + n, 0);
    const counted = models.map((each) => `${each.title} has ${total(countDetectors(each, threshold, categories.length))}`);
    let words = `At an IoU of ${threshold.toFixed(3)}, ${counted.join(", ")} concept detectors.`;
    if (!hidden) {
      const isDetector = Boolean(m.concepts[unit]) && m.scores[unit] >= threshold;
      const category = categories[m.categories[unit]];
      facts.replaceChildren(
        make("span", {}, `Unit ${unit} of ${m.title}: `, make("strong", {}, m.concepts[unit] || "no concept")),
        make("span", {}, `category ${category || "none"}`),
        make("span", {}, "IoU ", make("b", { "data-kdlib-value": "score" }, m.scores[unit].toFixed(3))),
        make("span", { class: "kdlib-badge", "data-detector": String(isDetector) }, isDetector ? "✓ detector" : "not a detector"));
      cards.forEach((card, rank) => showCard(card, m, unit, rank));
      words += ` Unit ${unit} of ${m.title} matches ${m.concepts[unit] ? `${m.concepts[unit]} (${category}) best, with an IoU of ` +
        `${m.scores[unit].toFixed(3)} over the whole probe set` : "no concept"}: it is ${isDetector ? "a" : "not a"} detector. ` +
        `Bright in its top images is where it is more active than on ${(100 * (1 - quantile)).toFixed(1)} % of the probe set.`;
    }
    regionLine.style.borderColor = m.colour;
    summary.textContent = words;
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(curve, show);
  const stopModel = onChange(model, ["threshold", "unit", "model"], show);
  return () => {
    stopTheme();
    stopResize();
    stopModel();
    URL.revokeObjectURL(url);
  };
}

export { countDetectors, overlap, regionMask, unpackBits };
export default { render };
