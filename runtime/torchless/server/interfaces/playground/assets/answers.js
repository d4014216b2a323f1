// Answers, as they read best.

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

// Offsets count characters as Python does; a JavaScript string counts some of them twice.
const characters = (text) => Array.from(text);

function marked(text, spans) {
  const all = characters(text);
  const read = element("p", { class: "text", dir: "auto" });
  let end = 0;
  for (const { start, stop, label, hue } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < end) continue;
    read.append(all.slice(end, start).join(""));
    const mark = element("mark", { class: `hue-${hue}` }, all.slice(start, stop).join(""));
    if (label) mark.append(element("small", {}, label));
    read.append(mark);
    end = stop;
  }
  read.append(all.slice(end).join(""));
  return read;
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

function cosine(one, other) {
  const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

export const flat = (answer) => (Array.isArray(answer) && Array.isArray(answer[0]) ? flat(answer[0]) : answer);
const first = (answer) => (Array.isArray(answer) ? first(answer[0]) : answer);
export const labelled = (answer) => flat(answer).map(({ label, score }) => ({ label, score }));

export function ranking(rows) {
  const outside = rows.some(({ score }) => score < 0 || score > 1);
  if (!outside) return bars(rows);
  const scores = rows.map(({ score }) => score);
  return bars(rows, { format: number, least: Math.min(0, ...scores), most: Math.max(...scores) });
}

export function fillings(answer) {
  const masks = Array.isArray(answer[0]) ? answer : [answer];
  return masks.flatMap((one, index) => {
    const list = bars(one.map(({ token_str: label, score }) => ({ label: label.trim() || "␣", score })));
    return masks.length > 1 ? [element("h3", {}, `Mask ${index + 1}`), list] : [list];
  });
}

export function entities(answer, { text }) {
  const kinds = [...new Set(answer.map((one) => one.entity_group ?? one.entity))];
  const spans = answer.map((one) => {
    const label = one.entity_group ?? one.entity;
    return { start: one.start, stop: one.end, label, hue: kinds.indexOf(label) % HUES };
  });
  const rows = answer.map((one) => ({ label: `${one.word} – ${one.entity_group ?? one.entity}`, score: one.score }));
  if (!rows.length) return [marked(text, []), element("p", { class: "hint" }, "Nothing was found in this text.")];
  return [marked(text, spans), element("h3", {}, "Scores"), bars(rows, { ranked: false })];
}

export function found(answer, { context }) {
  const { answer: words, start, end, score } = first(answer);
  const best = element("p", { class: "best", dir: "auto" }, words || "There is no answer in this text.");
  const spans = words ? [{ start, stop: end, hue: 0 }] : [];
  return [best, element("p", { class: "hint" }, `Score: ${percent(score)}`), marked(context, spans)];
}

export function embedded(answer, { text, other }) {
  const vectors = answer.map((one) => flat(one));
  const made = [];
  if (vectors.length > 1) {
    const likeness = cosine(vectors[0], vectors[1]);
    made.push(element("p", { class: "best" }, `Similarity ${likeness.toFixed(3)}`));
    made.push(bars([{ label: "cosine, from -1 to 1", score: likeness }], { format: (value) => value.toFixed(3), least: -1 }));
  }
  vectors.forEach((vector, index) => {
    made.push(element("h3", { dir: "auto" }, [text, other][index]), strip(vector));
    made.push(element("p", { class: "hint" }, `${vector.length} numbers: ${vector.slice(0, 4).map(number).join(", ")}, …`));
  });
  return made;
}

export const written = (key) => (answer) => [element("p", { class: "text", dir: "auto" }, first(answer)[key])];
