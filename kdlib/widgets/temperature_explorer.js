// Temperature explorer: softened outputs of teacher and student on one image, and what the KD loss makes of them.

// log softmax(logits / temperature), shifted by the largest so that nothing overflows.
function logSoftmax(logits, temperature) {
  const scaled = logits.map((z) => z / temperature);
  const largest = Math.max(...scaled);
  const total = Math.log(scaled.reduce((sum, z) => sum + Math.exp(z - largest), 0)) + largest;
  return scaled.map((z) => z - total);
}

function softmax(logits, temperature) {
  return logSoftmax(logits, temperature).map(Math.exp);
}

// KL(teacher^T || student^T) in nats. Rounding can leave -1e-17 where the two agree.
function divergence(teacher, student, temperature) {
  const p = logSoftmax(teacher, temperature);
  const q = logSoftmax(student, temperature);
  return Math.max(0, p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]), 0));
}

function entropy(logits, temperature) {
  return logSoftmax(logits, temperature).reduce((sum, logP) => sum - Math.exp(logP) * logP, 0);
}

const SCALES = [["fit", "up to the largest"], ["linear", "from 0 to 1"], ["log", "logarithmic, from 0.0001"]];

function barLength(probability, scale, largest) {
  if (scale === "log") return Math.max(0, 1 + Math.log10(Math.max(probability, 1e-4)) / 4);
  return scale === "fit" ? probability / largest : probability;
}

// With many classes the likeliest ones and the true one: by logits, so that the choice is the same at every T.
function shownClasses(logits, label) {
  const order = logits.map((_, i) => i);
  if (order.length <= 30) return order;
  order.sort((a, b) => logits[b] - logits[a] || a - b);
  const first = order.slice(0, 20);
  return first.includes(label) ? first : [...first, label];
}

function percent(value) {
  return `${(100 * value).toFixed(2)}%`;
}

function probabilityText(p) {
  return p < 0.0005 ? "<0.001" : p.toFixed(3);
}

