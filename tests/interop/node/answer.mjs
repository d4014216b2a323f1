// Answers a job with transformers.js, from a folder and nothing else: JSON comes in and goes out.
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const { folder, task, dtype, inputs, options } = JSON.parse(readFileSync(0, "utf8"));

env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
env.useFSCache = false;

// The task "generate" is no pipeline: prompts become tokens, padded on the left as a pipeline would.
const generates = task === "generate";
// On x86 CPUs without VNNI, sums of 8-bit products saturate unless a session is told otherwise, as torchless does.
const session_options = { extra: { session: { x64quantprecision: "1" } } };
const pipe = await pipeline(generates ? "text-generation" : task, basename(folder), { dtype, session_options });

function generate(prompts) {
  pipe.tokenizer.padding_side = "left";
  return pipe.model.generate({ ...pipe.tokenizer(prompts, { padding: true }), ...options });
}

const outputs = [];
for (const input of inputs) {
  const output = await (generates ? generate(input) : pipe(input, options));
  outputs.push(output.tolist?.() ?? output);
}
console.log(JSON.stringify(outputs, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
