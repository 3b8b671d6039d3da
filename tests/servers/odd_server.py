"""A server whose tools and answers are valid JSON and nonsense as MCP, on the standard library."""

import json
import sys
from typing import Any

Json = dict[str, Any]

ODD: Json = {"toString": 1}
NAMES: Json = {"properties": {"__proto__": {"type": "string", "enumNames": ODD}, "a": None, "b": {"oneOf": [None]}}}
HEADER: Json = {"properties": {"a": {"type": "string", "default": "v", "x-mcp-header": "no\r\nName: x"}}}
TOOLS: list[Json] = [
    {"name": "good", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "described", "description": ODD, "inputSchema": {"type": "object", **NAMES}},
    {"name": "repeated", "inputSchema": {"type": "object", **HEADER}},
    {"name": ODD, "inputSchema": None},
]
CONTENT: list[object] = [
    {"type": "text", "text": ODD},
    {"type": "image", "data": 5, "mimeType": ODD},
    {"type": "resource", "resource": {"uri": ODD, "text": "x"}},
    {"type": "resource_link", "uri": ODD, "name": ODD},
    None,
    {"type": "text", "text": "last"},
]
RESULTS: dict[str, Json] = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "odd", "version": "1"},
    },
    "tools/list": {"tools": TOOLS},
    "tools/call": {"content": CONTENT},
}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = RESULTS.get(message["method"])
        kind: Json = {"result": result} if result else {"error": {"code": -32601, "message": "There is none."}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **kind}), flush=True)


main()
