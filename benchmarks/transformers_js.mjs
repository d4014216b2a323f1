// transformers.js as a peer: the protocol of worker.py in Node.
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { folder, dtype, threads, packages } = JSON.parse(process.argv[2]);
const send = (reply) => process.stdout.write(JSON.stringify(reply) + "\n");

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
  send({ error: String(error) });
  process.exit(1);
}
send({ load_ms: performance.now() - start });

for await (const line of createInterface({ input: process.stdin })) {
  const { inputs, repeats, warm_up, answers } = JSON.parse(line);
  try {
    for (const input of warm_up) await pipe(input);
    const reply = answers ? { answers: [] } : { times_ms: [] };
    for (let round = 0; round < (answers ? 1 : repeats); round++) {
      for (const input of inputs) {
        const begin = performance.now();
        const answer = await pipe(input);
        answers ? reply.answers.push(answer) : reply.times_ms.push(performance.now() - begin);
      }
    }
    send({ ...reply, peak_bytes: 1024 * process.resourceUsage().maxRSS });
  } catch (error) {
    send({ error: String(error) });
  }
}
