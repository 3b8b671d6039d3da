// What the drivers in JavaScript share; the same conversation as in talking.py.
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

export const TOOL = "whoami";
export const given = JSON.parse(process.argv[2]);
export const say = (event, values) => console.log(JSON.stringify({ event, ...values }));

/** The redirect URI of a program on this machine; `wait()` gives the parameters that the browser brings. */
export async function openCallback() {
  const answers = [];
  const waiting = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    response.end();
    if (url.pathname !== "/callback") return;
    const waiter = waiting.shift();
    if (waiter) waiter(url.searchParams);
    else answers.push(url.searchParams);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://localhost:${server.address().port}/callback`,
    wait: () => (answers.length ? Promise.resolve(answers.shift()) : new Promise((resolve) => waiting.push(resolve))),
  };
}

/** An OAuthClientProvider of the SDKs that knows its login as long as it runs. */
export function makeProvider(callback, name, more = {}) {
  const known = {};
  return {
    get redirectUrl() {
      return callback.url;
    },
    get clientMetadata() {
      return {
        client_name: name,
        redirect_uris: [callback.url],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
      };
    },
    state: () => crypto.randomUUID(),
    clientInformation: () => known.client,
    saveClientInformation: (client) => void (known.client = client),
    tokens: () => known.tokens,
    saveTokens: (tokens) => void (known.tokens = tokens),
    redirectToAuthorization: (url) => say("open", { url: String(url) }),
    saveCodeVerifier: (verifier) => void (known.verifier = verifier),
    codeVerifier: () => known.verifier,
    ...more,
  };
}

/** Calls the tool once, and again at each order. `connect()` gives `{ call, close }`. */
export async function converse(connect) {
  const orders = createInterface(process.stdin)[Symbol.asyncIterator]();
  let connection;
  let order = { do: "call" };
  while (order?.do === "call") {
    const failures = [];
    while (failures.length < 2) {
      try {
        connection ??= await connect();
        say("called", { text: await connection.call() });
        break;
      } catch (error) {
        failures.push(String(error?.stack ?? error));
        await connection?.close().catch(() => {});
        connection = undefined;
      }
    }
    if (failures.length === 2) {
      say("failed", { text: failures.join(" / ") });
      process.exit(1);
    }
    const { value } = await orders.next();
    order = value && JSON.parse(value);
  }
  await connection?.close().catch(() => {});
  process.exit(0);
}

/** The text of a tool's answer. */
export const textOf = (answer) => answer.content.map((part) => part.text ?? "").join("");
