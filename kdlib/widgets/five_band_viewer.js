// Five-band viewer: a saliency map cut into bands at a movable threshold, against the true bands.

const LEVELS = 127;

// How often each level (-127 ... 127) of the saliency meets each true band (-2 ... 2): all that any score needs.
function tally(levels, truth) {
  const found = new Uint32Array(5 * (2 * LEVELS + 1));
  for (let i = 0; i < levels.length; i++) found[(truth[i] + 2) * (2 * LEVELS + 1) + levels[i] + LEVELS] += 1;
  return found;
}

// A level's band: a size of at least `cut` levels exceeds the threshold that stands there.
function bandOf(level, [inner, outer]) {
  const size = Math.abs(level);
  return Math.sign(level) * ((size >= inner ? 1 : 0) + (size >= outer ? 1 : 0));
}

// A hit in the wrong band is a false positive. 1e-6 as in the original, so that nothing is divided by 0.
function scoresOf(counts, cuts) {
  const sums = { equal: 0, tp: 0, fp: 0, fn: 0, tn: 0 };
  for (let truth = -2; truth <= 2; truth++) {
    for (let level = -LEVELS; level <= LEVELS; level++) {
      const number = counts[(truth + 2) * (2 * LEVELS + 1) + level + LEVELS];
      if (!number) continue;
      const band = bandOf(level, cuts);
      if (band === truth) sums.equal += number;
      if (band) sums[band === truth ? "tp" : "fp"] += number;
      else sums[truth ? "fn" : "tn"] += number;
    }
  }
  return {
    accuracy: sums.equal / (sums.tp + sums.fp + sums.fn + sums.tn),
    precision: sums.tp / (sums.tp + sums.fp + 1e-6),
    recall: sums.tp / (sums.tp + sums.fn + 1e-6),
    false_positive_rate: sums.fp / (sums.fp + sums.tn + 1e-6),
  };
}

function meanOf(all) {
  return Object.fromEntries(Object.keys(all[0]).map((key) => [key, all.reduce((sum, each) => sum + each[key], 0) / all.length]));
}

