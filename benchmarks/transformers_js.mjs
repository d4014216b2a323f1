// transformers.js as a peer: what worker.py says, in Node.
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { folder, dtype, threads, packages } = JSON.parse(process.argv[2]);
const say = (reply) => process.stdout.write(JSON.stringify(reply) + "\n");

const start = performance.now();
let pipe;
try {
  const library = createRequire(packages + "/").resolve("@huggingface/transformers");
  const { env, pipeline } = await import(pathToFileURL(library));
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  env.useFSCache = false;
  const session_options = { intraOpNumThreads: threads };
  pipe = await pipeline("text-classification", basename(folder), { dtype, session_options });
} catch (error) {
  say({ error: String(error) });
  process.exit(1);
}
say({ load_ms: performance.now() - start });

for await (const line of createInterface({ input: process.stdin })) {
  const { inputs, repeats, warm_up, answers } = JSON.parse(line);
  try {
    for (const one of warm_up) await pipe(one);
    const reply = answers ? { answers: [] } : { times_ms: [] };
    for (let round = 0; round < (answers ? 1 : repeats); round++) {
      for (const one of inputs) {
        const before = performance.now();
        const answer = await pipe(one);
        answers ? reply.answers.push(answer) : reply.times_ms.push(performance.now() - before);
      }
    }
    say({ ...reply, peak_bytes: 1024 * process.resourceUsage().maxRSS });
  } catch (error) {
    say({ error: String(error) });
  }
}
