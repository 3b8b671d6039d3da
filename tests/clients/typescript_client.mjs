// Drives the official TypeScript client: connects, lists the tools, calls one, closes.
// Usage: node typescript_client.mjs <folder of the SDK> <url> <tool> <arguments as JSON> [bearer token]
// Writes one JSON object to stdout: what the server said.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, url, tool, toolArguments, token] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(sdk, "dist", "esm", "client", path)).href);
const { Client } = await load("index.js");
const { StreamableHTTPClientTransport } = await load("streamableHttp.js");

const headers = token ? { Authorization: `Bearer ${token}` } : {};
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
const client = new Client({ name: "fluidmcp-tests", version: "1.0.0" });
await client.connect(transport);
const { tools } = await client.listTools();
const answer = await client.callTool({ name: tool, arguments: JSON.parse(toolArguments) });
await transport.terminateSession();
await client.close();

console.log(
  JSON.stringify({
    server: client.getServerVersion()?.name ?? "",
    tools: tools.map(({ name }) => name),
    text: answer.content.map((part) => part.text ?? "").join("\n"),
    is_error: answer.isError ?? false,
  }),
);
