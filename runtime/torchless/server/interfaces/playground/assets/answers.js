// How the answer of each task is shown.

import { element } from "./elements.js";

const HUES = 6;
const LARGEST_STRIP = 2048;

const percent = (score) => `${(100 * score).toFixed(1)} %`;
const number = (value) => value.toPrecision(3);

export function bars(rows, { format = percent, least = 0, most = 1, ranked = true } = {}) {
  const list = element("ol", { class: ranked ? "bars ranked" : "bars" });
  for (const { label, score } of rows) {
    const bar = element("div", { class: "bar" });
    const share = most > least ? (score - least) / (most - least) : 1;
    bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    list.append(
      element(
        "li", {},
        element("span", { dir: "auto" }, label),
        element("span", { class: "score" }, format(score)),
        element("div", { class: "track", "aria-hidden": "true" }, bar),
      ),
    );
  }
  return list;
}

// Offsets count characters as in Python; a JavaScript string counts some characters twice.
const characters = (text) => Array.from(text);

function marked(text, spans) {
  const whole = characters(text);
  const paragraph = element("p", { class: "text", dir: "auto" });
  let end = 0;
  for (const { start, stop, label, hue } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < end) continue;
    paragraph.append(whole.slice(end, start).join(""));
    const mark = element("mark", { class: `hue-${hue}` }, whole.slice(start, stop).join(""));
    if (label) mark.append(element("small", {}, label));
    paragraph.append(mark);
    end = stop;
  }
  paragraph.append(whole.slice(end).join(""));
  return paragraph;
}

function strip(values) {
  const canvas = element("canvas", {
    class: "strip",
    role: "img",
    "aria-label": `${values.length} numbers, from ${number(Math.min(...values))} to ${number(Math.max(...values))}`,
    width: Math.min(values.length, LARGEST_STRIP),
    height: 1,
  });
  const context = canvas.getContext("2d");
  const largest = Math.max(...values.map(Math.abs)) || 1;
  values.slice(0, LARGEST_STRIP).forEach((value, index) => {
    const hue = value < 0 ? "rgb(178 92 36 / " : "rgb(15 130 110 / ";
    context.fillStyle = `${hue}${Math.abs(value) / largest})`;
    context.fillRect(index, 0, 1, 1);
  });
  return canvas;
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

export const flat = (answer) => (Array.isArray(answer) && Array.isArray(answer[0]) ? flat(answer[0]) : answer);
const first = (answer) => (Array.isArray(answer) ? first(answer[0]) : answer);
export const labelScores = (answer) => flat(answer).map(({ label, score }) => ({ label, score }));

export function ranking(rows) {
  const outside = rows.some(({ score }) => score < 0 || score > 1);
  if (!outside) return bars(rows);
  const scores = rows.map(({ score }) => score);
  return bars(rows, { format: number, least: Math.min(0, ...scores), most: Math.max(...scores) });
}

export function fillings(answer) {
  const masks = Array.isArray(answer[0]) ? answer : [answer];
  return masks.flatMap((tokens, index) => {
    const list = bars(tokens.map(({ token_str: label, score }) => ({ label: label.trim() || "␣", score })));
    return masks.length > 1 ? [element("h3", {}, `Mask ${index + 1}`), list] : [list];
  });
}

export function entities(answer, { text }) {
  const labels = answer.map((entity) => entity.entity_group ?? entity.entity);
  const kinds = [...new Set(labels)];
  const spans = answer.map(({ start, end: stop }, index) => ({
    start, stop, label: labels[index], hue: kinds.indexOf(labels[index]) % HUES,
  }));
  const rows = answer.map(({ word, score }, index) => ({ label: `${word} – ${labels[index]}`, score }));
  if (!rows.length) return [marked(text, []), element("p", { class: "hint" }, "Nothing was found in this text.")];
  return [marked(text, spans), element("h3", {}, "Scores"), bars(rows, { ranked: false })];
}

export function answerInContext(answer, { context }) {
  const { answer: words, start, end, score } = first(answer);
  const best = element("p", { class: "best", dir: "auto" }, words || "There is no answer in this text.");
  const spans = words ? [{ start, stop: end, hue: 0 }] : [];
  return [best, element("p", { class: "hint" }, `Score: ${percent(score)}`), marked(context, spans)];
}

export function embeddings(answer, { text, other }) {
  const vectors = answer.map((vector) => flat(vector));
  const parts = [];
  if (vectors.length > 1) {
    const likeness = cosine(vectors[0], vectors[1]);
    parts.push(element("p", { class: "best" }, `Similarity ${likeness.toFixed(3)}`));
    parts.push(bars([{ label: "cosine, from -1 to 1", score: likeness }], { format: (value) => value.toFixed(3), least: -1 }));
  }
  vectors.forEach((vector, index) => {
    parts.push(element("h3", { dir: "auto" }, [text, other][index]), strip(vector));
    parts.push(element("p", { class: "hint" }, `${vector.length} numbers: ${vector.slice(0, 4).map(number).join(", ")}, …`));
  });
  return parts;
}

export const generatedText = (key) => (answer) => [element("p", { class: "text", dir: "auto" }, first(answer)[key])];
