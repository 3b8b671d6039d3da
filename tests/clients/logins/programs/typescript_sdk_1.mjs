// The TypeScript SDK 1.x, with the login that it brings. `client_metadata_url` makes it use CIMD.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { converse, given, makeProvider, openCallback, textOf, TOOL } from "./talking.mjs";

const load = (path) => import(pathToFileURL(join(given.package, "dist", "esm", path)).href);
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { UnauthorizedError } = await load("client/auth.js");

const callback = await openCallback();
const more = given.client_metadata_url ? { clientMetadataUrl: given.client_metadata_url } : {};
const authProvider = makeProvider(callback, "TypeScript SDK 1", more);

await converse(async () => {
  for (;;) {
    const client = new Client({ name: "fluidmcp-tests", version: "1.0.0" }, { capabilities: {} });
    const transport = new StreamableHTTPClientTransport(new URL(given.url), { authProvider });
    try {
      await client.connect(transport);
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth((await callback.wait()).get("code"));
      continue;
    }
    return {
      call: async () => textOf(await client.callTool({ name: TOOL, arguments: {} })),
      close: () => client.close(),
    };
  }
});
