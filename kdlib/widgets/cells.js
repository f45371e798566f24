// Shared by the widgets over grids of cells: a picture with the object's outline and marked cells, and thumbnails.

// Shapes around (x, y) that fit a circle of radius r, as SVG paths; Python draws the same ones.
const polygon = (points) => `M${points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join("L")}Z`;
const PLUS = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]];
const SHAPES = {
  disc: (x, y, r) => `M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0Z`,
  triangle: (x, y, r) => polygon([[x, y - r], [x + r, y + 0.8 * r], [x - r, y + 0.8 * r]]),
  plus: (x, y, r) => polygon(PLUS.map(([a, b]) => [x + (a * r) / 3, y + (b * r) / 3])),
  cross: (x, y, r) => polygon(PLUS.map(([a, b]) => [x + ((a - b) * r) / 4, y + ((a + b) * r) / 4])),
};
const SHAPE_OF = { foreground: "disc", background: "triangle", kept: "disc", new: "plus", vanished: "cross" };

function markPath(kind, d, colour) {
  return draw("path", { d, fill: colour, stroke: "#10151b", "stroke-width": 1, "stroke-linejoin": "round", "paint-order": "stroke", "data-mark": kind });
}

// A sample for the key, on a grey that every mark shows on.
function markSample(kind, colour) {
  const svg = draw("svg", { class: "kdlib-mark", width: 18, height: 18, viewBox: "0 0 12 12", "aria-hidden": "true" });
  svg.append(markPath(kind, SHAPES[SHAPE_OF[kind]](6, 6, 4), colour));
  return svg;
}

// The border between a mask's cells and the others; along the picture's own edge a little inside, or half is cut off.
function borderPath(mask, rows, columns, [w, h]) {
  const inside = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && mask[r * columns + c] === 1;
  const put = (v, end) => Math.min(Math.max(v, 0.8), end - 0.8);
  const parts = [];
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      if (!inside(r, c)) continue;
      const [left, right] = [c, c + 1].map((v) => put(v * w, columns * w));
      const [top, bottom] = [r, r + 1].map((v) => put(v * h, rows * h));
      if (!inside(r - 1, c)) parts.push(`M${left},${top}H${right}`);
      if (!inside(r + 1, c)) parts.push(`M${left},${bottom}H${right}`);
      if (!inside(r, c - 1)) parts.push(`M${left},${top}V${bottom}`);
      if (!inside(r, c + 1)) parts.push(`M${right},${top}V${bottom}`);
    }
  }
  return parts.join("");
}

// A drawing over a picture of `ratio` = height / width: the object's outline, marked cells, a frame around one cell.
function cellOverlay(rows, columns, ratio) {
  const [w, h] = [10, (10 * columns * ratio) / rows];
  const radius = 0.36 * Math.min(w, h);
  const svg = draw("svg", { class: "kdlib-overlay", viewBox: `0 0 ${columns * w} ${rows * h}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = (d, stroke, wide) =>
    draw("path", { d, fill: "none", stroke, "stroke-width": wide, "stroke-linecap": "square", "vector-effect": "non-scaling-stroke" });
  const show = (mask, marks, colours, chosen = -1) => {
    const d = borderPath(mask, rows, columns, [w, h]);
    const parts = [line(d, "#ffffff", 3.5), line(d, "#10151b", 1.5)];
    for (const [kind, cells] of Object.entries(marks)) {
      if (!cells.length) continue;
      const shape = SHAPES[SHAPE_OF[kind]];
      parts.push(markPath(kind, cells.map((i) => shape(((i % columns) + 0.5) * w, (Math.floor(i / columns) + 0.5) * h, radius)).join(""), colours[kind]));
    }
    if (chosen >= 0) {
      const frame = `M${(chosen % columns) * w},${Math.floor(chosen / columns) * h}h${w}v${h}h${-w}Z`;
      parts.push(line(frame, "#10151b", 4.5), line(frame, "#ffffff", 2));
    }
    svg.replaceChildren(...parts);
  };
  return { svg, show };
}

function spriteOf(model) {
  const names = model.get("image_names");
  const columns = model.get("sprite_columns");
  const url = URL.createObjectURL(new Blob([bytesOf(model.get("sprite"))], { type: model.get("sprite_type") }));
  return { url, columns, rows: Math.ceil(names.length / columns) };
}

function thumbnails(names, tiles, onChoose) {
  const buttons = names.map((name, i) => showTile(make("button", {
    type: "button", class: "kdlib-tile", title: name, onclick: () => onChoose(i),
    "aria-label": name === `image ${i + 1}` ? name : `image ${i + 1}: ${name}`,
  }), tiles, i));
  const group = make("div", { class: "kdlib-thumbs", role: "group", "aria-label": "Image" }, ...buttons);
  return { group, show: (index) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index))) };
}

// "image 3 (cat)", or "image 3" where it has no other name.
function nameOf(names, i) {
  return names[i] === `image ${i + 1}` ? names[i] : `image ${i + 1} (${names[i]})`;
}
