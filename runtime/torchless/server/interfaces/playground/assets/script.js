// The playground: the form, asking, and the list of models that it begins with.

import * as chat from "./chat.js";
import { byId, element, field } from "./elements.js";
import { command, events, headers, reason, remember, remembered } from "./requests.js";
import { TASKS } from "./tasks.js";

const VERB = "Answer";
const PAINT_MS = 50;
const SHORTCUTS = [{ keys: ["Ctrl", "Enter"], does: "asks" }];

let models = [];
let asking = null;

// ---- The form ----

const taskOf = (model) => TASKS[model.chat ? "chat" : model.task];
const chosen = () => models.find(({ name }) => name === byId("model").value);

function values() {
  const given = {};
  for (const control of byId("ask").querySelectorAll("[name]")) {
    if (control.type === "checkbox") given[control.name] = control.checked;
    else given[control.name] = control.type === "number" ? control.valueAsNumber : control.value;
  }
  return given;
}

function fill(given) {
  for (const [name, value] of Object.entries(given)) byId(`field-${name}`).value = value;
}

function short(example) {
  const text = typeof example === "string" ? example : Object.values(example)[0];
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

const keysOf = (shortcuts) =>
  shortcuts.map(({ keys, does }) => element("span", {}, ...keys.flatMap((key) => [element("kbd", {}, key), " "]), does));

function controls(fields) {
  const long = fields.filter(({ type }) => !type);
  const brief = fields.filter(({ type }) => type);
  return [...long.map(field), ...(brief.length ? [element("div", { class: "short" }, ...brief.map(field))] : [])];
}

function showModel() {
  const model = chosen();
  const task = taskOf(model);
  asking?.abort();
  clear();
  chat.restart();
  document.body.classList.toggle("chat", model.chat);
  byId("answer-title").textContent = model.chat ? "Last answer" : "Answer";
  byId("submit").textContent = task.verb ?? VERB;
  byId("keys").replaceChildren(...keysOf(task.shortcuts ?? SHORTCUTS));
  say("Write something, or try an example.");
  byId("about").textContent = `${model.task}, ${model.dtype}, up to ${model.max_input_tokens} tokens`;
  byId("fields").replaceChildren(...controls(task.fields));
  byId("options").replaceChildren(...controls(task.options ?? []));
  byId("examples").replaceChildren(
    ...model.examples.map((example) => {
      const button = element("button", { type: "button", class: "quiet" }, short(example));
      button.addEventListener("click", () => {
        fill(task.example(example, model.options));
        byId("ask").requestSubmit();
      });
      return button;
    }),
  );
  byId("examples").hidden = !model.examples.length;
  if (model.examples.length) fill(task.example(model.examples[0], model.options));
}

// ---- Asking ----

function say(words, { busy = false } = {}) {
  byId("state").textContent = words;
  byId("state").classList.toggle("busy", busy);
}

function clear() {
  byId("answer").replaceChildren();
  byId("error").hidden = true;
  byId("json-details").hidden = true;
  byId("curl-details").hidden = true;
}

function fail(words) {
  say("");
  byId("error").textContent = words;
  byId("error").hidden = false;
  byId("error").scrollIntoView({ block: "nearest" });
}

// Writes a text as it comes, and returns it. Not each piece is shown: a quick model would leave no time to press Stop.
async function write(response, text, shown) {
  text.classList.add("working");
  shown.setAttribute("aria-busy", "true"); // read out once, when it is whole
  let whole = "";
  let waiting = "";
  let painted = -Infinity;
  const paint = () => {
    const last = shown.scrollHeight - shown.scrollTop - shown.clientHeight < 40;
    text.append(waiting);
    waiting = "";
    if (last) shown.scrollTop = shown.scrollHeight;
    painted = performance.now();
  };
  try {
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message ?? event.error);
      const piece = (event.choices ? event.choices[0]?.delta.content : event.token?.special ? "" : event.token?.text) ?? "";
      whole += piece;
      waiting += piece;
      if (performance.now() - painted < PAINT_MS) continue;
      paint();
      await new Promise((done) => setTimeout(done));
    }
  } finally {
    paint();
    text.classList.remove("working");
    shown.removeAttribute("aria-busy");
  }
  return whole;
}

