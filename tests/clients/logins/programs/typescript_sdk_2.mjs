// The TypeScript SDK 2.x, with the login that it brings. `client_metadata_url` makes it use CIMD.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { converse, given, makeProvider, openCallback, textOf, TOOL } from "./talking.mjs";

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = await import(
  pathToFileURL(join(given.package, "dist", "index.mjs")).href
);

const callback = await openCallback();
const more = given.client_metadata_url ? { clientMetadataUrl: given.client_metadata_url } : {};
const authProvider = makeProvider(callback, "TypeScript SDK 2", more);

await converse(async () => {
  for (;;) {
    const client = new Client(
      { name: "fluidmcp-tests", version: "1.0.0" },
      { capabilities: {}, versionNegotiation: { mode: given.mode } },
    );
    const transport = new StreamableHTTPClientTransport(new URL(given.url), { authProvider });
    try {
      await client.connect(transport);
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth(await callback.wait());
      continue;
    }
    return {
      call: async () => textOf(await client.callTool({ name: TOOL, arguments: {} })),
      close: () => client.close(),
    };
  }
});
