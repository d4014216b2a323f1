// A chat: what was said, and where it is shown.

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

// Shows a message, and where its answer goes; `end` keeps both, or takes the message back if there is no answer.
export function say(message) {
  const asked = turn("user", "You", message);
  const answered = turn("assistant", "Model", "");
  const field = byId("field-message");
  field.value = "";
  return {
    words: answered.words,
    end() {
      if (!asked.shown.isConnected) return; // another chat has begun
      const content = answered.words.textContent;
      if (content) {
        turns.push({ role: "user", content: message }, { role: "assistant", content });
      } else {
        asked.shown.remove();
        answered.shown.remove();
        field.value ||= message;
        show();
      }
      field.focus();
    },
  };
}
