"""A small MCP server that tells with what it was started: `report` answers with its arguments, environment and folder.

tests/configurations gives it the names of programs that real files start (`npx`, `uvx`, `docker`, ...). Its other tools
answer with their own name, and `hang` never does. With `--never-ready` among its arguments it answers nothing at all.
"""

import json
import os
import sys

TOOLS = ("report", "read_file", "write_file", "delete_file", "list_files", "search", "hang")


def describe_start() -> str:
    started = {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}
    return json.dumps(started)


def build_result(method: str, params: dict[str, object]) -> dict[str, object] | None:
    """The result of a request; None: it stays without an answer."""
    match method:
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "probe", "version": "1"},
            }
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
        case "tools/call":
            name = str(params["name"])
            if name == "hang":
                return None
            return {"content": [{"type": "text", "text": describe_start() if name == "report" else name}]}
        case _:
            return {}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message or "method" not in message or "--never-ready" in sys.argv:
            continue
        result = build_result(message["method"], message.get("params", {}))
        if result is not None:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


if __name__ == "__main__":
    main()
