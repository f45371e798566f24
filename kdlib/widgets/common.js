// Shared by kdlib's widgets: this text stands before each widget's own, so that the module imports nothing.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  // JupyterLab takes the arrow keys for itself wherever this does not stand on the focused element.
  if (["input", "select", "button"].includes(tag)) node.setAttribute("data-lm-suppress-shortcuts", "true");
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// What stands in a widget is text: MathJax would take a name with two dollar signs for a formula.
function mount(root, el) {
  root.classList.add("mathjax_ignore", "tex2jax_ignore");
  el.append(root);
}

// Ids that no other instance on the page has: labels point at their controls by them.
function uniqueName() {
  const numbers = crypto.getRandomValues(new Uint32Array(2));
  return `kdlib-${numbers[0].toString(36)}${numbers[1].toString(36)}`;
}

// ---- light and dark -------------------------------------------------------------------------------------------

function hostIsDark(node) {
  const book = document.documentElement.dataset.theme;
  if (book === "dark" || book === "light") return book === "dark";
  const lab = node.closest("[data-jp-theme-light]") || document.querySelector("[data-jp-theme-light]");
  if (lab) return lab.getAttribute("data-jp-theme-light") === "false";
  const code = document.body.dataset.vscodeThemeKind;
  if (code) return code.endsWith("dark") || code.endsWith("high-contrast");
  const colab = document.documentElement.getAttribute("theme");
  if (colab) return colab === "dark";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function followTheme(root, redraw) {
  const update = () => {
    const theme = hostIsDark(root) ? "dark" : "light";
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    redraw();
    // JupyterLab swaps its style sheets after it says so: measure again when widths have settled.
    setTimeout(() => root.isConnected && redraw(), 400);
  };
  const observer = new MutationObserver(update);
  const options = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "data-vscode-theme-kind", "theme"] };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", update);
  root.dataset.theme = hostIsDark(root) ? "dark" : "light";
  return () => {
    observer.disconnect();
    media.removeEventListener("change", update);
  };
}

