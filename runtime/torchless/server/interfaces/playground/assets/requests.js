// The headers of requests, the errors and events of responses, and the API key.

import { byId } from "./elements.js";

const KEY = "torchless-key";

// The browser keeps the key until the tab is closed, if it allows storage.
export function remember(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // The page asks for the key again.
  }
}

export function remembered() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function command(address, body) {
  const parts = [`curl ${body.stream ? "-N " : ""}${quoted(address)}`, "-H 'Content-Type: application/json'"];
  if (byId("key").value) parts.push('-H "Authorization: Bearer $TORCHLESS_API_KEY"');
  return [...parts, `-d ${quoted(JSON.stringify(body))}`].join(" \\\n  ");
}

export function headers() {
  const key = byId("key").value;
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export async function reason(response) {
  const body = await response.json().catch(() => ({}));
  const details = [body.error?.message ?? body.error ?? body.message ?? body.detail, body.hint];
  const words = details.filter((part) => typeof part === "string").join(" ") || `The server answered with status ${response.status}.`;
  if (response.status === 401 || response.status === 403) {
    remember("");
    byId("key-field").hidden = false;
    byId("submit").disabled = false;
    return `${words} Give the API key in the form.`;
  }
  const wait = response.headers.get("Retry-After");
  return wait ? `${words} Try again in ${wait} s.` : words;
}

export async function* events(response) {
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
