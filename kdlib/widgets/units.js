// Shared by the widgets over dissected layers: regions of units, their borders, and counts of detectors.

// Detectors per category: each unit once, under the category of its best concept.
function countDetectors(unitModel, threshold, categories) {
  const counts = new Array(categories).fill(0);
  unitModel.scores.forEach((score, unit) => {
    const category = unitModel.categories[unit];
    if (category >= 0 && score >= threshold) counts[category] += 1;
  });
  return counts;
}

// The border between mask and not-mask as one path along pixel edges.
function outline(mask, height, width, size) {
  const path = new Path2D();
  const inside = (y, x) => y >= 0 && x >= 0 && y < height && x < width && mask[y * width + x] === 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(y, x)) continue;
      const [left, top, right, bottom] = [x * size, y * size, (x + 1) * size, (y + 1) * size];
      const edge = (open, x0, y0, x1, y1) => { if (open) { path.moveTo(x0, y0); path.lineTo(x1, y1); } };
      // Along the picture's own border the line is drawn a little inside, or half of it would be cut off.
      const put = (v, end) => Math.min(Math.max(v, 2), end - 2);
      const [l, r] = [put(left, width * size), put(right, width * size)];
      const [t, b] = [put(top, height * size), put(bottom, height * size)];
      edge(!inside(y - 1, x), l, t, r, t);
      edge(!inside(y + 1, x), l, b, r, b);
      edge(!inside(y, x - 1), l, t, l, b);
      edge(!inside(y, x + 1), r, t, r, b);
    }
  }
  return path;
}

// A tile of the sprite over the whole canvas, on which each pixel of a (height, width) mask is `size` wide.
function paintTile(canvas, { sheet, columns, tile: [tileHeight, tileWidth] }, index, [height, width]) {
  const size = Math.max(1, Math.round(288 / width));
  [canvas.width, canvas.height] = [width * size, height * size];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = width > 96;
  context.drawImage(sheet, (index % columns) * tileWidth, Math.floor(index / columns) * tileHeight, tileWidth, tileHeight,
    0, 0, canvas.width, canvas.height);
  return { context, size };
}

function dimOutside({ context, size }, region, width) {
  context.fillStyle = "rgba(10, 12, 16, 0.62)";
  for (let i = 0; i < region.length; i++) {
    if (!region[i]) context.fillRect((i % width) * size, Math.floor(i / width) * size, size, size);
  }
}

// A mask's border in colour over a white casing, so that it shows on every picture.
function strokeMask({ context, size }, mask, [height, width], { colour, dash = [], wide = 4, casing = 3 }) {
  const path = outline(mask, height, width, size);
  context.lineCap = "butt";
  context.setLineDash([]);
  [context.strokeStyle, context.lineWidth] = ["#ffffff", wide + casing];
  context.stroke(path);
  context.setLineDash(dash.map((part) => part * size));
  [context.strokeStyle, context.lineWidth] = [colour, wide];
  context.stroke(path);
}

function unitText(unitModel, unit) {
  const concept = unitModel.concepts[unit];
  return concept ? `${concept}, IoU ${unitModel.scores[unit].toFixed(3)}` : "no concept";
}