async function post(address, body) {
  byId("curl").textContent = command(address, body);
  byId("curl-details").hidden = false;
  say("Working …", { busy: true });
  return fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify(body),
    signal: asking.signal,
  });
}

async function converse(model, given, address) {
  const body = TASKS.chat.request(given, model, chat.messages(given.system, given.message));
  const said = chat.say(given.message);
  try {
    const response = await post(`${address}/v1/chat/completions`, body);
    if (!response.ok) throw new Error(await reason(response));
    return [{ role: "assistant", content: await write(response, said.words, byId("turns")) }];
  } finally {
    said.end();
  }
}

async function answer(model, given, address) {
  const task = TASKS[model.task];
  const response = await post(address, task.request(given, model.options));
  if (!response.ok) throw new Error(await reason(response));
  if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    const text = element("p", { class: "text", dir: "auto" }, element("span", { class: "hint" }, given.text));
    byId("answer").replaceChildren(text);
    return [{ generated_text: await write(response, text, byId("answer")) }];
  }
  const told = await response.json();
  byId("answer").replaceChildren(...task.show(told, given));
  return told;
}

async function ask() {
  const model = chosen();
  const address = new URL(`models/${encodeURIComponent(model.name)}`, document.baseURI).href;
  clear();
  const started = performance.now();
  const told = await (model.chat ? converse : answer)(model, values(), address);
  say(`Answered in ${Math.round(performance.now() - started)} ms.`);
  byId("json").textContent = JSON.stringify(told, null, 2);
  byId("json-details").hidden = false;
  if (!model.chat) byId("state").scrollIntoView({ block: "nearest" }); // below the form, on a phone
}

async function submitted(event) {
  event.preventDefault();
  if (!models.length) return load();
  if (asking) return asking.abort();
  const mine = new AbortController();
  asking = mine;
  byId("submit").textContent = "Stop";
  try {
    await ask();
  } catch (error) {
    if (error.name === "AbortError") say("Stopped.");
    else if (error instanceof TypeError) fail("The server cannot be reached. Is it running?");
    else fail(error.message);
  } finally {
    asking = null;
    byId("submit").textContent = taskOf(chosen()).verb ?? VERB;
  }
}

async function load() {
  try {
    const response = await fetch("models", { headers: headers() });
    if (response.status === 503) setTimeout(load, 1000); // it still loads its models, or is about to stop
    if (!response.ok) return fail(await reason(response));
    const told = await response.json();
    models = told.models.filter(({ task }) => task in TASKS);
    remember(byId("key").value);
  } catch {
    return fail("The server cannot be reached. Is it running?");
  }
  byId("error").hidden = true;
  byId("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (models.some(({ name }) => name === wanted)) byId("model").value = wanted;
  byId("model").disabled = false;
  byId("submit").disabled = false;
  showModel();
}

byId("ask").addEventListener("submit", submitted);
byId("submit").addEventListener("click", (event) => {
  if (!asking) return;
  event.preventDefault(); // a form with an empty field would not be submitted
  asking.abort();
});
byId("ask").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  const sends = event.target.id === "field-message" && !event.shiftKey;
  if (!sends && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  if (!asking) byId("ask").requestSubmit();
});
byId("restart").addEventListener("click", () => {
  asking?.abort();
  showModel();
  byId("field-message").focus();
});
byId("model").addEventListener("change", () => {
  history.replaceState(null, "", `#${encodeURIComponent(byId("model").value)}`);
  showModel();
});
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    // Only https and localhost may write to the clipboard: the text is selected instead.
    getSelection().selectAllChildren(byId("curl"));
    byId("copy").textContent = "Press Ctrl C";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
});

byId("key").value = remembered();
byId("key-field").hidden = !byId("key").value;
load();