function channels(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

function luminance(rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

// The colour itself where it stands out from the ground, else mixed towards white (dark) or black (light) until it
// does; black becomes near-white in the dark. In the light the house's orange and pink stay as they are everywhere
// else in the book: there dashes, positions and words tell the lines apart too.
function legible(hex, theme) {
  const ground = theme === "dark" ? [0x14, 0x18, 0x1e] : [255, 255, 255];
  const goal = theme === "dark" ? 255 : 0;
  const colour = channels(hex);
  if (theme === "dark" && colour.every((v) => v < 24)) return "rgb(237, 240, 244)";
  const needed = theme === "dark" ? 4.2 : 1.9;
  for (let mix = 0; mix <= 1; mix += 0.05) {
    const mixed = colour.map((v) => Math.round(v + (goal - v) * mix));
    if (contrast(mixed, ground) >= needed) return `rgb(${mixed.join(", ")})`;
  }
  return `rgb(${goal}, ${goal}, ${goal})`;
}

// Groups differ in colour and in pattern: CSS gradients, so no SVG ids are needed.
const PATTERNS = [
  () => "none",
  (c) => `repeating-linear-gradient(45deg, ${c} 0 2px, transparent 2px 7px)`,
  (c) => `radial-gradient(${c} 1.3px, transparent 1.8px) 0 0 / 6px 6px`,
  (c) => `repeating-linear-gradient(90deg, ${c} 0 2px, transparent 2px 6px)`,
  (c) => `repeating-linear-gradient(135deg, ${c} 0 2px, transparent 2px 7px)`,
  (c) => `repeating-linear-gradient(45deg, ${c} 0 1.5px, transparent 1.5px 6px), repeating-linear-gradient(135deg, ${c} 0 1.5px, transparent 1.5px 6px)`,
  (c) => `repeating-linear-gradient(0deg, ${c} 0 1.5px, transparent 1.5px 4px)`,
];

function fill(hex, index) {
  const dark = luminance(channels(hex)) > 0.2;
  const pattern = PATTERNS[index % PATTERNS.length](dark ? "rgba(0,0,0,0.5)" : "rgba(255,255,255,0.65)");
  return pattern === "none" ? hex : `${pattern}, ${hex}`;
}

// ---- pieces ---------------------------------------------------------------------------------------------------

// Buttons of which one is pressed.
function choice(label, options, onChoose) {
  const buttons = options.map((option) =>
    make("button", { type: "button", "aria-pressed": "false", onclick: () => onChoose(option.value) }, ...option.content));
  const group = make("div", { class: "kdlib-choice", role: "group", "aria-label": label }, ...buttons);
  const show = (value) => buttons.forEach((button, i) =>
    button.setAttribute("aria-pressed", String(options[i].value === value)));
  return { group, buttons, show };
}

// One tile of a sprite as a node's background, at whatever size the node has.
function showTile(node, { url, columns, rows }, index) {
  const [row, column] = [Math.floor(index / columns), index % columns];
  node.style.backgroundImage = `url("${url}")`;
  node.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
  node.style.backgroundPosition =
    `${columns > 1 ? (100 * column) / (columns - 1) : 0}% ${rows > 1 ? (100 * row) / (rows - 1) : 0}%`;
  return node;
}

function slider(label, steps, format, onMove) {
  const id = uniqueName();
  const output = make("output", { for: id });
  const input = make("input", { type: "range", id, min: 0, max: steps.length - 1, step: 1 });
  input.addEventListener("input", () => onMove(steps[Number(input.value)]));
  const show = (value) => {
    const nearest = steps.reduce((best, step, i) => (Math.abs(step - value) < Math.abs(steps[best] - value) ? i : best), 0);
    input.value = nearest;
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
  };
  const control = make("div", { class: "kdlib-control" }, make("label", { for: id }, label, output), input);
  return { control, input, show };
}

function dropdown(label, onChange) {
  const id = uniqueName();
  const select = make("select", { id });
  select.addEventListener("change", () => onChange(select.value));
  const control = make("div", { class: "kdlib-control" }, make("label", { for: id }, label), select);
  const fillOptions = (options, value) => {
    select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
    select.value = value;
  };
  return { control, select, fill: fillOptions };
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999) || 10 * power;
}

// Lines over one axis with a cursor; drawn at the width there is, so that letters keep their size on a phone.
// series: [{name, colour, dash, values, strong}]
function lineChart(holder, { xs, series, cursor, xTicks, log, yTop, yTicks, height, step }) {
  const width = Math.max(220, Math.floor(holder.clientWidth || 640));
  const margin = { left: 38, right: 12, top: 14, bottom: 26 };
  const position = (x) => (log ? Math.log(x) : x);
  const [first, last] = [position(xs[0]), position(xs[xs.length - 1])];
  const left = (x) => margin.left + ((position(x) - first) / (last - first || 1)) * (width - margin.left - margin.right);
  const top = (y) => height - margin.bottom - (y / (yTop || 1)) * (height - margin.top - margin.bottom);
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const [y, text] of yTicks) {
    svg.append(draw("line", { class: "kdlib-grid", x1: margin.left, x2: width - margin.right, y1: top(y), y2: top(y) }));
    svg.append(draw("text", { class: "kdlib-tick", x: margin.left - 6, y: top(y) + 4, "text-anchor": "end" }, text));
  }
  for (const [x, text] of xTicks) {
    const anchor = left(x) > width - margin.right - 12 ? "end" : "middle";
    const at = anchor === "end" ? width - 2 : left(x);
    svg.append(draw("text", { class: "kdlib-tick", x: at, y: height - 8, "text-anchor": anchor }, text));
  }
  const at = left(cursor);
  svg.append(draw("line", { class: "kdlib-axis", x1: at, x2: at, y1: margin.top - 6, y2: height - margin.bottom, "stroke-width": 1.5 }));
  for (const line of series) {
    const path = line.values.map((y, i) => {
      const corner = step && i ? `H${left(xs[i]).toFixed(1)}` : "";
      return `${i ? `${corner}L` : "M"}${left(xs[i]).toFixed(1)},${top(Math.min(y, yTop * 1.02)).toFixed(1)}`;
    }).join("");
    svg.append(draw("path", {
      d: path, fill: "none", stroke: line.colour, "stroke-width": line.strong ? 3 : 1.75,
      "stroke-dasharray": line.dash, "stroke-linejoin": "round",
    }));
  }
  for (const line of series) {
    const y = line.values[xs.indexOf(cursor)];
    if (y !== undefined) {
      svg.append(draw("circle", {
        cx: at, cy: top(Math.min(y, yTop * 1.02)), r: line.strong ? 5 : 3.5, fill: line.colour, stroke: "var(--surface)", "stroke-width": 1.5,
      }));
    }
  }
  holder.replaceChildren(svg);
}

const DASHES = ["none", "7 4", "2 3", "9 3 2 3"];

function lineSample(colour, dash) {
  const svg = draw("svg", { width: 30, height: 10, "aria-hidden": "true" });
  svg.append(draw("line", { x1: 1, x2: 29, y1: 5, y2: 5, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash }));
  svg.style.verticalAlign = "middle";
  return svg;
}

function bytesOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// Masks are sent as bits, most significant first, each mask starting on a byte.
function unpackBits(bytes, start, count) {
  return Uint8Array.from({ length: count }, (_, i) => (bytes[start + (i >> 3)] >> (7 - (i & 7))) & 1);
}

async function unpack(view) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack the widget's data (it lacks DecompressionStream); take one of 2023 or newer");
  }
  const stream = new Blob([bytesOf(view)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// While a live widget stands in the document, so does a rule that hides its still picture, and with it an output
// frame that holds nothing else.
function hideStill(root, key) {
  const still = `figure[data-kdlib-static="${CSS.escape(key)}"]`;
  root.prepend(make("style", {}, `${still}, :has(> ${still}:only-child) { display: none !important; }`));
}

function onChange(model, names, redraw) {
  for (const name of names) model.on(`change:${name}`, redraw);
  return () => { for (const name of names) model.off(`change:${name}`, redraw); };
}

function onResize(node, redraw) {
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (node.clientWidth !== width) {
      width = node.clientWidth;
      redraw();
    }
  });
  observer.observe(node);
  return () => observer.disconnect();
}
