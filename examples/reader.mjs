#!/usr/bin/env node
// Node and Electron: reads the events line by line while the recording goes on; warnings and errors come on the
// inherited standard error as well. Ends with the parent: when this process goes away, the closed pipes end the
// recorder too.
//   node reader.mjs [rec-stt options], for instance: node reader.mjs --input talk.wav
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const program = process.env.REC_STT ?? "rec-stt";
const child = spawn(program, ["progressive-record", "--stdin-control", ...process.argv.slice(2)], {
  stdio: ["pipe", "pipe", "inherit"],
});
child.on("close", (code) => { process.exitCode = code ?? 1; });
process.on("SIGINT", () => child.stdin.end("stop\n")); // finish: the rest of the text still comes

for await (const line of createInterface({ input: child.stdout })) {
  const event = JSON.parse(line);
  if (event.type === "chunk" && event.text) console.log(`[${event.index}] ${event.text}`);
  else if (event.type === "done") console.log(`${event.reason}: ${event.full_text}`);
}
