// What the driver programs in JavaScript share; the same steps as in steps.py.
// Usage: node PROGRAM '{"urls": {"dual": "http://…"}, "mode": "legacy", "package": "/folder/of/the/package"}'
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

export const TEXT = "Grüße, 世界";
export const NAME = "Ada";
const STEP_LIMIT_MILLISECONDS = 45_000;

/** Text of a tool's answer. */
export const textOf = (answer) => answer.content.map((part) => part.text ?? "").join("");

/** What the step gives, or the text of its failure: one that fails must not hide the others. */
export async function take(step) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the time is over")), STEP_LIMIT_MILLISECONDS);
  });
  try {
    return await Promise.race([step(), limit]);
  } catch (error) {
    return `failed: ${error}`;
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `wait_for_cancel` by `call(arguments, signal)` and aborts once the server is in it. What the server saw. */
export async function cancelWhileRunning(call) {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const controller = new AbortController();
  try {
    const connected = once(server, "connection");
    const answered = call({ port: server.address().port }, controller.signal).then(
      (answer) => `answered before it was cancelled: ${textOf(answer)}`,
      (error) => `failed before it was cancelled: ${error}`,
    );
    const first = await Promise.race([connected, answered]);
    if (typeof first === "string") return first;
    const lines = createInterface(first[0])[Symbol.asyncIterator]();
    await lines.next(); // "started"
    controller.abort();
    const { value } = await lines.next();
    await answered;
    return value ?? "connection closed";
  } finally {
    server.close();
  }
}

/** Lists and calls the tools of a connected client; `call(tool, arguments, options)` is its way to call one. */
export async function takeSteps(client, protocol, call) {
  let progress = 0;
  const onprogress = () => (progress += 1);
  const { tools } = await client.listTools();
  const echo = await take(async () => textOf(await call("echo", { text: TEXT })));
  await take(() => call("test_tool_with_progress", {}, { onprogress }));
  const elicitation = await take(async () => textOf(await call("test_input_required_result_elicitation", {})));
  const cancelled = await take(() => cancelWhileRunning((given, signal) => call("wait_for_cancel", given, { signal })));
  return { protocol, tools: tools.length, echo, progress, elicitation, cancelled };
}

/** Talks to each of the servers at once, prints the conversations as one JSON object. */
export async function run(talk) {
  const given = JSON.parse(process.argv[2]);
  const talks = Object.entries(given.urls).map(async ([name, url]) => {
    const seen = await talk(new URL(url), given).catch((error) => ({ failed: String(error) }));
    return [name, seen];
  });
  process.stdout.write(JSON.stringify(Object.fromEntries(await Promise.all(talks))));
}
