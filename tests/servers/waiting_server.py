"""An MCP server whose one tool, `wait {path}`, answers with what somebody writes into the named pipe at `path`.

On the standard library. Each call waits in a thread of its own; whoever opens the pipe to write knows by that that the
call has come.
"""

import json
import sys
import threading

WRITING = threading.Lock()


def answer(request_id: object, result: dict[str, object]) -> None:
    with WRITING:
        print(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}), flush=True)


def wait(request_id: object, path: str) -> None:
    with open(path, encoding="utf-8") as pipe:
        text = pipe.read()
    answer(request_id, {"content": [{"type": "text", "text": text}]})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        match message.get("method"):
            case "initialize":
                capabilities: dict[str, object] = {"tools": {}}
                info = {"name": "waiting", "version": "1"}
                version = message["params"]["protocolVersion"]
                answer(message["id"], {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})
            case "tools/call":
                path = message["params"]["arguments"]["path"]
                threading.Thread(target=wait, args=(message["id"], path), daemon=True).start()
            case _ if "id" in message:
                answer(message["id"], {})
            case _:
                pass


main()
