// Entropy explorer: which cells a layer keeps, and how many count as concepts at a movable threshold.

const NO_MAP = -32768;
const PER_NAT = 1000;

// A cell is a concept at b of `cut` thousandths where its level, how far H lies below the background's mean, is above.
function conceptsAt(levels, inside, cut) {
  const found = { foreground: [], background: [] };
  for (let i = 0; i < levels.length; i++) if (levels[i] > cut) found[inside[i] ? "foreground" : "background"].push(i);
  return found;
}

function countsAt(levels, inside, cut) {
  let [foreground, background] = [0, 0];
  for (let i = 0; i < levels.length; i++) {
    if (levels[i] <= cut) continue;
    if (inside[i]) foreground += 1;
    else background += 1;
  }
  return { foreground, background, share: foreground / Math.max(1, foreground + background) };
}

// Means over the images that have a map; each image's levels lie behind those of the one before.
function meanCounts(levels, insides, cut) {
  const sums = { foreground: 0, background: 0, share: 0 };
  let images = 0;
  insides.forEach((inside, image) => {
    const mine = levels.subarray(image * inside.length, (image + 1) * inside.length);
    if (mine[0] === NO_MAP) return;
    const counts = countsAt(mine, inside, cut);
    for (const name of Object.keys(sums)) sums[name] += counts[name];
    images += 1;
  });
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / images]));
}

