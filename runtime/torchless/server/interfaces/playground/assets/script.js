// The page: its form, its requests, and the list of the models.

import * as chat from "./chat.js";
import { byId, element, field } from "./elements.js";
import { command, events, headers, reason, remember, remembered } from "./requests.js";
import { TASKS } from "./tasks.js";

const VERB = "Answer";
const PAINT_MS = 50;
const UNREACHABLE = "The server cannot be reached. Is it running?";
const SHORTCUTS = [{ keys: ["Ctrl", "Enter"], does: "sends" }];

let models = [];
let request = null; // the AbortController of the running request

// ---- The form ----

const taskOf = (model) => TASKS[model.chat ? "chat" : model.task];
const chosen = () => models.find(({ name }) => name === byId("model").value);

function readForm() {
  const values = {};
  for (const control of byId("ask").querySelectorAll("[name]")) {
    if (control.type === "checkbox") values[control.name] = control.checked;
    else values[control.name] = control.type === "number" ? control.valueAsNumber : control.value;
  }
  return values;
}

function fillForm(values) {
  for (const [name, value] of Object.entries(values)) byId(`field-${name}`).value = value;
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
  request?.abort();
  clear();
  chat.restart();
  document.body.classList.toggle("chat", model.chat);
  byId("answer-title").textContent = model.chat ? "Last answer" : "Answer";
  byId("submit").textContent = task.verb ?? VERB;
  byId("keys").replaceChildren(...keysOf(task.shortcuts ?? SHORTCUTS));
  showState("Write something, or try an example.");
  byId("about").textContent = `${model.task}, ${model.dtype}, up to ${model.max_input_tokens} tokens`;
  byId("fields").replaceChildren(...controls(task.fields));
  byId("options").replaceChildren(...controls(task.options ?? []));
  byId("examples").replaceChildren(
    ...model.examples.map((example) => {
      const button = element("button", { type: "button", class: "quiet" }, short(example));
      button.addEventListener("click", () => {
        fillForm(task.example(example, model.options));
        byId("ask").requestSubmit();
      });
      return button;
    }),
  );
  byId("examples").hidden = !model.examples.length;
  if (model.examples.length) fillForm(task.example(model.examples[0], model.options));
}

// ---- Requests ----

function showState(words, { busy = false } = {}) {
  byId("state").textContent = words;
  byId("state").classList.toggle("busy", busy);
}

function clear() {
  byId("answer").replaceChildren();
  byId("error").hidden = true;
  byId("json-details").hidden = true;
  byId("curl-details").hidden = true;
}

function showError(words) {
  showState("");
  byId("error").textContent = words;
  byId("error").hidden = false;
  byId("error").scrollIntoView({ block: "nearest" });
}

// Shows a text while it is generated, and returns it. Pauses in the painting leave time for a click on Stop.
async function showStream(response, text, shown) {
  text.classList.add("working");
  shown.setAttribute("aria-busy", "true"); // a screen reader reads only the whole text
  let whole = "";
  let waiting = "";
  let painted = -Infinity;
  const paint = () => {
    const atEnd = shown.scrollHeight - shown.scrollTop - shown.clientHeight < 40;
    text.append(waiting);
    waiting = "";
    if (atEnd) shown.scrollTop = shown.scrollHeight;
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
  showState("Working …", { busy: true });
  return fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify(body),
    signal: request.signal,
  });
}

async function answerChat(model, values, address) {
  const body = TASKS.chat.request(values, model, chat.messages(values.system, values.message));
  const turn = chat.addTurn(values.message);
  try {
    const response = await post(`${address}/v1/chat/completions`, body);
    if (!response.ok) throw new Error(await reason(response));
    return [{ role: "assistant", content: await showStream(response, turn.words, byId("turns")) }];
  } finally {
    turn.end();
  }
}

async function answerTask(model, values, address) {
  const task = TASKS[model.task];
  const response = await post(address, task.request(values, model.options));
  if (!response.ok) throw new Error(await reason(response));
  if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    const text = element("p", { class: "text", dir: "auto" }, element("span", { class: "hint" }, values.text));
    byId("answer").replaceChildren(text);
    return [{ generated_text: await showStream(response, text, byId("answer")) }];
  }
  const answer = await response.json();
  byId("answer").replaceChildren(...task.show(answer, values));
  return answer;
}

async function ask() {
  const model = chosen();
  const address = new URL(`models/${encodeURIComponent(model.name)}`, document.baseURI).href;
  clear();
  const started = performance.now();
  const answer = await (model.chat ? answerChat : answerTask)(model, readForm(), address);
  showState(`Answered in ${Math.round(performance.now() - started)} ms.`);
  byId("json").textContent = JSON.stringify(answer, null, 2);
  byId("json-details").hidden = false;
  if (!model.chat) byId("state").scrollIntoView({ block: "nearest" }); // on a phone, the answer is below the form
}

async function submit(event) {
  event.preventDefault();
  if (!models.length) return load();
  if (request) return request.abort();
  request = new AbortController();
  byId("submit").textContent = "Stop";
  try {
    await ask();
  } catch (error) {
    if (error.name === "AbortError") showState("Stopped.");
    else if (error instanceof TypeError) showError(UNREACHABLE);
    else showError(error.message);
  } finally {
    request = null;
    byId("submit").textContent = taskOf(chosen()).verb ?? VERB;
  }
}

async function load() {
  try {
    const response = await fetch("models", { headers: headers() });
    if (response.status === 503) setTimeout(load, 1000); // the server is loading its models, or is about to stop
    if (!response.ok) return showError(await reason(response));
    models = (await response.json()).models.filter(({ task }) => task in TASKS);
    remember(byId("key").value);
  } catch {
    return showError(UNREACHABLE);
  }
  byId("error").hidden = true;
  byId("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  const fragment = decodeURIComponent(location.hash.slice(1));
  if (models.some(({ name }) => name === fragment)) byId("model").value = fragment;
  byId("model").disabled = false;
  byId("submit").disabled = false;
  showModel();
}

byId("ask").addEventListener("submit", submit);
byId("submit").addEventListener("click", (event) => {
  if (!request) return;
  event.preventDefault(); // the browser does not submit a form with an empty field
  request.abort();
});
byId("ask").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  const sends = event.target.id === "field-message" && !event.shiftKey;
  if (!sends && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  if (!request) byId("ask").requestSubmit();
});
byId("restart").addEventListener("click", () => {
  request?.abort();
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
    // Browsers allow the clipboard only for https and localhost, so the text is selected instead.
    getSelection().selectAllChildren(byId("curl"));
    byId("copy").textContent = "Press Ctrl C";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
});

byId("key").value = remembered();
byId("key-field").hidden = !byId("key").value;
load();
