"""A server whose tools do nothing, on the standard library.

`python -I tests/servers/tool_server.py handshake | stateless`. Its tools are on two pages: `read` and `drop`, then
`ask` and `keep`. `drop` and `keep` have an argument that goes into a header (`Mcp-Param-Region`). A call is answered
with the name of its tool, whatever that is; `ask` asks the client first. `test/heard`: all lines read so far.
"""

import json
import sys
from typing import Any

Message = dict[str, Any]

ERA = sys.argv[1]
HEARD: list[str] = []
ASKED: dict[str, object] = {}
QUESTION: Message = {"message": "why?", "requestedSchema": {"type": "object", "properties": {}}}
HEADER: Message = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


def tool(name: str, schema: Message) -> Message:
    return {"name": name, "inputSchema": schema}


PLAIN: Message = {"type": "object"}
PAGES: dict[str | None, Message] = {
    None: {"tools": [tool("read", PLAIN), tool("drop", HEADER)], "nextCursor": "two", "more": 1.50},
    "two": {"tools": [tool("ask", PLAIN), tool("keep", HEADER)]},
}


def send(message: Message) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def reply(request_id: object, result: Message) -> None:
    send({"id": request_id, "result": {"resultType": "complete", **result} if ERA == "stateless" else result})


def call(request_id: object, params: Message) -> None:
    name = str(params.get("name"))
    if name.strip().lower() != "ask":
        reply(request_id, {"content": [{"type": "text", "text": name}]})
    elif ERA == "handshake":
        question_id = f"q{request_id}"
        ASKED[question_id] = request_id
        send({"id": question_id, "method": "elicitation/create", "params": QUESTION})
    elif "inputResponses" in params:
        reply(request_id, {"content": [{"type": "text", "text": "answered"}]})
    else:
        requests = {"q": {"method": "elicitation/create", "params": QUESTION}}
        result = {"resultType": "input_required", "inputRequests": requests, "requestState": "s"}
        send({"id": request_id, "result": result})


def handle_request(request_id: object, method: str, params: Message) -> None:
    capabilities: Message = {"tools": {}}
    match method, ERA:
        case "initialize", "handshake":
            info = {"name": "tools", "version": "1"}
            version = params["protocolVersion"]
            reply(request_id, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})
        case "server/discover", "stateless":
            reply(request_id, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities})
        case "tools/list", _:
            reply(request_id, PAGES[params.get("cursor")])
        case "tools/call", _:
            call(request_id, params)
        case "test/heard", _:
            reply(request_id, {"heard": HEARD})
        case _:
            send({"id": request_id, "error": {"code": -32601, "message": f"Method not found: {method}"}})


def main() -> None:
    for line in sys.stdin:
        HEARD.append(line)
        message: Message = json.loads(line)
        if "method" not in message:
            reply(ASKED.pop(message["id"]), {"content": [{"type": "text", "text": "answered"}]})
        elif "id" in message:
            handle_request(message["id"], message["method"], message.get("params", {}))


main()