// A number with a real minus sign.
function signed(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

function render({ model, el }) {
  const networks = model.get("networks");
  const layers = model.get("layers");
  const maps = model.get("maps");
  const names = model.get("image_names");
  const [rows, columns] = model.get("cells");
  const size = rows * columns;
  const [tileHeight, tileWidth] = model.get("tile");
  const given = model.get("background_given");
  const numberNames = model.get("number_names");
  const markColours = model.get("mark_colours");
  const ramp = model.get("entropy_colours").map(channels);
  const all = new Int16Array(bytesOf(model.get("levels")).slice().buffer);
  const bits = bytesOf(model.get("foreground"));
  const insides = names.map((_, i) => unpackBits(bits, i * Math.ceil(size / 8), size));
  const tiles = spriteOf(model);
  const levelsOf = (entry) => all.subarray(maps.indexOf(entry) * names.length * size, (maps.indexOf(entry) + 1) * names.length * size);
  const networkOf = (entry) => networks.find((each) => each.name === entry.network);
  const put = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  let chosen = -1;  // the cell under pointer or arrow keys

  const root = make("div", { class: "kdlib kdlib-entropy", role: "region", "aria-label": "Entropy map explorer" });
  const thumbs = thumbnails(names, tiles, (image) => put({ image }));
  const networkPicker = choice("Network", networks.map((each) => ({
    value: each.name, content: [make("span", { class: "kdlib-dot", style: { background: each.colour } }), each.title],
  })), (network) => put({ network }));
  const layerPicker = choice("Layer", layers.map((each) => ({ value: each.name, content: [each.title] })), (layer) => put({ layer }));
  const bar = slider("Threshold b", model.get("thresholds"), (b) => `${b.toFixed(Math.round(b * PER_NAT) % 10 ? 3 : 2)} nats`, (threshold) => put({ threshold }));

  const photo = make("div", { class: "kdlib-tile", role: "img", style: { "aspect-ratio": `${tileWidth} / ${tileHeight}` } });
  const heat = make("canvas", { width: columns, height: rows, "aria-hidden": "true", style: { "aspect-ratio": `${tileWidth} / ${tileHeight}` } });
  const overlays = [0, 1].map(() => cellOverlay(rows, columns, tileHeight / tileWidth));
  const readoutId = uniqueName();
  const board = make("div", {
    class: "kdlib-framed kdlib-board", tabindex: 0, role: "application", "aria-roledescription": "map", "aria-describedby": readoutId,
    "data-lm-suppress-shortcuts": "true", onkeydown: step, onpointermove: point, onpointerdown: point,
  }, heat, overlays[1].svg);
  const photoTitle = make("h4", {});
  const heatTitle = make("h4", {});
  const readout = make("p", { class: "kdlib-small", id: readoutId, "aria-live": "polite" });
  const key = make("div", { class: "kdlib-key kdlib-small" },
    make("span", {}, markSample("foreground", markColours.foreground), "concept on the object"),
    make("span", {}, markSample("background", markColours.background), "concept on the background"),
    make("span", {}, make("span", { class: "kdlib-chip kdlib-line-chip" }), "border of the object's cells"));
  const low = make("span", {});
  const high = make("span", {});
  const [meanTick, cutTick] = ["kdlib-tick-mean", "kdlib-tick-cut"].map((name) => make("i", { class: name }));
  const scaleWords = make("p", { class: "kdlib-small kdlib-muted" });
  const scale = make("div", { class: "kdlib-scale-line" },
    make("div", { class: "kdlib-ramp", "aria-hidden": "true", style: { background: `linear-gradient(90deg, ${model.get("entropy_colours").join(", ")})` } }, meanTick, cutTick),
    make("div", { class: "kdlib-ends kdlib-small" }, low, make("span", {}, "entropy H in nats"), high), scaleWords);
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });
  const table = make("table", { class: "kdlib-table" });
  const curvePicker = choice("Curve of", numberNames.map(([value, name]) => ({ value, content: [name] })), (curve) => put({ curve }));
  const curveTitle = make("h4", {});
  const curveKey = make("div", { class: "kdlib-key kdlib-small" });
  const curve = make("div", { class: "kdlib-chart" });

  root.append(
    thumbs.group,
    make("div", { class: "kdlib-fields" },
      make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "Network"), networkPicker.group),
      make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "Layer"), layerPicker.group)),
    bar.control,
    make("div", { class: "kdlib-grids" },
      make("div", {}, photoTitle, make("div", { class: "kdlib-framed" }, photo, overlays[0].svg)),
      make("div", {}, heatTitle, board)),
    key, scale, readout, summary, table,
    make("div", { class: "kdlib-curve" }, curveTitle, curvePicker.group, curveKey, curve),
  );

  function shownEntry() {
    const found = maps.filter((entry) => entry.layer === model.get("layer"));
    return found.find((entry) => entry.network === model.get("network")) || found[0];
  }

  function point(event) {
    const frame = heat.getBoundingClientRect();
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * columns);
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * rows);
    if (row < 0 || column < 0 || row >= rows || column >= columns || chosen === row * columns + column) return;
    chosen = row * columns + column;
    showPictures();
  }

  function step(event) {
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -columns], End: [0, columns] }[event.key] || [0, 0];
    if (!dy && !dx) return;
    event.preventDefault();
    const [row, column] = chosen < 0 ? [rows >> 1, columns >> 1] : [Math.floor(chosen / columns) + dy, (chosen % columns) + dx];
    chosen = Math.min(rows - 1, Math.max(0, row)) * columns + Math.min(columns - 1, Math.max(0, column));
    showPictures();
  }

  function showPictures() {
    const [image, entry] = [model.get("image"), shownEntry()];
    const cut = Math.round(model.get("threshold") * PER_NAT);
    const layer = layers.find((each) => each.name === entry.layer);
    const inside = insides[image];
    const levels = levelsOf(entry).subarray(image * size, (image + 1) * size);
    const here = levels[0] !== NO_MAP;
    // A level stands for the middle of its thousandth.
    const entropyOf = (i) => entry.background_entropy - (levels[i] - 0.5) / PER_NAT;
    const context = heat.getContext("2d");
    const data = context.createImageData(columns, rows);
    for (let i = 0; i < size; i++) {
      const share = Math.min(1, Math.max(0, (entropyOf(i) - layer.low) / (layer.high - layer.low)));
      data.data.set(here ? ramp[Math.round(share * (ramp.length - 1))] : [0xb9, 0xc0, 0xc8], 4 * i);
      data.data[4 * i + 3] = 255;
    }
    context.putImageData(data, 0, 0);
    overlays[0].show(inside, conceptsAt(levels, inside, cut), markColours, chosen);
    overlays[1].show(inside, {}, markColours, chosen);
    if (chosen < 0) readout.textContent = "Point at a cell of the entropy map, or focus the map and use the arrow keys.";
    else {
      const place = `Row ${Math.floor(chosen / columns) + 1}, column ${(chosen % columns) + 1}, on the ${inside[chosen] ? "object" : "background"}`;
      const above = (levels[chosen] - 0.5) / PER_NAT;
      readout.textContent = !here ? `${place}: no map.` : `${place}: H is ${signed(entropyOf(chosen), 2)} nats, ` +
        `${Math.abs(above).toFixed(2)} ${above > 0 ? "below" : "above"} the background's mean: ${levels[chosen] > cut ? "a concept" : "no concept"}.`;
    }
    return here;
  }

  const remembered = new Map();
  function curvesOf(entry) {
    if (!remembered.has(entry)) {
      remembered.set(entry, model.get("thresholds").map((b) => meanCounts(levelsOf(entry), insides, Math.round(b * PER_NAT))));
    }
    return remembered.get(entry);
  }

  function showCurve(found, entry, threshold, theme) {
    const name = model.get("curve");
    const xs = model.get("thresholds");
    const series = found.map((each) => ({
      name: networkOf(each).title, colour: legible(networkOf(each).colour, theme), dash: DASHES[networks.indexOf(networkOf(each)) % DASHES.length],
      strong: each === entry, values: curvesOf(each).map((counts) => counts[name]),
    }));
    const top = name === "share" ? 1 : niceTop(Math.max(1e-3, ...series.flatMap((line) => line.values)));
    const last = xs[xs.length - 1];
    const nearest = xs.reduce((best, b) => (Math.abs(b - threshold) < Math.abs(best - threshold) ? b : best));
    lineChart(curve, {
      xs, series, cursor: nearest, height: 170, yTop: top,
      xTicks: [0, last / 3, (2 * last) / 3, last].map((b) => [b, `b=${Number(b.toFixed(2))}`]),
      yTicks: [0, top / 2, top].map((y) => [y, String(Number(y.toPrecision(2)))]),
    });
    const title = numberNames.find(([key]) => key === name)[1];
    curvePicker.show(name);
    curveTitle.textContent = `${title[0].toUpperCase()}${title.slice(1)} over b, mean over images`;
    curveKey.replaceChildren(...series.map((line) => make("span", {}, lineSample(line.colour, line.dash), line.name)));
  }

  function showTable(found, entry, image, cut, theme) {
    const cell = (key, value, digits) => make("td", { "data-kdlib-value": key }, Number.isNaN(value) ? "–" : value.toFixed(digits));
    const short = () => [["N", make("sub", {}, "fg")], ["N", make("sub", {}, "bg")], ["share"]];
    table.replaceChildren(
      make("caption", { class: "kdlib-small" }, "Concepts on the object (N", make("sub", {}, "fg"),
        ") and on the background (N", make("sub", {}, "bg"), "), and the object's share of them:"),
      make("tr", {}, make("td", { class: "kdlib-names" }), make("th", { scope: "colgroup", colspan: 3 }, "this image"), make("th", { scope: "colgroup", colspan: 3 }, "mean")),
      make("tr", {}, make("th", { scope: "col" }, "network"), ...[0, 1].flatMap(() => short().map((parts) => make("th", { scope: "col" }, ...parts)))),
      ...found.map((each) => {
        const levels = levelsOf(each);
        const mine = levels.subarray(image * size, (image + 1) * size);
        const here = mine[0] === NO_MAP ? { foreground: NaN, background: NaN, share: NaN } : countsAt(mine, insides[image], cut);
        const mean = meanCounts(levels, insides, cut);
        const fewer = each.images < names.length ? ` (${each.images} images)` : "";
        return make("tr", { class: each === entry ? "kdlib-true" : "", "data-network": each.network },
          make("th", { scope: "row" }, make("span", { class: "kdlib-model" },
            make("span", { class: "kdlib-dot", style: { background: legible(networkOf(each).colour, theme) } }), make("span", {}, networkOf(each).title + fewer))),
          ...numberNames.map(([name]) => cell(name, here[name], name === "share" ? 2 : 0)),
          ...numberNames.map(([name]) => cell(`mean_${name}`, mean[name], 2)));
      }));
  }

  function show() {
    const [image, threshold, theme] = [model.get("image"), model.get("threshold"), root.dataset.theme];
    const entry = shownEntry();
    const found = maps.filter((each) => each.layer === entry.layer);
    const layer = layers.find((each) => each.name === entry.layer);
    const cut = Math.round(threshold * PER_NAT);
    const title = networkOf(entry).title;
    thumbs.show(image);
    networkPicker.show(entry.network);
    networkPicker.buttons.forEach((button, i) => {
      button.firstChild.style.background = legible(networks[i].colour, theme);
      button.disabled = !found.some((each) => each.network === networks[i].name);
    });
    layerPicker.show(entry.layer);
    bar.show(threshold);
    showTile(photo, tiles, image);
    photoTitle.textContent = nameOf(names, image).replace("image", "Image");
    heatTitle.textContent = `Entropy, ${layer.title}`;
    const here = showPictures();
    const counts = countsAt(levelsOf(entry).subarray(image * size, (image + 1) * size), insides[image], cut);
    const whole = insides[image].reduce((sum, bit) => sum + bit, 0);
    const listed = here ? `${counts.foreground} of the object's ${whole} cells are concepts and ${counts.background} of the background's ` +
      `${size - whole}: share ${counts.share.toFixed(2)}` : "it has no map";
    photo.setAttribute("aria-label", `${nameOf(names, image)}: ${listed}`);
    board.setAttribute("aria-label", `entropy map of ${title}, ${layer.title}; arrow keys move from cell to cell`);
    const ground = entry.background_entropy;
    [low.textContent, high.textContent] = [`≤ ${signed(layer.low, 2)}, kept`, `≥ ${signed(layer.high, 2)}, discarded`];
    [[meanTick, ground], [cutTick, ground - threshold]].forEach(([tick, value]) => {
      const share = (value - layer.low) / (layer.high - layer.low);
      tick.style.left = percent(share);
      tick.hidden = share < 0 || share > 1;
    });
    scaleWords.textContent = `Solid line: the background's mean ${signed(ground, 3)}, ${given ? "as given for this network and layer" : `over the ${entry.images} images shown here`}. ` +
      `Dashed line: b lower, ${signed(ground - threshold, 3)}; cells below it are concepts.`;
    summary.textContent = `At b = ${threshold} nats, ${title}, ${layer.title}, ${nameOf(names, image)}: ${listed}.`;
    showTable(found, entry, image, cut, theme);
    showCurve(found, entry, threshold, theme);
  }

  const percent = (share) => `${(100 * share).toFixed(2)}%`;
  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(curve, show);
  const stopModel = onChange(model, ["image", "network", "layer", "threshold", "curve"], show);
  return () => {
    stopTheme();
    stopResize();
    stopModel();
    URL.revokeObjectURL(tiles.url);
  };
}

export { conceptsAt, countsAt, meanCounts };
export default { render };
