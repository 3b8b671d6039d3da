"""`echo.c` in Python, for machines without gcc: the same answers, at a higher price.

python echo.py [both]
"""

import json
import sys
from typing import Any, Final

KEPT: Final = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public"}
SCHEMA: Final = {
    "type": "object",
    "properties": {"message": {"type": "string"}, "steps": {"type": "integer"}},
    "required": ["message"],
}
TOOLS: Final = [{"name": name, "description": "Gives back.", "inputSchema": SCHEMA} for name in ("echo", "progress")]
SERVER: Final[dict[str, Any]] = {"capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "1"}}


def answer(method: str, params: dict[str, Any], *, knows_discover: bool) -> dict[str, Any] | None:
    """The result; None for a method that does not exist."""
    match method:
        case "tools/call":
            text = params.get("arguments", {}).get("message", "")
            return {"content": [{"type": "text", "text": text}], "isError": False, "resultType": "complete"}
        case "initialize":
            asked = params.get("protocolVersion", "2026-07-28")
            return {"protocolVersion": "2025-11-25" if asked == "2026-07-28" else asked, **SERVER}
        case "tools/list":
            return {"tools": TOOLS, **KEPT}
        case "server/discover" if knows_discover:
            return {"supportedVersions": ["2026-07-28"], **SERVER, **KEPT}
        case "ping":
            return {}
        case _:
            return None


def report_progress(params: dict[str, Any]) -> list[dict[str, Any]]:
    token, steps = params.get("_meta", {}).get("progressToken"), params.get("arguments", {}).get("steps", 0)
    if params.get("name") != "progress" or token is None:
        return []
    told = ({"progressToken": token, "progress": step, "total": steps} for step in range(1, steps + 1))
    return [{"jsonrpc": "2.0", "method": "notifications/progress", "params": params} for params in told]


def main(*, knows_discover: bool) -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        params = message.get("params", {})
        result = answer(message["method"], params, knows_discover=knows_discover)
        last = {"error": {"code": -32601, "message": "Method not found"}} if result is None else {"result": result}
        lines = [*report_progress(params), {"jsonrpc": "2.0", "id": message["id"], **last}]
        sys.stdout.write("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in lines))
        sys.stdout.flush()


if __name__ == "__main__":
    main(knows_discover="both" in sys.argv[1:])
