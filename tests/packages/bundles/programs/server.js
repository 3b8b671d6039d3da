// A server in a bundle: its one tool says what it was started with, and what its bundled dependency says.
const readline = require("node:readline");
const forecast = require("forecast");

const send = (id, result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    const serverInfo = { name: "weather", version: "1.2.0" };
    send(id, { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo });
  } else if (method === "tools/list") {
    send(id, { tools: [{ name: "report", inputSchema: { type: "object" } }] });
  } else if (method === "tools/call") {
    const said = { forecast: forecast.say(), arguments: process.argv.slice(2), key: process.env.WEATHER_KEY ?? null };
    send(id, { content: [{ type: "text", text: JSON.stringify(said) }] });
  }
});