function render({ model, el }) {
  const classes = model.get("class_names");
  const groupNames = model.get("superclass_names");
  const groupOf = model.get("superclass_of");
  const groupColours = model.get("superclass_colours");
  const labels = model.get("labels");
  const teacher = model.get("teacher_logits");
  const students = model.get("student_logits");
  const titles = model.get("titles");
  const colours = model.get("colours");
  const names = model.get("order");
  const temperatures = model.get("temperatures");
  const [tileHeight, tileWidth] = model.get("tile");
  const columns = model.get("sprite_columns");
  const sprite = URL.createObjectURL(new Blob([bytesOf(model.get("sprite"))], { type: model.get("sprite_type") }));
  let scale = "fit";

  const root = make("div", { class: "kdlib kdlib-temperature", role: "region", "aria-label": "Temperature explorer" });
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const tiles = { url: sprite, columns, rows: Math.ceil(labels.length / columns) };
  const paint = (node, index) => showTile(node, tiles, index);

  const preview = make("div", { class: "kdlib-tile", role: "img" });
  preview.style.aspectRatio = `${tileWidth} / ${tileHeight}`;
  const thumbs = labels.map((label, i) => paint(make("button", {
    type: "button", class: "kdlib-tile", title: classes[label],
    "aria-label": `image ${i + 1}: ${classes[label]}`, onclick: () => put("image", i),
  }), i));
  const truth = make("div", { class: "kdlib-label" });
  const heat = slider("Temperature T", temperatures, (t) => String(t), (t) => put("temperature", t));
  const picker = choice("Student", names.map((name) => ({
    value: name,
    content: [make("span", { class: "kdlib-dot", style: { background: colours[name] } }), titles[name]],
  })), (name) => put("student", name));
  const numbers = {};
  const number = (key, title, unit) => {
    numbers[key] = make("b", { "data-kdlib-value": key });
    return make("div", {}, make("div", { class: "kdlib-muted kdlib-small" }, title),
      make("div", { class: "kdlib-number" }, numbers[key], " ", make("span", {}, unit)));
  };
  const scalePicker = dropdown("Bars", (value) => { scale = value; show(); });
  scalePicker.fill(SCALES, scale);
  const key = make("div", { class: "kdlib-key" });
  const curve = make("div", { class: "kdlib-chart" });
  const curveKey = make("div", { class: "kdlib-key kdlib-small" });
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });
  const groups = make("div", { class: "kdlib-groups" });
  const rest = make("p", { class: "kdlib-small kdlib-muted" });

  root.append(
    make("div", { class: "kdlib-top" },
      make("div", {},
        make("div", { class: "kdlib-picked" }, preview, make("div", {}, truth,
          make("div", { class: "kdlib-thumbs", role: "group", "aria-label": "Image" }, ...thumbs)))),
      make("div", { class: "kdlib-settings" },
        heat.control,
        make("div", { class: "kdlib-control" }, make("div", { class: "kdlib-label" }, "Student"), picker.group),
        make("div", { class: "kdlib-numbers" },
          number("kl", "KL(teacher ‖ student)", "nats"), number("scaled", "T² × KL, the loss term", "nats"),
          number("teacher_entropy", "entropy, teacher, nats", `of ${Math.log(classes.length).toFixed(2)}`),
          number("student_entropy", "entropy, student, nats", `of ${Math.log(classes.length).toFixed(2)}`)))),
    make("div", { class: "kdlib-legend" }, key, scalePicker.control),
    groups,
    rest,
    make("div", { class: "kdlib-curve" }, make("h4", {}, "T² × KL on this image, over T"), curveKey, curve),
    summary,
  );

  // One row per class, kept and only restyled afterwards: the bars can glide.
  const rows = classes.map((name, index) => {
    const bar = () => make("i", { class: "kdlib-moving" });
    const value = () => make("span", {});
    const row = { bars: [bar(), bar()], values: [value(), value()], name: make("span", { class: "kdlib-name" }) };
    row.node = make("div", { class: "kdlib-row", "data-class": index }, row.name,
      make("div", { class: "kdlib-bars" }, ...row.bars.map((b) => make("div", { class: "kdlib-bar" }, b))),
      make("div", { class: "kdlib-values" }, ...row.values));
    return row;
  });
  const blocks = groupNames.map((name, g) => {
    const sum = make("span", { class: "kdlib-small kdlib-muted" });
    const node = make("div", { class: "kdlib-group" },
      make("div", { class: "kdlib-group-head" },
        make("span", { class: "kdlib-chip", style: { background: fill(groupColours[g], g) } }), make("span", {}, name), sum),
      ...rows.filter((_, i) => groupOf[i] === g).map((row) => row.node));
    groups.append(node);
    return { node, sum };
  });

  function drawCurve(image, student, temperature, theme) {
    const series = names.map((name, i) => ({
      name, colour: legible(colours[name], theme), dash: DASHES[i % DASHES.length], strong: name === student,
      values: temperatures.map((t) => t * t * divergence(teacher[image], students[name][image], t)),
    }));
    const top = niceTop(Math.max(...series.flatMap((line) => line.values)));
    lineChart(curve, {
      xs: temperatures, series, cursor: temperature, log: true, height: 150, yTop: top,
      xTicks: [0.5, 1, 2, 4, 8, 20].map((t) => [t, `T=${t}`]),
      yTicks: [0, top / 2, top].map((y) => [y, String(Number(y.toPrecision(3)))]),
    });
    curveKey.replaceChildren(...series.map((line) => make("span", {}, lineSample(line.colour, line.dash), titles[line.name])));
  }

  function show() {
    const [image, temperature, student] = [model.get("image"), model.get("temperature"), model.get("student")];
    const theme = root.dataset.theme;
    const [zt, zs] = [teacher[image], students[student][image]];
    const [p, q] = [softmax(zt, temperature), softmax(zs, temperature)];
    const largest = Math.max(...p, ...q);
    const caps = [legible(colours.teacher, theme), legible(colours[student], theme)];
    heat.show(temperature);
    picker.show(student);
    picker.buttons.forEach((button, i) => { button.firstChild.style.background = legible(colours[names[i]], theme); });
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === image)));
    paint(preview, image);
    preview.setAttribute("aria-label", `the chosen image, a ${classes[labels[image]]}`);
    truth.replaceChildren(make("span", {}, `${classes[labels[image]]} `,
      make("span", { class: "kdlib-muted", style: { "font-weight": 400 } }, `(${groupNames[groupOf[labels[image]]]})`)));
    key.replaceChildren(
      make("span", {}, make("i", { class: "kdlib-cap", style: { background: caps[0] } }), "upper bar: teacher"),
      make("span", {}, make("i", { class: "kdlib-cap", style: { background: caps[1] } }), `lower bar: ${titles[student]}`));
    const shown = new Set(shownClasses(zt, labels[image]));
    rest.textContent = shown.size === classes.length ? "" :
      `Shown are the ${shown.size} of ${classes.length} classes that the teacher finds likeliest; sums are over all.`;
    rows.forEach((row, i) => {
      const isTrue = i === labels[image];
      row.node.hidden = !shown.has(i);
      row.node.classList.toggle("kdlib-true", isTrue);
      row.name.replaceChildren(classes[i], ...(isTrue ? [make("small", {}, "true class")] : []));
      [p, q].forEach((probabilities, which) => {
        const bar = row.bars[which];
        bar.style.width = percent(barLength(probabilities[i], scale, largest));
        bar.style.background = fill(groupColours[groupOf[i]], groupOf[i]);
        bar.style.borderRightColor = caps[which];
        row.values[which].textContent = probabilityText(probabilities[i]);
      });
      row.node.title = `${classes[i]}: teacher ${p[i].toPrecision(3)}, ${titles[student]} ${q[i].toPrecision(3)}`;
    });
    blocks.forEach(({ node, sum }, g) => {
      node.hidden = !groupOf.some((group, i) => group === g && shown.has(i));
      const mass = (values) => probabilityText(values.reduce((total, v, i) => total + (groupOf[i] === g ? v : 0), 0));
      sum.textContent = `sum ${mass(p)} | ${mass(q)}`;
    });
    const kl = divergence(zt, zs, temperature);
    const [ht, hs] = [entropy(zt, temperature), entropy(zs, temperature)];
    numbers.kl.textContent = kl.toFixed(4);
    numbers.scaled.textContent = (temperature * temperature * kl).toFixed(4);
    numbers.teacher_entropy.textContent = ht.toFixed(3);
    numbers.student_entropy.textContent = hs.toFixed(3);
    const first = p.indexOf(Math.max(...p));
    const second = p.reduce((best, v, i) => (i !== first && (best < 0 || v > p[best]) ? i : best), -1);
    summary.textContent = `At T = ${temperature} the teacher gives ${classes[first]} ${p[first].toFixed(3)} and then ` +
      `${classes[second]} ${p[second].toFixed(3)}; ${titles[student]} gives them ${q[first].toFixed(3)} and ${q[second].toFixed(3)}. ` +
      `KL is ${kl.toFixed(4)} nats, T² × KL is ${(temperature * temperature * kl).toFixed(4)}. The teacher's entropy is ` +
      `${ht.toFixed(3)} nats, as if ${Math.exp(ht).toFixed(1)} classes were equally likely; the student's is ${hs.toFixed(3)}.`;
    drawCurve(image, student, temperature, theme);
  }

  mount(root, el);
  const stopTheme = followTheme(root, show);
  show();
  hideStill(root, model.get("static_key"));
  const stopResize = onResize(curve, show);
  const stopModel = onChange(model, ["image", "temperature", "student"], show);
  return () => {
    stopTheme();
    stopResize();
    stopModel();
    URL.revokeObjectURL(sprite);
  };
}

export { barLength, divergence, entropy, shownClasses, softmax };
export default { render };
