// Dynamics player: concepts appear and vanish from checkpoint to checkpoint; their count is traced over the weights' way.

const SIDES = ["left", "right"];
const PAUSE_MS = 900;

// What happened to the concepts since the checkpoint before; null where there is none before: then all are new.
function changesOf(before, now) {
  const found = { vanished: [], kept: [], new: [] };
  now.forEach((bit, i) => {
    if (bit) found[before && before[i] ? "kept" : "new"].push(i);
    else if (before && before[i]) found.vanished.push(i);
  });
  return found;
}

// The last checkpoint that is not after an epoch.
function checkpointAt(epochs, epoch) {
  return epochs.filter((each) => each <= epoch).length - 1;
}

function countOn(cells, inside, side = 1) {
  return cells.reduce((sum, bit, i) => sum + (bit && inside[i] === side ? 1 : 0), 0);
}

// One image's sets of concepts up to and with the checkpoint shown -> the numbers shown, on the object's cells.
function progressOf(sets, inside) {
  const now = sets[sets.length - 1];
  const counts = sets.map((each) => countOn(each, inside));
  const union = inside.reduce((sum, bit, i) => sum + (bit && sets.some((each) => each[i]) ? 1 : 0), 0);
  const changes = changesOf(sets[sets.length - 2] || null, now);
  const onObject = Object.fromEntries(Object.entries(changes).map(([kind, cells]) => [kind, cells.filter((i) => inside[i]).length]));
  const most = Math.max(...counts);
  return {
    foreground: counts[counts.length - 1], background: countOn(now, inside, 0), ...onObject, union,
    remaining: union ? counts[counts.length - 1] / union : 0, most, peak: most ? counts.indexOf(most) : -1,
  };
}

// Thin lines of all images, a bold one of their mean, the chosen image's dashed; drawn as far as the checkpoint shown.
function traceChart(holder, { xs, lines, mean, chosen, colour, furthest, most }) {
  const width = Math.max(130, Math.floor(holder.clientWidth || 400));
  const [height, left, right, top, bottom] = [170, 34, 10, 10, 24];
  const end = niceTop(furthest || 1);
  const x = (d) => left + (d / end) * (width - left - right);
  const y = (n) => height - bottom - (n / most) * (height - top - bottom);
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const n of [0, most / 2, most]) {
    svg.append(draw("line", { class: "kdlib-grid", x1: left, x2: width - right, y1: y(n), y2: y(n) }));
    svg.append(draw("text", { class: "kdlib-tick", x: left - 6, y: y(n) + 4, "text-anchor": "end" }, String(Number(n.toPrecision(3)))));
  }
  for (const share of [0, 0.5, 1]) {
    const anchor = share === 1 ? "end" : "middle";
    svg.append(draw("text", { class: "kdlib-tick", x: share === 1 ? width - 2 : x(share * end), y: height - 7, "text-anchor": anchor },
      `${share ? "" : "d="}${Number((share * end).toPrecision(2))}`));
  }
  const path = (counts) => `M${counts.map((n, m) => `${x(xs[m]).toFixed(1)},${y(n).toFixed(1)}`).join("L")}`;
  const line = (counts, attributes) => svg.append(draw("path", { d: path(counts), fill: "none", "stroke-linejoin": "round", ...attributes }));
  for (const counts of lines) line(counts, { stroke: "var(--control)", "stroke-width": 1, "stroke-opacity": 0.55, "data-line": "image" });
  line(mean, { stroke: colour, "stroke-width": 3, "data-line": "mean" });
  line(lines[chosen], { stroke: "var(--ink)", "stroke-width": 1.75, "stroke-dasharray": "6 4", "data-line": "chosen" });
  mean.forEach((n, m) => svg.append(draw("circle", { cx: x(xs[m]), cy: y(n), r: m === mean.length - 1 ? 5 : 2.5, fill: colour, stroke: "var(--surface)", "stroke-width": 1.2 })));
  const tip = lines[chosen].length - 1;
  svg.append(draw("path", { d: SHAPES.plus(x(xs[tip]), y(lines[chosen][tip]), 6), fill: "var(--ink)", stroke: "var(--surface)", "stroke-width": 1.2 }));
  holder.replaceChildren(svg);
}

