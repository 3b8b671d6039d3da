// The TypeScript SDK 2.x, in the handshake era (`legacy`) or in the one that it finds out (`auto`).
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { NAME, run, takeSteps } from "./steps.mjs";

run(async (url, given) => {
  const { Client, StreamableHTTPClientTransport } = await import(
    pathToFileURL(join(given.package, "dist", "index.mjs")).href
  );
  const client = new Client(
    { name: "fluidmcp-tests", version: "1.0.0" },
    { capabilities: { elicitation: {} }, versionNegotiation: { mode: given.mode } },
  );
  client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: NAME } }));
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  try {
    return await takeSteps(client, client.getNegotiatedProtocolVersion(), (name, toolArguments, options) =>
      client.callTool({ name, arguments: toolArguments }, options),
    );
  } finally {
    await transport.terminateSession();
    await client.close();
  }
});
