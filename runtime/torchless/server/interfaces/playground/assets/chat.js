// The messages of a chat, and their elements.

import { byId, element } from "./elements.js";

let turns = [];

export const messages = (system, message) => [
  ...(system.trim() ? [{ role: "system", content: system }] : []),
  ...turns,
  { role: "user", content: message },
];

export function restart() {
  turns = [];
  show();
  byId("turns").replaceChildren();
}

function show() {
  const none = !byId("turns").childElementCount;
  byId("turns").hidden = none;
  byId("restart").hidden = none;
}

function turn(role, who, content) {
  const words = element("p", { class: "text", dir: "auto" }, content);
  const shown = element("div", { class: `turn ${role}` }, element("p", { class: "who" }, who), words);
  byId("turns").append(shown);
  show();
  shown.scrollIntoView({ block: "nearest" });
  return { shown, words };
}

// Shows a message and an empty answer. `end` keeps both, or removes both if the answer is still empty.
export function addTurn(message) {
  const question = turn("user", "You", message);
  const answer = turn("assistant", "Model", "");
  const field = byId("field-message");
  field.value = "";
  return {
    words: answer.words,
    end() {
      if (!question.shown.isConnected) return; // a new chat has begun
      const content = answer.words.textContent;
      if (content) {
        turns.push({ role: "user", content: message }, { role: "assistant", content });
      } else {
        question.shown.remove();
        answer.shown.remove();
        field.value ||= message;
        show();
      }
      field.focus();
    },
  };
}
