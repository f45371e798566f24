// Method comparison: two networks in the same unit index space, side by side.

// Over the unit indices of two networks: detectors in both, of one category in both, and in one of them alone.
function compareUnits(left, right, threshold) {
  const category = (m, unit) => (unit < m.scores.length && m.scores[unit] >= threshold ? m.categories[unit] : -1);
  const found = { both: 0, same: 0, leftOnly: 0, rightOnly: 0 };
  for (let unit = 0; unit < Math.max(left.scores.length, right.scores.length); unit++) {
    const [a, b] = [category(left, unit), category(right, unit)];
    if (a >= 0 && b >= 0) {
      found.both += 1;
      found.same += a === b ? 1 : 0;
    } else if (a >= 0) found.leftOnly += 1;
    else if (b >= 0) found.rightOnly += 1;
  }
  return found;
}

const total = (counts) => counts.reduce((sum, n) => sum + n, 0);

async function render({ model, el }) {
  const models = model.get("models");
  const categories = model.get("categories");
  const categoryColours = model.get("category_colours");
  const steps = model.get("threshold_steps");
  const perUnit = model.get("images_per_unit");
  const [height, width] = model.get("mask_size");
  const tileClasses = model.get("tile_classes");
  const units = Math.max(...models.map((m) => m.scores.length));
  const maskBytes = Math.ceil((height * width) / 8);
  // One length stands for one count, whichever methods and threshold are chosen.
  const most = Math.max(1, ...models.flatMap((m) => countDetectors(m, steps[0], categories.length)));
  const mostTotal = Math.max(1, ...models.map((m) => m.scores.length));
  const SIDES = ["left", "right"];

  const root = make("div", { class: "kdlib kdlib-comparison", role: "region", "aria-label": "Method comparison" });
  const url = URL.createObjectURL(new Blob([bytesOf(model.get("sprite"))], { type: model.get("sprite_type") }));
  const sheet = new Image();
  sheet.src = url;
  const atlas = { sheet, columns: model.get("sprite_columns"), tile: model.get("tile") };
  let bits;
  try {
    const [raw] = await Promise.all([unpack(model.get("masks")), sheet.decode()]);
    bits = new Uint8Array(raw);
  } catch (problem) {
    // The still picture stays; the reason stands below it.
    root.textContent = `This widget could not start: ${problem.message}`;
    mount(root, el);
    URL.revokeObjectURL(url);
    return () => {};
  }
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const chosen = (side) => models.find((m) => m.name === model.get(side)) || models[0];

  const pickers = SIDES.map((side) => {
    const picker = dropdown(side === "left" ? "Left method" : "Right method", (name) => put(side, name));
    picker.fill(models.map((m) => [m.name, m.title]), model.get(side));
    return picker;
  });
  const bar = slider("A unit is a detector from IoU", steps, (t) => t.toFixed(3), (t) => put("threshold", t));

  // Kept and only restyled afterwards: the bars can glide.
  const rows = [null, ...categories].map((category, place) => {
    const row = { bars: [0, 1].map(() => make("i", { class: "kdlib-moving" })), values: [0, 1].map(() => make("span", {})) };
    const chip = category && make("span", { class: "kdlib-chip", style: { background: fill(categoryColours[place - 1], place - 1) } });
    row.node = make("div", { class: "kdlib-row", "data-category": category || "all" },
      make("span", { class: "kdlib-name" }, chip, category || make("b", {}, "all categories")),
      make("div", { class: "kdlib-bars", "aria-hidden": "true" }, ...row.bars.map((b) => make("div", { class: "kdlib-bar" }, b))),
      make("div", { class: "kdlib-values" }, ...row.values));
    return row;
  });
  const caps = [0, 1].map(() => make("i", { class: "kdlib-cap" }));
  const capWords = [0, 1].map(() => make("span", {}));
  const shared = make("p", { class: "kdlib-small kdlib-muted" });

  const unitBar = slider("Unit", Array.from({ length: units }, (_, i) => i), String, (unit) => put("unit", unit));
  const previous = make("button", { type: "button", "aria-label": "previous unit", onclick: () => move(model.get("unit") - 1) }, "‹");
  const next = make("button", { type: "button", "aria-label": "next unit", onclick: () => move(model.get("unit") + 1) }, "›");

  const halves = SIDES.map((side) => {
    const half = { dot: make("span", { class: "kdlib-dot" }), heading: make("span", {}), facts: make("div", { class: "kdlib-facts" }) };
    half.cells = Array.from({ length: units }, (_, unit) =>
      make("div", { class: "kdlib-unit", role: "option", id: uniqueName(), onclick: () => move(unit) }));
    half.grid = make("div", {
      class: "kdlib-grid-of-units", role: "listbox", tabindex: 0, "data-lm-suppress-shortcuts": "true", onkeydown: (event) => step(event, half),
    }, ...half.cells);
    half.cards = Array.from({ length: perUnit }, () => {
      const canvas = make("canvas", { role: "img" });
      const caption = make("p", { class: "kdlib-small" });
      return { canvas, caption, node: make("div", { class: "kdlib-card" }, canvas, caption) };
    });
    half.cardBox = make("div", { class: "kdlib-cards" }, ...half.cards.map((card) => card.node));
    half.upper = make("div", { "data-side": side }, make("h4", {}, half.dot, " ", half.heading), half.grid);
    half.lower = make("div", { "data-side": side }, half.facts, half.cardBox);
    return half;
  });
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });

  root.append(
    make("div", { class: "kdlib-pair" }, ...pickers.map((picker) => picker.control)),
    make("div", { class: "kdlib-count-block" }, bar.control,
      make("div", { class: "kdlib-key kdlib-small" },
        ...caps.map((cap, i) => make("span", {}, cap, capWords[i]))),
      make("div", { class: "kdlib-rows" }, ...rows.map((row) => row.node)), shared),
    make("div", { class: "kdlib-pair" }, ...halves.map((half) => half.upper)),
    make("div", { class: "kdlib-key kdlib-small" },
      ...categories.map((name, c) => make("span", {},
        make("span", { class: "kdlib-chip", style: { background: fill(categoryColours[c], c) } }), name)),
      make("span", {}, make("span", { class: "kdlib-chip kdlib-chip-none" }), "no detector")),
    make("div", { class: "kdlib-unit-line" }, previous, unitBar.control, next),
    make("div", { class: "kdlib-pair" }, ...halves.map((half) => half.lower)),
    summary,
    make("p", { class: "kdlib-small kdlib-muted" }, "The same index is the same place in both layers, and for students of one seed " +
      "the same initial weights; it is not the same role. Bright and outlined is where the unit is more active than its threshold."),
  );

  function move(unit) {
    put("unit", (unit + units) % units);
  }

  function step(event, half) {
    const columns = getComputedStyle(half.grid).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const to = { Home: 0, End: units - 1 }[event.key] ?? model.get("unit") + by;
    if (Number.isNaN(to)) return;
    event.preventDefault();
    if (to >= 0 && to < units) put("unit", to);
  }

  function unitWords(m, unit, threshold) {
    if (unit >= m.scores.length) return `no unit ${unit}: this layer has ${m.scores.length}`;
    const category = categories[m.categories[unit]];
    if (!m.concepts[unit]) return "no concept";
    return `${m.concepts[unit]} (${category}), IoU ${m.scores[unit].toFixed(3)}, ${m.scores[unit] >= threshold ? "a detector" : "not a detector"}`;
  }

  function showCounts(sides, threshold, theme) {
    const counts = sides.map((m) => countDetectors(m, threshold, categories.length));
    rows.forEach((row, place) => {
      const numbers = counts.map((each) => (place ? each[place - 1] : total(each)));
      numbers.forEach((number, side) => {
        const piece = row.bars[side];
        piece.style.width = `${(100 * number) / (place ? most : mostTotal)}%`;
        piece.style.background = place ? fill(categoryColours[place - 1], place - 1) : "var(--control)";
        piece.style.borderRightColor = legible(sides[side].colour, theme);
        row.values[side].textContent = number;
      });
    });
    sides.forEach((m, side) => {
      caps[side].style.background = legible(m.colour, theme);
      capWords[side].textContent = `${side ? "lower" : "upper"} bar: ${m.title}`;
    });
    const found = compareUnits(sides[0], sides[1], threshold);
    shared.textContent = `Detectors at the same index in both: ${found.both}, of the same category ${found.same}. ` +
      `Only in ${sides[0].title} (left): ${found.leftOnly}; only in ${sides[1].title} (right): ${found.rightOnly}.`;
    return counts.map(total);
  }

  function showHalf(half, m, unit, threshold, theme) {
    half.dot.style.background = legible(m.colour, theme);
    const count = total(countDetectors(m, threshold, categories.length));
    half.heading.textContent = `${m.title}: ${count} of ${m.scores.length} units are detectors`;
    half.grid.setAttribute("aria-label", `units of ${m.title}`);
    half.grid.setAttribute("aria-activedescendant", half.cells[unit].id);
    half.cells.forEach((cell, i) => {
      const category = i < m.scores.length && m.scores[i] >= threshold ? m.categories[i] : -1;
      cell.style.background = category >= 0 ? fill(categoryColours[category], category) : "";
      cell.dataset.category = category >= 0 ? categories[category] : "";
      cell.style.visibility = i < m.scores.length ? "" : "hidden";
      cell.setAttribute("aria-selected", String(i === unit));
      cell.setAttribute("aria-label", `unit ${i}: ${unitWords(m, i, threshold)}`);
      cell.title = `unit ${i}: ${unitWords(m, i, threshold)}`;
    });
    const there = unit < m.scores.length;
    half.cardBox.hidden = !there;
    if (!there) {
      half.facts.replaceChildren(make("span", {}, unitWords(m, unit, threshold)));
      return;
    }
    const detector = Boolean(m.concepts[unit]) && m.scores[unit] >= threshold;
    half.facts.replaceChildren(
      make("span", {}, `Unit ${unit} of ${m.title}: `, make("strong", {}, m.concepts[unit] || "no concept")),
      make("span", {}, `category ${categories[m.categories[unit]] || "none"}`),
      make("span", {}, "IoU ", make("b", { "data-kdlib-value": "score" }, m.scores[unit].toFixed(3))),
      make("span", { class: "kdlib-badge", "data-detector": String(detector) }, detector ? "✓ detector" : "not a detector"));
    half.cards.forEach((card, rank) => {
      const slot = unit * perUnit + rank;
      const tile = m.tiles[slot];
      const region = unpackBits(bits, (m.mask_start + slot) * maskBytes, height * width);
      const painted = paintTile(card.canvas, atlas, tile, [height, width]);
      dimOutside(painted, region, width);
      strokeMask(painted, region, [height, width], { colour: m.colour });
      const share = `${(100 * region.reduce((sum, bit) => sum + bit, 0) / region.length).toFixed(1)} %`;
      card.caption.replaceChildren(make("b", {}, tileClasses[tile]), make("br"), `active on ${share}`);
      card.canvas.setAttribute("aria-label", `image ${rank + 1} of unit ${unit} of ${m.title}, a ${tileClasses[tile]}: active on ${share} of the picture`);
    });
  }

  function show() {
    const [threshold, theme] = [model.get("threshold"), root.dataset.theme];
    const unit = Math.min(model.get("unit"), units - 1);
    const sides = SIDES.map(chosen);
    pickers.forEach((picker, i) => { picker.select.value = sides[i].name; });
    bar.show(threshold);
    unitBar.show(unit);
    unitBar.input.setAttribute("aria-valuetext", `unit ${unit}: ${sides.map((m) => unitWords(m, unit, threshold)).join("; ")}`);
    const counts = showCounts(sides, threshold, theme);
    halves.forEach((half, i) => showHalf(half, sides[i], unit, threshold, theme));
    summary.textContent = `At an IoU of ${threshold.toFixed(3)}, ${sides[0].title} has ${counts[0]} concept detectors and ` +
      `${sides[1].title} ${counts[1]}. Unit ${unit} is, in ${sides[0].title}: ${unitWords(sides[0], unit, threshold)}; ` +
      `in ${sides[1].title}: ${unitWords(sides[1], unit, threshold)}.`;
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopModel = onChange(model, ["left", "right", "unit", "threshold"], show);
  return () => {
    stopTheme();
    stopModel();
    URL.revokeObjectURL(url);
  };
}

export { compareUnits, countDetectors, unpackBits };
export default { render };
