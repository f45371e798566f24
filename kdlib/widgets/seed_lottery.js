// Seed lottery: a few replicates drawn out of many, and the verdict that they would have given. Draws, means and
// verdicts are those of kdlib/widgets/seed_draws.py and kdlib/claims/rule.py, to the last bit.

// Number `position` (from 0) of the stream of `seed`, in [0, 1): the generator Mulberry32, whose state counts up.
function randomNumber(seed, position) {
  let mixed = (seed + Math.imul(position + 1, 0x6d2b79f5)) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
}

// `size` of the replicates 0 to count - 1, in their order; a larger draw of the same number holds the smaller one.
function drawReplicates(seed, draw, count, size) {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let place = 0; place < size; place++) {
    const other = place + Math.floor(randomNumber(seed, draw * count + place) * (count - place));
    [order[place], order[other]] = [order[other], order[place]];
  }
  return order.slice(0, size).sort((a, b) => a - b);
}

// Mean of the values and its 95 % Student t interval.
function meanInterval(values, quantile) {
  const size = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / size;
  const squares = values.reduce((sum, value) => sum + (value - mean) * (value - mean), 0);
  const half = (quantile * Math.sqrt(squares / (size - 1))) / Math.sqrt(size);
  return { mean, low: mean - half, high: mean + half };
}

function wordOf(values, interval, direction, smallest) {
  const [low, high] = direction === "greater" ? [interval.low, interval.high] : [-interval.high, -interval.low];
  if (values.every((value) => value === 0)) return "inconclusive";
  if (low > 0) return "supported";
  if (high < 0) return "contradicted";
  return -smallest <= low && high <= smallest ? "not supported" : "inconclusive";
}

function judge(values, contrast, quantiles) {
  const interval = meanInterval(values, quantiles[values.length]);
  return { ...interval, word: wordOf(values, interval, contrast.direction, contrast.smallest_effect) };
}

// Three significant digits with a sign, no exponent for everyday sizes.
function signed(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const text = digits <= 6 ? Math.abs(value).toFixed(digits) : Math.abs(value).toExponential(2);
  return (value < 0 ? "−" : "+") + (text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text);
}

// A share in whole percent; what is not quite none or all says so.
function percentOf(part, whole) {
  const percent = (100 * part) / whole;
  if ((percent > 0 && percent < 0.5) || (percent >= 99.5 && percent < 100)) return percent < 1 ? "<1 %" : ">99 %";
  return `${Math.floor(percent + 0.5)} %`;
}

// Each verdict has a shape of its own, as in the book's other figures.
const SHAPES = {
  supported: "M-6,0a6,6 0 1,0 12,0a6,6 0 1,0 -12,0Z",
  "not supported": "M-5.5,-5.5H5.5V5.5H-5.5Z",
  contradicted: "M-6,-3L-3,-6L0,-3L3,-6L6,-3L3,0L6,3L3,6L0,3L-3,6L-6,3L-3,0Z",
  inconclusive: "M0,-7L5.5,0L0,7L-5.5,0Z",
};

