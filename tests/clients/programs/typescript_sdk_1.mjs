// The TypeScript SDK 1.x (handshake era).
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { NAME, run, takeSteps } from "./steps.mjs";

run(async (url, given) => {
  const load = (path) => import(pathToFileURL(join(given.package, "dist", "esm", path)).href);
  const { Client } = await load("client/index.js");
  const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
  const { ElicitRequestSchema } = await load("types.js");

  const client = new Client({ name: "fluidmcp-tests", version: "1.0.0" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: NAME } }));
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  try {
    return await takeSteps(client, transport.protocolVersion, (name, toolArguments, options) =>
      client.callTool({ name, arguments: toolArguments }, undefined, options),
    );
  } finally {
    await transport.terminateSession();
    await client.close();
  }
});
