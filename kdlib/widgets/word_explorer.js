// Word explorer: a sentence under every network, each word shaded by which way and how far it moves the net.

// Attributions over the largest in size: -1 ... 1; all 0 where there is none.
function strengthsOf(values) {
  const largest = Math.max(0, ...values.map(Math.abs));
  return values.map((value) => (largest ? value / largest : 0));
}

function signOf(strength, threshold) {
  if (!strength || Math.abs(strength) < threshold) return "";
  return strength > 0 ? "+" : "−";
}

function rightSigns(strengths, truth) {
  return strengths.filter((strength, i) => strength * truth[i] > 0).length;
}

// The sign's colour mixed into the ground, and black or white, whichever is read more easily on it.
function shade(strength, [negative, positive], theme) {
  const ground = theme === "dark" ? [0x14, 0x18, 0x1e] : [255, 255, 255];
  const colour = channels(strength > 0 ? positive : negative);
  const mixed = colour.map((v, i) => Math.round(ground[i] + (v - ground[i]) * 0.9 * Math.abs(strength)));
  const ink = contrast(mixed, [0, 0, 0]) > contrast(mixed, [255, 255, 255]) ? "#000000" : "#ffffff";
  return { background: `rgb(${mixed.join(", ")})`, ink };
}

function render({ model, el }) {
  const words = model.get("words");
  const truth = model.get("truth");
  const labels = model.get("labels");
  const models = model.get("models");
  const methods = model.get("methods");
  const colours = model.get("sign_colours");
  const count = words.length;
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const root = make("div", { class: "kdlib kdlib-words", role: "region", "aria-label": "Word explorer" });

  const sentences = words.map((_, i) => i);
  const picker = slider("Sentence", sentences, (i) => `${i + 1} of ${count}`, (i) => put("sentence", i));
  const step = (by) => put("sentence", (model.get("sentence") + by + count) % count);
  const previous = make("button", { type: "button", onclick: () => step(-1) }, "Previous sentence");
  const next = make("button", { type: "button", onclick: () => step(1) }, "Next sentence");
  const methodChoice = dropdown("Attribution", (value) => put("method", value));
  methodChoice.fill(methods.map((method, i) => [method, model.get("method_titles")[i]]), model.get("method"));
  const marks = slider(
    "Mark words from", model.get("thresholds"), (t) => `${Math.round(100 * t)}% of the strongest`, (t) => put("threshold", t));

  const title = make("p", { class: "kdlib-words-label" });
  const rows = make("div", { class: "kdlib-words-rows" });
  const summary = make("p", { class: "kdlib-summary", "aria-live": "polite" });
  const key = make("p", { class: "kdlib-small kdlib-muted" },
    "+ speaks for “positive”, − for “negative”; the fuller the colour, the stronger, each row on its own scale. Sentiment words are bold.");

  const line = (name, colour, note, strengths, threshold, polarity) => {
    const theme = root.dataset.theme;
    const chips = words[model.get("sentence")].map((word, i) => {
      const { background, ink } = shade(strengths[i], colours, theme);
      const sign = signOf(strengths[i], threshold);
      return make("span", { class: "kdlib-word", style: { background, color: ink, "font-weight": polarity[i] ? "700" : "400" } },
        word, make("span", { class: "kdlib-sign" }, sign || "\u00a0"));
    });
    const dot = colour ? make("span", { class: "kdlib-dot", style: { background: colour } }) : null;
    return make("div", { class: "kdlib-words-row" },
      make("div", { class: "kdlib-words-name" }, dot, make("strong", {}, name), make("span", { class: "kdlib-small kdlib-muted" }, note)),
      make("div", { class: "kdlib-words-line" }, ...chips));
  };

  const redraw = () => {
    const [sentence, method, threshold] = ["sentence", "method", "threshold"].map((name) => model.get(name));
    picker.show(sentence);
    marks.show(threshold);
    methodChoice.select.value = method;
    const polarity = truth[sentence];
    title.replaceChildren("Label: ", make("strong", {}, labels[sentence]));
    const found = models.map((m) => strengthsOf(m.attributions[method][sentence]));
    rows.replaceChildren(
      line("Truth", "", "each word's own part", polarity, threshold, polarity),
      ...models.map((m, i) => line(
        m.title, legible(m.colour, root.dataset.theme), `positive: ${Math.round(100 * m.positive[sentence])}%`, found[i], threshold, polarity)));
    const number = polarity.filter((sign) => sign).length;
    const listed = models.map((m, i) => `${m.title} ${rightSigns(found[i], polarity)}`);
    summary.textContent = `Sentiment words with the right sign, of ${number}: ${listed.join(", ")}.`;
  };

  root.append(
    make("div", { class: "kdlib-fields" }, picker.control, methodChoice.control, marks.control,
      make("div", { class: "kdlib-choice kdlib-words-steps" }, previous, next)),
    title, rows, summary, key);
  mount(root, el);
  hideStill(root, model.get("static_key"));
  const stopTheme = followTheme(root, redraw);
  const stopModel = onChange(model, ["sentence", "method", "threshold"], redraw);
  redraw();
  return () => { stopTheme(); stopModel(); };
}

export { strengthsOf, signOf, rightSigns, shade };
export default { render };
