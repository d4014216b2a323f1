// The playground: what each task asks for, what is sent, and how its answer reads best.

const byId = (id) => document.getElementById(id);
const HUES = 6;
const LARGEST_STRIP = 2048;

let models = [];
let asking = null;

// ---- Elements ----

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function field({ name, label, rows, hint, type = "text", value = "", optional = false, ...limits }) {
  const id = `field-${name}`;
  const shared = { id, name, required: !optional, "aria-describedby": hint && `${id}-hint` };
  const control = rows
    ? element("textarea", { ...shared, rows })
    : element("input", { ...shared, type, autocomplete: "off", ...limits });
  if (type === "checkbox") control.checked = value;
  else control.value = value;
  const named = element("label", { for: id }, label);
  const parts = type === "checkbox" ? [control, named] : [named, control];
  if (hint) parts.push(element("p", { class: "hint", id: `${id}-hint` }, hint));
  return element("div", { class: type === "checkbox" ? "field choice" : "field" }, ...parts);
}

// ---- Answers ----

const percent = (score) => `${(100 * score).toFixed(1)} %`;
const number = (value) => value.toPrecision(3);

function bars(rows, { format = percent, least = 0, most = 1, ranked = true } = {}) {
  const list = element("ol", { class: ranked ? "bars ranked" : "bars" });
  for (const { label, score } of rows) {
    const bar = element("div", { class: "bar" });
    const share = most > least ? (score - least) / (most - least) : 1;
    bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    list.append(
      element(
        "li", {},
        element("span", {}, label),
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
  const read = element("p", { class: "text" });
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

const flat = (answer) => (Array.isArray(answer) && Array.isArray(answer[0]) ? flat(answer[0]) : answer);
const first = (answer) => (Array.isArray(answer) ? first(answer[0]) : answer);
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const labelled = (answer) => flat(answer).map(({ label, score }) => ({ label, score }));

function ranking(rows) {
  const outside = rows.some(({ score }) => score < 0 || score > 1);
  if (!outside) return bars(rows);
  const scores = rows.map(({ score }) => score);
  return bars(rows, { format: number, least: Math.min(0, ...scores), most: Math.max(...scores) });
}

function fillings(answer) {
  const masks = Array.isArray(answer[0]) ? answer : [answer];
  return masks.flatMap((one, index) => {
    const list = bars(one.map(({ token_str: label, score }) => ({ label: label.trim() || "␣", score })));
    return masks.length > 1 ? [element("h3", {}, `Mask ${index + 1}`), list] : [list];
  });
}

function entities(answer, { text }) {
  const kinds = [...new Set(answer.map((one) => one.entity_group ?? one.entity))];
  const spans = answer.map((one) => {
    const label = one.entity_group ?? one.entity;
    return { start: one.start, stop: one.end, label, hue: kinds.indexOf(label) % HUES };
  });
  const rows = answer.map((one) => ({ label: `${one.word} – ${one.entity_group ?? one.entity}`, score: one.score }));
  if (!rows.length) return [marked(text, []), element("p", { class: "hint" }, "Nothing was found in this text.")];
  return [marked(text, spans), element("h3", {}, "Scores"), bars(rows, { ranked: false })];
}

function found(answer, { context }) {
  const { answer: words, start, end, score } = first(answer);
  const best = element("p", { class: "best" }, words || "There is no answer in this text.");
  const spans = words ? [{ start, stop: end, hue: 0 }] : [];
  return [best, element("p", { class: "hint" }, `Score: ${percent(score)}`), marked(context, spans)];
}

function embedded(answer, { text, other }) {
  const vectors = answer.map((one) => flat(one));
  const made = [];
  if (vectors.length > 1) {
    const likeness = cosine(vectors[0], vectors[1]);
    made.push(element("p", { class: "best" }, `Similarity ${likeness.toFixed(3)}`));
    made.push(bars([{ label: "cosine, from -1 to 1", score: likeness }], { format: (value) => value.toFixed(3), least: -1 }));
  }
  vectors.forEach((vector, index) => {
    made.push(element("h3", {}, `${[text, other][index]}`), strip(vector));
    made.push(element("p", { class: "hint" }, `${vector.length} numbers: ${vector.slice(0, 4).map(number).join(", ")}, …`));
  });
  return made;
}

const written = (key) => (answer) => [element("p", { class: "text" }, first(answer)[key])];

// ---- Tasks: the fields, what is sent, and what is shown ----

const TEXT = { name: "text", label: "Text", rows: 5 };
const LENGTH = { name: "max_new_tokens", label: "Tokens to write, at most", type: "number", value: 64, min: 1, max: 4096 };
const textAlone = ({ text }) => ({ inputs: text });
const writes = (key) => ({
  fields: [TEXT, LENGTH],
  example: (one) => ({ text: one }),
  request: ({ text, max_new_tokens }) => ({ inputs: text, parameters: { max_new_tokens } }),
  show: written(key),
});

const TASKS = {
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
    fields: [{ name: "question", label: "Question" }, { name: "context", label: "Text that holds the answer", rows: 6 }],
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
      { name: "multi_label", label: "Several may hold", type: "checkbox", value: false, optional: true },
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
    fields: [{ ...TEXT, rows: 3 }, { name: "other", label: "Text to compare it with, if you like", rows: 3, optional: true }],
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
      { name: "temperature", label: "Temperature", type: "number", value: 0.7, min: 0, max: 5, step: 0.1, hint: "0 always takes the likeliest token." },
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

// ---- The form ----

const chosen = () => models.find(({ name }) => name === byId("model").value);

function values() {
  const given = {};
  for (const control of byId("fields").querySelectorAll("input, textarea")) {
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

function showModel() {
  const model = chosen();
  const task = TASKS[model.task];
  asking?.abort();
  clear();
  say("Write something, or try an example.");
  const limit = model.max_input_tokens ? `, up to ${model.max_input_tokens} tokens` : "";
  byId("about").textContent = `${model.task}, ${model.dtype}${limit}`;
  const long = task.fields.filter(({ type }) => !type);
  const brief = task.fields.filter(({ type }) => type);
  const made = long.map(field);
  if (brief.length) made.push(element("div", { class: "short" }, ...brief.map(field)));
  byId("fields").replaceChildren(...made);
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

const say = (words) => { byId("state").textContent = words; };

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

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function command(address, body) {
  const parts = [`curl ${body.stream ? "-N " : ""}${quoted(address)}`, "-H 'Content-Type: application/json'"];
  if (byId("key").value) parts.push('-H "Authorization: Bearer $TORCHLESS_API_KEY"');
  return [...parts, `-d ${quoted(JSON.stringify(body))}`].join(" \\\n  ");
}

function headers() {
  const key = byId("key").value;
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function reason(response) {
  const body = await response.json().catch(() => ({}));
  const told = [body.error?.message ?? body.error ?? body.message ?? body.detail, body.hint];
  const words = told.filter((one) => typeof one === "string").join(" ") || `The server answered with status ${response.status}.`;
  if (response.status === 401 || response.status === 403) {
    byId("key-field").hidden = false;
    byId("submit").disabled = false;
    return `${words} Give the API key in the form.`;
  }
  const wait = response.headers.get("Retry-After");
  return wait ? `${words} Try again in ${wait} s.` : words;
}

async function* events(response) {
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n/);
    rest = parts.pop();
    for (const line of parts) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function stream(response, prompt) {
  const text = element("p", { class: "text working" }, element("span", { class: "hint" }, prompt));
  byId("answer").setAttribute("aria-busy", "true"); // read out once, when it is whole
  byId("answer").replaceChildren(text);
  let whole = "";
  try {
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message ?? event.error);
      const piece = event.token && !event.token.special ? event.token.text : "";
      whole += piece;
      text.append(piece);
    }
  } finally {
    text.classList.remove("working");
    byId("answer").removeAttribute("aria-busy");
  }
  return [{ generated_text: whole }];
}

async function ask() {
  const model = chosen();
  const task = TASKS[model.task];
  const given = values();
  const body = task.request(given, model.options);
  const address = new URL(`models/${encodeURIComponent(model.name)}`, document.baseURI).href;
  clear();
  byId("curl").textContent = command(address, body);
  byId("curl-details").hidden = false;
  say("Working …");
  const started = performance.now();
  const response = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify(body),
    signal: asking.signal,
  });
  if (!response.ok) return fail(await reason(response));
  let answer;
  if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    answer = await stream(response, given.text);
  } else {
    answer = await response.json();
    byId("answer").replaceChildren(...task.show(answer, given));
  }
  say(`Answered in ${Math.round(performance.now() - started)} ms.`);
  byId("json").textContent = JSON.stringify(answer, null, 2);
  byId("json-details").hidden = false;
  byId("state").scrollIntoView({ block: "nearest" }); // below the form, on a phone
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
    byId("submit").textContent = "Answer";
  }
}

async function load() {
  try {
    const response = await fetch("models", { headers: headers() });
    if (!response.ok) return fail(await reason(response));
    const told = await response.json();
    models = told.models.filter(({ task }) => task in TASKS);
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
byId("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
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

load();