async function render({ model, el }) {
  const models = model.get("models");
  const imageNames = model.get("image_names");
  const blank = model.get("blank");
  const thresholds = model.get("thresholds");
  const cuts = model.get("cuts");
  const edges = model.get("edges");
  const [height, width] = model.get("size");
  const columns = model.get("sprite_columns");
  const scoreNames = model.get("score_names");
  const bandNames = model.get("band_names");
  const colours = { bands: model.get("band_colours").map(channels), saliency: model.get("saliency_colours").map(channels) };
  const pixels = height * width;
  const count = imageNames.length;

  const root = make("div", { class: "kdlib kdlib-bands-viewer", role: "region", "aria-label": "Five-band viewer" });
  let levels, truth;
  try {
    const [rawLevels, rawTruth] = await Promise.all([unpack(model.get("levels")), unpack(model.get("truth"))]);
    [levels, truth] = [new Int8Array(rawLevels), new Int8Array(rawTruth)];
  } catch (problem) {
    // The still picture stays; the reason stands below it.
    root.textContent = `This widget could not start: ${problem.message}`;
    mount(root, el);
    return () => {};
  }
  const sprite = URL.createObjectURL(new Blob([bytesOf(model.get("sprite"))], { type: model.get("sprite_type") }));
  const tiles = { url: sprite, columns, rows: Math.ceil(count / columns) };
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const truthOf = (image) => truth.subarray(image * pixels, (image + 1) * pixels);
  const levelsOf = (m, image) => levels.subarray((models.indexOf(m) * count + image) * pixels, (models.indexOf(m) * count + image + 1) * pixels);
  const remembered = new Map();
  // Scores of one model at every step, on one image or as the mean over the images with a truth.
  const curveOf = (m, scope, image) => {
    const name = `${m.name} ${scope === "mean" ? "mean" : image}`;
    if (!remembered.has(name)) {
      const images = scope === "mean" ? blank.flatMap((empty, i) => (empty ? [] : [i])) : [image];
      const counts = images.map((i) => tally(levelsOf(m, i), truthOf(i)));
      remembered.set(name, cuts.map((pair) => meanOf(counts.map((each) => scoresOf(each, pair)))));
    }
    return remembered.get(name);
  };

  const thumbs = imageNames.map((name, i) => showTile(make("button", {
    type: "button", class: "kdlib-tile", title: name, "aria-label": `image ${i + 1}: ${name}`, onclick: () => put("image", i),
  }), tiles, i));
  const picker = choice("Model", models.map((m) => ({
    value: m.name, content: [make("span", { class: "kdlib-dot", style: { background: m.colour } }), m.title],
  })), (name) => put("model", name));
  const words = ([inner, outer]) => `${inner.toFixed(3)} and ${outer.toFixed(3)}`;
  const bar = slider("Thresholds", thresholds.map((_, i) => i), (i) => words(thresholds[i]), (i) => put("step", i));
  const picture = (title) => {
    const canvas = make("canvas", { role: "img", width, height });
    const caption = make("p", { class: "kdlib-small" });
    return { canvas, caption, node: make("div", { class: "kdlib-picture" }, make("h4", {}, title), canvas, caption) };
  };
  const photo = make("div", { class: "kdlib-tile", role: "img", style: { "aspect-ratio": `${width} / ${height}` } });
  const photoCaption = make("p", { class: "kdlib-small" });
  const [map, bands, truths] = ["Saliency", "Its bands", "True bands"].map(picture);
  const ramp = make("span", { class: "kdlib-ramp", style: { background: `linear-gradient(90deg, ${model.get("saliency_colours").join(", ")})` } });
  const key = make("div", { class: "kdlib-key kdlib-small" }, make("span", {}, "saliency −1", ramp, "1"),
    ...bandNames.map((_, i) => 4 - i).map((i) => make("span", {},
      make("span", { class: "kdlib-chip", style: { background: model.get("band_colours")[i] } }), bandNames[i])));
  const scopePicker = dropdown("Scores of", (value) => put("scope", value));
  const withTruth = blank.filter((empty) => !empty).length;
  scopePicker.fill([["image", "this image"], ["mean", `the mean of ${withTruth} images`]], model.get("scope"));
  scopePicker.control.hidden = withTruth < 2;
  const table = make("table", { class: "kdlib-table" });
  const scorePicker = choice("Curve of", scoreNames.map(([value, name]) => ({ value, content: [name] })), (value) => put("score", value));
  const curve = make("div", { class: "kdlib-chart" });
  const curveKey = make("div", { class: "kdlib-key kdlib-small" });
  const curveTitle = make("h4", {});
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });

  root.append(
    make("div", { class: "kdlib-thumbs", role: "group", "aria-label": "Image" }, ...thumbs),
    make("div", { class: "kdlib-fields" },
      make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "Model"), picker.group), bar.control),
    make("div", { class: "kdlib-pictures" },
      make("div", { class: "kdlib-picture" }, make("h4", {}, "Image"), photo, photoCaption), map.node, bands.node, truths.node),
    key, scopePicker.control, table,
    make("div", { class: "kdlib-curve" }, curveTitle, scorePicker.group, curveKey, curve),
    summary,
  );

  function paint(canvas, colourOf) {
    const context = canvas.getContext("2d");
    const data = context.createImageData(width, height);
    for (let i = 0; i < pixels; i++) {
      data.data.set(colourOf(i), 4 * i);
      data.data[4 * i + 3] = 255;
    }
    context.putImageData(data, 0, 0);
  }

  const share = (number) => `${((100 * number) / pixels).toFixed(1)} %`;

  function bandShares(each) {
    const numbers = new Array(5).fill(0);
    for (const band of each) numbers[band + 2] += 1;
    return numbers;
  }

  function listed(each) {
    return [4, 3, 1, 0].map((i) => [i, bandShares(each)[i]]).filter(([i, number]) => number || i > 2)
      .map(([i, number]) => `${share(number)} in band ${bandNames[i].split(":")[0]}`).join(", ");
  }

  function showCurve(m, score, scope, image, step, theme) {
    const series = models.map((each, i) => ({
      name: each.title, colour: legible(each.colour, theme), dash: DASHES[i % DASHES.length], strong: each === m,
      values: curveOf(each, scope, image).map((scores) => scores[score]),
    }));
    const top = niceTop(Math.max(1e-3, ...series.flatMap((line) => line.values)));
    const xs = thresholds.map((_, i) => i);
    const ticks = [...new Set([0, 1, 2].map((i) => Math.round((i * (xs.length - 1)) / 2)))];
    lineChart(curve, {
      xs, series, cursor: step, height: 170, yTop: top,
      xTicks: ticks.map((i) => [i, thresholds[i].map((t) => t.toFixed(3)).join(" | ")]),
      yTicks: [0, top / 2, top].map((y) => [y, String(Number(y.toPrecision(2)))]),
    });
    curveTitle.textContent = `${scoreNames.find(([name]) => name === score)[1]} as the thresholds move toward 0`;
    curveKey.replaceChildren(...series.map((line) => make("span", {}, lineSample(line.colour, line.dash), line.name)));
  }

  function show() {
    const [image, step, score, theme] = [model.get("image"), model.get("step"), model.get("score"), root.dataset.theme];
    const scope = withTruth < 2 ? "image" : model.get("scope");
    const m = models.find((each) => each.name === model.get("model")) || models[0];
    const [mine, real] = [levelsOf(m, image), truthOf(image)];
    const cut = mine.map((level) => bandOf(level, cuts[step]));
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === image)));
    picker.show(m.name);
    picker.buttons.forEach((button, i) => { button.firstChild.style.background = legible(models[i].colour, theme); });
    bar.show(step);
    scorePicker.show(score);
    scopePicker.select.value = scope;
    showTile(photo, tiles, image);
    photo.setAttribute("aria-label", `image ${image + 1}, ${imageNames[image]}`);
    const seen = m.predicted[image];
    photoCaption.replaceChildren(make("b", {}, imageNames[image]),
      ...(seen ? [make("br"), `predicted ${seen} (${seen === imageNames[image] ? "right" : "wrong"})`] : []));
    // A level stands for the middle of its interval.
    const value = (level) => Math.sign(level) * (level ? (edges[Math.abs(level) - 1] + (edges[Math.abs(level)] ?? 1)) / 2 : 0);
    paint(map.canvas, (i) => colours.saliency[Math.round((value(mine[i]) + 1) / 2 * (colours.saliency.length - 1))]);
    paint(bands.canvas, (i) => colours.bands[cut[i] + 2]);
    paint(truths.canvas, (i) => colours.bands[real[i] + 2]);
    bands.caption.textContent = listed(cut);
    truths.caption.textContent = listed(real);
    map.canvas.setAttribute("aria-label", `saliency of ${m.title}`);
    bands.canvas.setAttribute("aria-label", `bands of ${m.title} at thresholds ${words(thresholds[step])}: ${listed(cut)}`);
    truths.canvas.setAttribute("aria-label", `true bands: ${listed(real)}`);
    table.replaceChildren(
      make("caption", { class: "kdlib-small" }, `At thresholds ${words(thresholds[step])}, ${scope === "mean"
        ? `means over the ${withTruth} images that have a truth` : `on image ${image + 1}`}:`),
      make("tr", {}, make("th", { scope: "col" }, "model"), ...scoreNames.map(([, name]) => make("th", { scope: "col" }, name))),
      ...models.map((each) => make("tr", { class: each === m ? "kdlib-true" : "", "data-model": each.name },
        make("th", { scope: "row" }, make("span", { class: "kdlib-model" },
          make("span", { class: "kdlib-dot", style: { background: legible(each.colour, theme) } }), make("span", {}, each.title))),
        ...scoreNames.map(([name]) => make("td", { "data-kdlib-value": name }, curveOf(each, scope, image)[step][name].toFixed(3))))));
    showCurve(m, score, scope, image, step, theme);
    const now = curveOf(m, "image", image)[step];
    summary.textContent = `At thresholds ${words(thresholds[step])}, the bands of ${m.title} on image ${image + 1} (${imageNames[image]}) score: ` +
      `${scoreNames.map(([name, title]) => `${title} ${now[name].toFixed(3)}`).join(", ")}. A hit in the wrong band is a false positive.` +
      (blank[image] ? " This image has no truth: its recall is 0 by construction, and means leave it out." : "");
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(curve, show);
  const stopModel = onChange(model, ["image", "model", "step", "score", "scope"], show);
  return () => {
    stopTheme();
    stopResize();
    stopModel();
    URL.revokeObjectURL(sprite);
  };
}

export { bandOf, scoresOf, tally, unpack };
export default { render };