function render({ model, el }) {
  const contrasts = model.get("contrasts");
  const quantiles = model.get("quantiles");
  const words = model.get("words");
  const hexes = model.get("word_colours");
  const sizes = model.get("sizes");
  const most = model.get("most_draws");
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const root = make("div", { class: "kdlib kdlib-lottery", role: "region", "aria-label": "Seed lottery" });
  const colour = (word) => legible(hexes[words.indexOf(word)], root.dataset.theme);

  const picker = dropdown("Contrast", (place) => put("contrast", Number(place)));
  picker.fill(contrasts.map((contrast, i) => [i, contrast.name]), model.get("contrast"));
  const title = make("h4", { class: "kdlib-lottery-name" }, contrasts[0].name);
  const sizePicker = choice("Replicates in a draw",
    sizes.map((size) => ({ value: size, content: [make("span", {}, String(size))] })), (size) => put("size", size));
  const button = (text, onclick, attributes) => make("button", { type: "button", onclick, ...attributes }, text);
  const add = (count) => put("draws", Math.min(most, model.get("draws") + count));
  const again = button("Draw again", () => add(1), { class: "kdlib-lottery-again" });
  const many = button("100 more", () => add(100), { "aria-label": "Draw 100 more" });
  const restart = button("Start over", () => put("draws", 1));
  const chart = make("div", { class: "kdlib-chart" });
  const axisWords = make("p", { class: "kdlib-small kdlib-muted" });
  const cards = [0, 1].map(() => make("div", { class: "kdlib-lottery-card" }));
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });
  const shares = make("div", { class: "kdlib-lottery-shares" });
  const rule = make("details", { class: "kdlib-small" },
    make("summary", { "data-lm-suppress-shortcuts": "true" }, "The rule of the verdict, fixed beforehand"),
    ...words.map((word, i) => make("p", {}, make("b", {}, word), `: ${model.get("rule")[i]}`)),
    make("p", {}, "Here “both” stands for Student’s t interval alone, and no draw counts as too small."));

  root.append(
    make("div", { class: "kdlib-fields" }, contrasts.length > 1 ? picker.control : title,
      make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "Replicates in a draw"), sizePicker.group)),
    make("div", { class: "kdlib-choice kdlib-lottery-actions" }, again, many, restart),
    chart, axisWords, make("div", { class: "kdlib-lottery-cards" }, ...cards), summary, shares, rule);

  function mark(word, x, y) {
    return draw("path", { d: SHAPES[word], transform: `translate(${x.toFixed(1)},${y})`, fill: colour(word), stroke: "var(--surface)", "stroke-width": 1 });
  }

  function drawChart(contrast, drawn, lanes) {
    const width = Math.max(220, Math.floor(chart.clientWidth || 640));
    const [height, floor, margin] = [208, 182, 10];
    const [first, last] = contrast.domain;
    const across = (x) => margin + ((x - first) / (last - first)) * (width - 2 * margin);
    const inside = (x) => Math.min(Math.max(across(x), 2), width - 2);
    const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const [left, right] = [-1, 1].map((side) => across(side * contrast.smallest_effect));
    svg.append(draw("rect", { class: "kdlib-lottery-band", x: left, y: 0, width: right - left, height: floor }));
    const rule = (x, name) => draw("line", { class: name, x1: x, x2: x, y1: 0, y2: floor });
    svg.append(rule(left, "kdlib-lottery-edge"), rule(right, "kdlib-lottery-edge"), rule(across(0), "kdlib-axis"));
    svg.append(draw("line", { class: "kdlib-axis", x1: 0, x2: width, y1: floor, y2: floor }));
    for (const [x, text] of contrast.ticks) {
      svg.append(draw("text", { class: "kdlib-tick", x: across(x), y: height - 8, "text-anchor": "middle" }, text));
    }
    // Dots that would cover each other stand above each other: each on the lowest level that has room.
    const ends = [];
    const spots = contrast.differences.map((value, i) => ({ x: across(value), drawn: drawn.includes(i) })).sort((a, b) => a.x - b.x);
    for (const spot of spots) {
      const free = ends.findIndex((end) => spot.x - end >= 12);
      spot.level = free < 0 ? ends.length : free;
      ends[spot.level] = spot.x;
    }
    const step = Math.min(13, 56 / ends.length);
    for (const spot of spots.sort((a, b) => a.drawn - b.drawn)) {
      svg.append(draw("circle", {
        class: spot.drawn ? "kdlib-lottery-drawn" : "kdlib-lottery-rest", cx: spot.x.toFixed(1), cy: 64 - spot.level * step, r: spot.drawn ? 6 : 4.5,
      }));
    }
    lanes.forEach(({ title: text, low, high, mean, word }, lane) => {
      const y = 112 + 46 * lane;
      svg.append(draw("text", { class: "kdlib-lottery-lane", x: 2, y: y - 14 }, text));
      svg.append(draw("line", { x1: inside(low), x2: inside(high), y1: y, y2: y, stroke: colour(word), "stroke-width": 3 }));
      for (const [end, side] of [[low, 1], [high, -1]]) {
        // An arrow where the interval goes on beyond the axis, a stop where it ends.
        const beyond = side > 0 ? end < first : end > last;
        const x = inside(end);
        svg.append(draw("path", {
          d: beyond ? `M${x + 9 * side},${y - 6}L${x},${y}L${x + 9 * side},${y + 6}` : `M${x},${y - 6}V${y + 6}`,
          fill: "none", stroke: colour(word), "stroke-width": 3,
        }));
      }
      svg.append(mark(word, across(mean), y));
    });
    chart.replaceChildren(svg);
  }

  function verdictOf(word) {
    const sign = draw("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, mark(word, 0, 0));
    return make("span", { class: "kdlib-lottery-word" }, sign, make("b", {}, word));
  }

  function fillCard(card, heading, found, contrast, note) {
    card.dataset.word = found.word;
    card.replaceChildren(make("div", { class: "kdlib-small kdlib-muted" }, heading), verdictOf(found.word),
      make("div", { class: "kdlib-small" }, `mean ${signed(found.mean)}, 95 % interval ${signed(found.low)} to ${signed(found.high)}`),
      make("div", { class: "kdlib-small kdlib-muted" }, note));
  }

  function shareRow({ size, possible, judged, counts }, truth, total, now) {
    const found = counts.map((count, i) => ({ count, word: words[i], look: fill(hexes[i], i) })).filter(({ count }) => count);
    const other = judged - counts[words.indexOf(truth)];
    const whole = possible.toLocaleString("en");
    const basis = possible === judged ? `${whole} possible` : `${judged.toLocaleString("en")} of ${whole} possible, by a fixed seed`;
    const head = size === total ? [make("b", {}, `all ${total}`)] :
      [make("b", {}, `draws of ${size}`), ` (${basis}): ${percentOf(other, judged)} give another verdict than all ${total}`];
    return make("div", { class: "kdlib-lottery-share", "data-size": size, "data-now": String(now) },
      make("div", { class: "kdlib-small" }, ...head),
      make("div", { class: "kdlib-lottery-bar", "aria-hidden": "true" },
        ...found.map(({ count, look }) => make("i", { style: { background: look, width: `${(100 * count) / judged}%` } }))),
      make("div", { class: "kdlib-key kdlib-small" }, ...found.map(({ count, word, look }) => make("span", {},
        make("span", { class: "kdlib-chip", style: { background: look } }), `${word} ${percentOf(count, judged)}`))));
  }

  function show() {
    const contrast = contrasts[model.get("contrast")];
    const [values, draws, seed, unit] = [contrast.differences, model.get("draws"), model.get("seed"), contrast.unit];
    const count = values.length;
    const wanted = model.get("size");
    const size = wanted && wanted < count ? wanted : count;
    const verdictBy = (places) => judge(places.map((place) => values[place]), contrast, quantiles);
    const places = drawReplicates(seed, draws - 1, count, size);
    const [found, all] = [verdictBy(places), judge(values, contrast, quantiles)];
    let others = 0;
    for (let made = 0; made < draws; made++) others += verdictBy(drawReplicates(seed, made, count, size)).word !== all.word ? 1 : 0;

    picker.select.value = model.get("contrast");
    sizePicker.show(size < count ? size : 0);
    sizePicker.buttons.forEach((each, i) => {
      each.hidden = sizes[i] >= count;
      if (!sizes[i]) each.textContent = `all ${count}`;
    });
    again.disabled = many.disabled = size === count || draws >= most;
    restart.disabled = draws === 1;
    drawChart(contrast, places, [{ ...found, title: size < count ? `this draw of ${size}` : `all ${count} drawn` }, { ...all, title: `all ${count}` }]);
    axisWords.textContent = `Difference in ${unit}; each dot is a replicate, filled if drawn. The claim puts the mean ` +
      `${contrast.direction === "greater" ? "right" : "left"} of 0. The band: smaller than ${contrast.smallest_text}, the smallest effect that would matter.`;
    const same = found.word === all.word;
    fillCard(cards[0], size < count ? `Draw ${draws}: ${size} of ${count}` : `All ${count} drawn`, found, contrast,
      size === count ? "nothing is left to chance" : same ? `the same verdict as all ${count}` : `another verdict than all ${count}`);
    fillCard(cards[1], `All ${count}`, all, contrast, "more to go on, though a sample too");
    const who = size < count ? `Draw ${draws}, replicates ${places.map((place) => place + 1).join(", ")}` : `All ${count} replicates`;
    const tally = size === count ? "" : ` Of ${draws.toLocaleString("en")} ${draws === 1 ? "draw" : "draws"} of ${size}, ` +
      `${others.toLocaleString("en")} (${percentOf(others, draws)}) gave another verdict than all ${count}.`;
    summary.textContent = `${contrast.name}. ${who}: mean ${signed(found.mean)} ${unit}, ${found.word}; all ${count}: ` +
      `mean ${signed(all.mean)} ${unit}, ${all.word}.${tally}`;
    shares.replaceChildren(make("h4", {}, "How often each verdict comes out of a draw"),
      ...contrast.shares.map((row) => shareRow(row, all.word, count, row.size === size)));
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(chart, show);
  const stopModel = onChange(model, ["contrast", "size", "draws"], show);
  return () => { stopTheme(); stopResize(); stopModel(); };
}

export { drawReplicates, judge, percentOf, randomNumber, signed };
export default { render };
