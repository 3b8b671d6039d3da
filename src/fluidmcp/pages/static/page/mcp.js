// An MCP client of revision 2026-07-28 over fetch: each request stands for itself, questions are answered by a retry.

const VERSION = "2026-07-28";
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_ROUNDS = 20;
const MAX_PAGES = 50;
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/;
const PREFIX = "io.modelcontextprotocol/";

export class McpFailed extends Error {
  constructor(message, { status = 0, details = null } = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** As "Value Encoding" has it: what no header may hold, or what could be taken for the encoding, goes in base64. */
function encodeHeader(text) {
  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !(text.startsWith("=?base64?") && text.endsWith("?="))) {
    return text;
  }
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return `=?base64?${btoa(binary)}?=`;
}

/** The headers that repeat arguments of a tool (`x-mcp-header` in its schema). */
function headersOf(schema, value, found = {}) {
  for (const [name, property] of Object.entries(schema?.properties ?? {})) {
    const argument = value?.[name];
    if (argument === undefined || argument === null || typeof property !== "object" || property === null) continue;
    const header = property["x-mcp-header"];
    if (typeof header === "string" && typeof argument !== "object") {
      if (HEADER_NAME.test(header)) found[`Mcp-Param-${header}`] = encodeHeader(String(argument));
    }
    if (typeof argument === "object") headersOf(property, argument, found);
  }
  return found;
}

export class McpClient {
  #lastId = 0;

  /** `credentials()` gives the headers that say who calls; `renew()` is called once where these are refused. */
  constructor(address, credentials, renew) {
    this.address = address;
    this.credentials = credentials;
    this.renew = renew;
  }

  async listTools(signal) {
    const tools = [];
    let cursor;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const result = await this.request("tools/list", cursor === undefined ? {} : { cursor }, { signal });
      tools.push(...(Array.isArray(result.tools) ? result.tools : []));
      cursor = result.nextCursor;
      if (typeof cursor !== "string" || cursor === "") return tools;
    }
    return tools;
  }

  /** The result of a call. `ask(questions)` gives an answer to each question of the server, by its key. */
  async callTool(tool, argumentsOfCall, { signal, onProgress, ask }) {
    const headers = { "Mcp-Name": encodeHeader(tool.name), ...headersOf(tool.inputSchema, argumentsOfCall) };
    let answers = {};
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const params = { name: tool.name, arguments: argumentsOfCall, ...answers };
      const result = await this.request("tools/call", params, { signal, onProgress, headers });
      if (result.resultType !== "input_required") return result;
      answers = { inputResponses: await ask(result.inputRequests ?? {}) };
      if (typeof result.requestState === "string") answers.requestState = result.requestState;
    }
    throw new McpFailed(`The server asked more than ${MAX_ROUNDS} times.`);
  }

  async request(method, params, { signal, onProgress, headers = {} } = {}) {
    let response = await this.#send(method, params, headers, signal);
    if (response.status === 401 && this.renew) {
      await this.renew();
      response = await this.#send(method, params, headers, signal);
    }
    const message = await this.#readAnswer(response, onProgress);
    if (message.error !== undefined && message.error !== null) {
      const shown = typeof message.error === "string" ? message.message : message.error.message;
      throw new McpFailed(typeof shown === "string" && shown ? shown : "The server refused.", { status: response.status, details: message.error });
    }
    if (typeof message.result !== "object" || message.result === null) {
      throw new McpFailed("The answer has no result.", { status: response.status });
    }
    return message.result;
  }

  async #send(method, params, headers, signal) {
    this.#lastId += 1;
    const meta = {
      [`${PREFIX}protocolVersion`]: VERSION,
      [`${PREFIX}clientInfo`]: { name: "fluidmcp-page", version: "1" },
      [`${PREFIX}clientCapabilities`]: { elicitation: { form: {}, url: {} } },
      progressToken: this.#lastId,
    };
    const credentials = await this.credentials();
    try {
      return await fetch(this.address, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Accept: "application/json, text/event-stream",
          "MCP-Protocol-Version": VERSION,
          "Mcp-Method": method,
          ...headers,
          ...credentials,
        },
        body: JSON.stringify({ jsonrpc: "2.0", id: this.#lastId, method, params: { ...params, _meta: meta } }),
        credentials: "omit",
        cache: "no-store",
        signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new McpFailed("The gateway cannot be reached.");
    }
  }

  async #readAnswer(response, onProgress) {
    const isStream = (response.headers.get("content-type") ?? "").startsWith("text/event-stream");
    if (!isStream) {
      let text = "";
      for await (const piece of readText(response)) text += piece;
      return parse(text, response.status);
    }
    let pieces = [];
    let answer = null;
    for await (const piece of readText(response)) {
      pieces.push(piece);
      // An event may be megabytes in one line: looked at when a line ends, not at each piece of it.
      if (!piece.includes("\n")) continue;
      const events = pieces.join("").split(/\r?\n\r?\n/);
      pieces = [events.pop()];
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).replace(/^ /, "")).join("\n");
        if (data === "") continue;
        const message = parse(data, response.status);
        if (message.method === "notifications/progress") onProgress?.(message.params ?? {});
        else if (message.method === undefined) answer = message;
      }
    }
    if (answer !== null) return answer;
    throw new McpFailed("The stream ended before the answer came.", { status: response.status });
  }
}

async function* readText(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let size = 0;
  let isOver = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isOver = done;
      if (done) break;
      size += value.byteLength;
      if (size > MAX_ANSWER_BYTES) {
        throw new McpFailed(`The answer has more than ${MAX_ANSWER_BYTES / 1024 / 1024} MB, so it is not shown here.`);
      }
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    if (!isOver) reader.cancel().catch(() => {});
  }
}

function parse(text, status) {
  try {
    const message = JSON.parse(text);
    if (typeof message === "object" && message !== null) return message;
  } catch {
    // Said below.
  }
  throw new McpFailed(`The answer cannot be read (HTTP ${status}).`, { status });
}
