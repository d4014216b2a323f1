// The fields, the request and the shown answer of each task.

import { answerInContext, bars, embeddings, entities, fillings, flat, generatedText, labelScores, ranking } from "./answers.js";

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const TEXT = { name: "text", label: "Text", rows: 5 };
const LENGTH = { name: "max_new_tokens", label: "Maximum new tokens", type: "number", value: 64, min: 1, max: 4096 };
const TEMPERATURE = {
  name: "temperature", label: "Temperature", type: "number", value: 0.7, min: 0, max: 5, step: 0.1,
  hint: "0 always selects the likeliest token.",
};
const textExample = (text) => ({ text });
const textToText = (key) => ({
  fields: [TEXT, LENGTH],
  example: textExample,
  request: ({ text, max_new_tokens }) => ({ inputs: text, parameters: { max_new_tokens } }),
  show: generatedText(key),
});

export const TASKS = {
  chat: {
    verb: "Send",
    shortcuts: [{ keys: ["Enter"], does: "sends" }, { keys: ["Shift", "Enter"], does: "starts a new line" }],
    fields: [{ name: "message", label: "Message", rows: 3 }],
    options: [
      { name: "system", label: "System prompt (optional)", rows: 1, optional: true },
      { ...LENGTH, value: 256 },
      { ...TEMPERATURE, max: 2 },
    ],
    example: (message) => ({ message }),
    request: ({ max_new_tokens, temperature }, { name }, messages) => ({
      model: name, messages, max_tokens: max_new_tokens, temperature, stream: true,
    }),
  },
  "text-classification": {
    fields: [TEXT],
    example: textExample,
    request: ({ text }) => ({ inputs: text, parameters: { top_k: 10 } }),
    show: (answer) => [bars(labelScores(answer))],
  },
  "token-classification": {
    fields: [TEXT],
    example: textExample,
    request: ({ text }) => ({ inputs: text, parameters: { aggregation_strategy: "simple" } }),
    show: (answer, values) => entities(answer, values),
  },
  "question-answering": {
    fields: [{ name: "question", label: "Question" }, { name: "context", label: "Context", rows: 6 }],
    example: (example) => example,
    request: ({ question, context }) => ({ inputs: { question, context } }),
    show: answerInContext,
  },
  "fill-mask": {
    fields: [TEXT],
    example: textExample,
    request: ({ text }) => ({ inputs: text }),
    show: fillings,
  },
  "zero-shot-classification": {
    fields: [
      TEXT,
      { name: "labels", label: "Labels", hint: "Separated by commas." },
      { name: "multi_label", label: "Several labels may apply", type: "checkbox", value: false, optional: true },
    ],
    example: (text, options) => ({ text, labels: (options.candidate_labels ?? []).join(", ") }),
    request: ({ text, labels, multi_label }) => ({
      inputs: text,
      parameters: { candidate_labels: labels.split(",").map((label) => label.trim()).filter(Boolean), multi_label },
    }),
    show: (answer) => {
      const rows = answer.labels
        ? answer.labels.map((label, index) => ({ label, score: answer.scores[index] }))
        : labelScores(answer);
      return [bars(rows)];
    },
  },
  "feature-extraction": {
    fields: [{ ...TEXT, rows: 3 }, { name: "other", label: "Text to compare it with (optional)", rows: 3, optional: true }],
    example: (text) => ({ text, other: "This is an easy exam." }),
    request: ({ text, other }, options) => ({ inputs: other.trim() ? [text, other] : [text], parameters: options }),
    show: embeddings,
  },
  "text-ranking": {
    fields: [{ name: "query", label: "Question" }, { name: "documents", label: "Texts, one for each line", rows: 6 }],
    example: ({ query, documents }) => ({ query, documents: documents.join("\n") }),
    request: ({ query, documents }) => ({ inputs: { query, documents: lines(documents) } }),
    show: (answer) => [ranking(flat(answer).map(({ text: label, score }) => ({ label, score })))],
  },
  "multiple-choice": {
    fields: [{ name: "prompt", label: "Prompt", rows: 3 }, { name: "choices", label: "Choices, one for each line", rows: 4 }],
    example: ({ prompt, choices }) => ({ prompt, choices: choices.join("\n") }),
    request: ({ prompt, choices }) => ({ inputs: { prompt, choices: lines(choices) } }),
    show: (answer) => [bars(flat(answer).map(({ choice: label, score }) => ({ label, score })))],
  },
  "text-generation": {
    fields: [TEXT, LENGTH, TEMPERATURE],
    example: textExample,
    request: ({ text, max_new_tokens, temperature }) => ({
      inputs: text,
      parameters: { max_new_tokens, do_sample: temperature > 0, ...(temperature > 0 ? { temperature } : {}) },
      stream: true,
    }),
    show: generatedText("generated_text"),
  },
  "text2text-generation": textToText("generated_text"),
  summarization: textToText("summary_text"),
  translation: textToText("translation_text"),
};