function render({ model, el }) {
  const networks = model.get("networks");
  const epochs = model.get("epochs");
  const names = model.get("image_names");
  const [rows, columns] = model.get("cells");
  const size = rows * columns;
  const bytes = Math.ceil(size / 8);
  const [tileHeight, tileWidth] = model.get("tile");
  const markColours = model.get("mark_colours");
  const changeNames = model.get("change_names");
  const bits = bytesOf(model.get("concepts"));
  const objectBits = bytesOf(model.get("foreground"));
  const insides = names.map((_, i) => unpackBits(objectBits, i * bytes, size));
  const tiles = spriteOf(model);
  const last = epochs.length - 1;
  const put = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  const remembered = new Map();
  // A network's concepts: checkpoint -> image -> cells.
  const setsOf = (network) => {
    if (!remembered.has(network)) {
      remembered.set(network, network.epochs.map((_, m) =>
        names.map((_, i) => unpackBits(bits, ((network.start + m) * names.length + i) * bytes, size))));
    }
    return remembered.get(network);
  };

  const root = make("div", { class: "kdlib kdlib-dynamics", role: "region", "aria-label": "Learning-dynamics player" });
  const thumbs = thumbnails(names, tiles, (image) => put({ image }));
  const player = make("button", { type: "button", class: "kdlib-play", onclick: () => (timer ? pause() : play()) });
  const move = (by) => { pause(); put({ step: Math.min(last, Math.max(0, model.get("step") + by)) }); };
  const previous = make("button", { type: "button", "aria-label": "Previous checkpoint", onclick: () => move(-1) }, "Previous");
  const next = make("button", { type: "button", "aria-label": "Next checkpoint", onclick: () => move(1) }, "Next");
  const bar = slider("Checkpoint", epochs.map((_, i) => i), (i) => `epoch ${epochs[i]}`, (i) => { pause(); put({ step: i }); });

  const panels = SIDES.map((side) => {
    const picker = dropdown(side === "left" ? "Left network" : "Right network", (name) => put({ [side]: name }));
    picker.fill(networks.map((each) => [each.name, each.title]), model.get(side));
    const photo = make("div", { class: "kdlib-tile", role: "img", style: { "aspect-ratio": `${tileWidth} / ${tileHeight}` } });
    const overlay = cellOverlay(rows, columns, tileHeight / tileWidth);
    const [dot, heading, chartTitle, chart] = [
      make("span", { class: "kdlib-dot" }), make("span", {}), make("h4", {}), make("div", { class: "kdlib-chart" })];
    return {
      side, picker, photo, overlay, dot, heading, chartTitle, chart,
      picture: make("div", {}, picker.control, make("h4", {}, dot, heading), make("div", { class: "kdlib-framed" }, photo, overlay.svg)),
      curve: make("div", { "data-side": side }, chartTitle, chart),
    };
  });
  const key = make("div", { class: "kdlib-key kdlib-small" },
    ...changeNames.map(([kind, words]) => make("span", {}, markSample(kind, markColours[kind]), words)));
  const sample = (attributes) => {
    const svg = draw("svg", { width: 30, height: 10, "aria-hidden": "true" });
    svg.append(draw("line", { x1: 1, x2: 29, y1: 5, y2: 5, ...attributes }));
    return svg;
  };
  const curveKey = make("div", { class: "kdlib-key kdlib-small" },
    make("span", {}, sample({ stroke: "var(--control)", "stroke-width": 1.2 }), "every image"),
    make("span", {}, sample({ stroke: "var(--ink)", "stroke-width": 2, "stroke-dasharray": "6 4" }), "this image"),
    make("span", {}, sample({ stroke: "var(--ink)", "stroke-width": 4 }), `mean of ${names.length} images, in the network's colour`));
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });
  const table = make("table", { class: "kdlib-table" });

  root.append(
    thumbs.group,
    make("div", { class: "kdlib-fields kdlib-player" }, make("div", { class: "kdlib-choice" }, player, previous, next), bar.control),
    make("div", { class: "kdlib-grids" }, ...panels.map((panel) => panel.picture)),
    key,
    make("div", { class: "kdlib-curves" }, ...panels.map((panel) => panel.curve)),
    make("p", { class: "kdlib-small kdlib-muted" }, "Across: how far the weights have come, d, in norms of the first weights. Up: concepts on the object, traced as far as the checkpoint shown."),
    curveKey, summary, table,
  );

  let timer = null;
  function showPlaying() {
    player.textContent = timer ? "Pause" : "Play";
    summary.setAttribute("aria-live", timer ? "off" : "polite");  // else every checkpoint would be read out
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    showPlaying();
  }
  function play() {
    if (last === 0) return;
    if (model.get("step") >= last) put({ step: 0 });
    timer = setInterval(() => {
      put({ step: Math.min(last, model.get("step") + 1) });
      if (model.get("step") >= last) pause();
    }, PAUSE_MS);
    showPlaying();
  }

  function show() {
    const [image, step, theme] = [model.get("image"), model.get("step"), root.dataset.theme];
    const inside = insides[image];
    const cells = inside.reduce((sum, bit) => sum + bit, 0);
    const sides = panels.map((panel) => networks.find((each) => each.name === model.get(panel.side)) || networks[0]);
    const counts = sides.map((network) => setsOf(network).map((images) => images.map((set, i) => countOn(set, insides[i]))));
    const most = niceTop(Math.max(1, ...counts.flat(2)));
    const furthest = Math.max(...sides.map((network) => network.distances[network.distances.length - 1]));
    thumbs.show(image);
    bar.show(step);
    // Not disabled: that would take the focus from under a reader's finger.
    previous.setAttribute("aria-disabled", String(step === 0));
    next.setAttribute("aria-disabled", String(step === last));
    player.disabled = last === 0;
    const found = panels.map((panel, k) => {
      const network = sides[k];
      const place = checkpointAt(network.epochs, epochs[step]);
      const sets = setsOf(network).slice(0, place + 1);
      const all = names.map((_, i) => progressOf(sets.map((images) => images[i]), insides[i]));
      const mine = all[image];
      const mean = (name) => all.reduce((sum, each) => sum + each[name], 0) / all.length;
      const atEnd = place === network.epochs.length - 1;
      const colour = legible(network.colour, theme);
      panel.picker.select.value = network.name;
      panel.dot.style.background = colour;
      panel.heading.textContent = `epoch ${network.epochs[place]}${atEnd && epochs[step] > network.epochs[place] ? ", its last" : ""}`;
      showTile(panel.photo, tiles, image);
      panel.overlay.show(inside, changesOf(place ? sets[place - 1][image] : null, sets[place][image]), markColours);
      panel.photo.setAttribute("aria-label", `${nameOf(names, image)} under ${network.title}, epoch ${network.epochs[place]}: ` +
        `${mine.foreground} concepts on the object, ${mine.new} of them new, ${mine.vanished} vanished; ${mine.background} on the background`);
      panel.chartTitle.textContent = network.title;
      traceChart(panel.chart, {
        xs: network.distances, lines: names.map((_, i) => counts[k].slice(0, place + 1).map((each) => each[i])),
        mean: counts[k].slice(0, place + 1).map((each) => each.reduce((sum, n) => sum + n, 0) / each.length), chosen: image, colour, furthest, most,
      });
      return { network, place, atEnd, mine, mean_foreground: mean("foreground"), mean_remaining: mean("remaining") };
    });
    const row = (words, name, read) => make("tr", {}, make("th", { scope: "row" }, words),
      ...found.map((each) => make("td", { "data-kdlib-value": name }, read(each))));
    table.replaceChildren(
      make("caption", { class: "kdlib-small" }, `${nameOf(names, image)}; the object has ${cells} of ${size} cells:`),
      make("tr", {}, make("td", {}), ...sides.map((network) => make("th", { scope: "col" }, network.title))),
      row("path length d", "distance", ({ network, place }) => network.distances[place].toFixed(3)),
      row("concepts on the object", "foreground", ({ mine }) => String(mine.foreground)),
      ...["new", "kept", "vanished"].map((kind) => row(`of them ${kind}`.replace("of them vanished", "vanished from it"), kind, ({ mine }) => String(mine[kind]))),
      row("concepts on the background", "background", ({ mine }) => String(mine.background)),
      row("ever on the object so far (union)", "union", ({ mine }) => String(mine.union)),
      row("now / ever; ρ at the last checkpoint", "remaining", ({ mine }) => mine.remaining.toFixed(2)),
      row("most at once so far, at d", "most", ({ network, mine }) => (mine.most ? `${mine.most} at ${network.distances[mine.peak].toFixed(3)}` : "–")),
      row(`mean of ${names.length} images: on the object`, "mean_foreground", (each) => each.mean_foreground.toFixed(2)),
      row(`mean of ${names.length} images: now / ever, ρ`, "mean_remaining", (each) => each.mean_remaining.toFixed(2)));
    summary.textContent = `Epoch ${epochs[step]}, ${nameOf(names, image)}: ${found.map(({ network, atEnd, mine }) =>
      `${network.title} has ${mine.foreground} concepts on the object (${mine.new} new, ${mine.vanished} vanished), of ${mine.union} so far` +
      `${atEnd ? `: ρ is ${mine.remaining.toFixed(2)}` : ""}`).join("; ")}.`;
  }

  mount(root, el);
  showPlaying();
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(root, show);
  const stopModel = onChange(model, ["image", "left", "right", "step"], show);
  return () => {
    clearInterval(timer);
    stopTheme();
    stopResize();
    stopModel();
    URL.revokeObjectURL(tiles.url);
  };
}

export { changesOf, checkpointAt, progressOf };
export default { render };
