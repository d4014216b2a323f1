// Tasks: the fields of each, what is sent, and what is shown.

import { bars, embedded, entities, fillings, flat, found, labelled, ranking, written } from "./answers.js";

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const TEXT = { name: "text", label: "Text", rows: 5 };
const LENGTH = { name: "max_new_tokens", label: "New tokens, at most", type: "number", value: 64, min: 1, max: 4096 };
const TEMPERATURE = {
  name: "temperature", label: "Temperature", type: "number", value: 0.7, min: 0, max: 5, step: 0.1,
  hint: "0 always takes the likeliest token.",
};
const textAlone = ({ text }) => ({ inputs: text });
const writes = (key) => ({
  fields: [TEXT, LENGTH],
  example: (one) => ({ text: one }),
  request: ({ text, max_new_tokens }) => ({ inputs: text, parameters: { max_new_tokens } }),
  show: written(key),
});

export const TASKS = {
  chat: {
    verb: "Send",
    shortcuts: [{ keys: ["Enter"], does: "sends" }, { keys: ["Shift", "Enter"], does: "begins a line" }],
    fields: [{ name: "message", label: "Message", rows: 3 }],
    options: [
      { name: "system", label: "System prompt (optional)", rows: 1, optional: true },
      { ...LENGTH, value: 256 },
      { ...TEMPERATURE, max: 2 },
    ],
    example: (one) => ({ message: one }),
    request: ({ max_new_tokens, temperature }, { name }, messages) => ({
      model: name, messages, max_tokens: max_new_tokens, temperature, stream: true,
    }),
  },
  "text-classification": {
    fields: [TEXT],
    example: (one) => ({ text: one }),
    request: ({ text }) => ({ inputs: text, parameters: { top_k: 10 } }),
    show: (answer) => [bars(labelled(answer))],
  },
  "token-classification": {
    fields: [TEXT],
    example: (one) => ({ text: one }),
    request: ({ text }) => ({ inputs: text, parameters: { aggregation_strategy: "simple" } }),
    show: (answer, values) => entities(answer, values),
  },
  "question-answering": {
    fields: [{ name: "question", label: "Question" }, { name: "context", label: "Context", rows: 6 }],
    example: (one) => one,
    request: ({ question, context }) => ({ inputs: { question, context } }),
    show: found,
  },
  "fill-mask": {
    fields: [TEXT],
    example: (one) => ({ text: one }),
    request: textAlone,
    show: fillings,
  },
  "zero-shot-classification": {
    fields: [
      TEXT,
      { name: "labels", label: "Labels", hint: "With commas between them." },
      { name: "multi_label", label: "Several labels may hold", type: "checkbox", value: false, optional: true },
    ],
    example: (one, options) => ({ text: one, labels: (options.candidate_labels ?? []).join(", ") }),
    request: ({ text, labels, multi_label }) => ({
      inputs: text,
      parameters: { candidate_labels: labels.split(",").map((one) => one.trim()).filter(Boolean), multi_label },
    }),
    show: (answer) => {
      const rows = answer.labels
        ? answer.labels.map((label, index) => ({ label, score: answer.scores[index] }))
        : labelled(answer);
      return [bars(rows)];
    },
  },
  "feature-extraction": {
    fields: [{ ...TEXT, rows: 3 }, { name: "other", label: "Text to compare it with (optional)", rows: 3, optional: true }],
    example: (one) => ({ text: one, other: "This is an easy exam." }),
    request: ({ text, other }, options) => ({ inputs: other.trim() ? [text, other] : [text], parameters: options }),
    show: embedded,
  },
  "text-ranking": {
    fields: [{ name: "query", label: "Question" }, { name: "documents", label: "Texts, a line each", rows: 6 }],
    example: ({ query, documents }) => ({ query, documents: documents.join("\n") }),
    request: ({ query, documents }) => ({ inputs: { query, documents: lines(documents) } }),
    show: (answer) => [ranking(flat(answer).map(({ text: label, score }) => ({ label, score })))],
  },
  "multiple-choice": {
    fields: [{ name: "prompt", label: "Prompt", rows: 3 }, { name: "choices", label: "Choices, a line each", rows: 4 }],
    example: ({ prompt, choices }) => ({ prompt, choices: choices.join("\n") }),
    request: ({ prompt, choices }) => ({ inputs: { prompt, choices: lines(choices) } }),
    show: (answer) => [bars(flat(answer).map(({ choice: label, score }) => ({ label, score })))],
  },
  "text-generation": {
    fields: [
      TEXT,
      LENGTH,
      TEMPERATURE,
    ],
    example: (one) => ({ text: one }),
    request: ({ text, max_new_tokens, temperature }) => ({
      inputs: text,
      parameters: { max_new_tokens, do_sample: temperature > 0, ...(temperature > 0 ? { temperature } : {}) },
      stream: true,
    }),
    show: written("generated_text"),
  },
  "text2text-generation": writes("generated_text"),
  summarization: writes("summary_text"),
  translation: writes("translation_text"),
};
