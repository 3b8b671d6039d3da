"""A small MCP server on the standard library: quick to start, and able to do what real servers do badly.

Run with `python -I tests/servers/stdlib_server.py [--die-at-start | --noise | --refuse]`. Its tools:

    echo {text}      the text                           env {}           names of its environment variables
    whoami {}        SHA-256 of GMAIL_ACCESS_TOKEN      count {}         how often it was called in this process
    die {}           the process ends without answer    progress {steps} progress notifications, then "done"
    hang {}          no answer, until cancelled         ask {}           asks the client, answers with what it got
    log {}           a log notification, then "done"    pid {}           its process id
    stderr {text}    writes it to stderr, "done"        home {}          HOME and its permissions
    quiz {method, params}  asks the client, answers with the client's whole answer; withdraw {} asks and takes it back
    change {}        says that its tools have changed, "done"
    waiting {}       how many calls of hang wait        release {}     answers them all with "released"
    poll {}          as waiting, but told when the client has answered a question
"""

import hashlib
import json
import os
import sys

PAGE = {"count": 0}
WAITING: dict[object, object] = {}


def send(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(request_id: object, text: str) -> None:
    send({"id": request_id, "result": {"content": [{"type": "text", "text": text}]}})


def call_tool(request_id: object, name: str, arguments: dict[str, object], meta: dict[str, object]) -> None:
    match name:
        case "echo":
            reply(request_id, str(arguments["text"]))
        case "whoami":
            token = os.environ.get("GMAIL_ACCESS_TOKEN", "")
            reply(request_id, hashlib.sha256(token.encode()).hexdigest())
        case "env":
            reply(request_id, json.dumps(sorted(os.environ)))
        case "home":
            home = os.environ.get("HOME", "")
            reply(request_id, json.dumps([home, oct(os.stat(home).st_mode & 0o777) if home else ""]))
        case "count":
            PAGE["count"] += 1
            reply(request_id, str(PAGE["count"]))
        case "pid":
            reply(request_id, str(os.getpid()))
        case "die":
            print("the tool die was called", file=sys.stderr, flush=True)
            os._exit(7)
        case "hang":
            WAITING[request_id] = None
        case "waiting":
            reply(request_id, str(sum(asked is None for asked in WAITING.values())))
        case "release":
            for hanging in [asked for asked, by in WAITING.items() if by is None]:
                del WAITING[hanging]
                reply(hanging, "released")
            reply(request_id, "done")
        case "poll" | "ask" | "quiz":
            WAITING[f"{name}-{request_id}"] = request_id
            method = arguments["method"] if name == "quiz" else "sampling/createMessage"
            send({"id": f"{name}-{request_id}", "method": method, "params": arguments.get("params", {})})
        case "progress":
            for step in range(int(str(arguments["steps"]))):
                send(
                    {
                        "method": "notifications/progress",
                        "params": {"progressToken": meta.get("progressToken"), "progress": step + 1},
                    }
                )
            reply(request_id, "done")
        case "log":
            send({"method": "notifications/message", "params": {"level": "info", "data": "hello"}})
            reply(request_id, "done")
        case "withdraw":
            send({"id": "withdrawn", "method": "sampling/createMessage", "params": {}})
            send({"method": "notifications/cancelled", "params": {"requestId": "withdrawn", "reason": "never mind"}})
            reply(request_id, "done")
        case "change":
            send({"method": "notifications/tools/list_changed"})
            reply(request_id, "done")
        case "stderr":
            print(arguments["text"], file=sys.stderr, flush=True)
            reply(request_id, "done")
        case _:
            send({"id": request_id, "error": {"code": -32602, "message": f"Unknown tool: {name}"}})


TOOLS = (
    "echo whoami env home count pid die hang progress log ask stderr quiz withdraw change waiting release poll".split()
)


def handle_request(request_id: object, method: str, params: dict[str, object]) -> None:
    match method:
        case "initialize":
            send(
                {
                    "id": request_id,
                    "result": {
                        "protocolVersion": params.get("protocolVersion"),
                        "capabilities": {"tools": {}},
                        "serverInfo": {"name": "stdlib", "version": "1", "heard": params},
                    },
                }
            )
        case "tools/list":
            schema = {"type": "object"}
            send({"id": request_id, "result": {"tools": [{"name": n, "inputSchema": schema} for n in TOOLS]}})
        case "tools/call":
            meta = params.get("_meta", {})
            call_tool(request_id, str(params["name"]), dict(params.get("arguments", {})), dict(meta))  # type: ignore[call-overload]
        case "echo/params":
            send({"id": request_id, "result": params})
        case "ping":
            send({"id": request_id, "result": {}})
        case _:
            send({"id": request_id, "error": {"code": -32601, "message": f"Method not found: {method}"}})


def main() -> None:
    if "--die-at-start" in sys.argv:
        print("cannot find my configuration", file=sys.stderr)
        sys.exit(3)
    if "--noise" in sys.argv:
        print("Welcome to the noisy server!", flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if method is None:
            request_id = WAITING.pop(message["id"], None)
            if str(message["id"]).startswith("quiz-"):
                reply(request_id, json.dumps({key: message[key] for key in ("result", "error") if key in message}))
            elif str(message["id"]).startswith("poll-"):
                reply(request_id, str(sum(asked is None for asked in WAITING.values())))
            else:
                reply(request_id, str(message.get("error", {}).get("code", "answered")))
        elif "id" in message and "--refuse" in sys.argv:
            send({"id": message["id"], "error": {"code": -32603, "message": "no"}})
        elif "id" in message:
            handle_request(message["id"], method, message.get("params", {}))
        elif method == "notifications/cancelled":
            WAITING.pop(message["params"]["requestId"], None)
            print("cancelled", message["params"], file=sys.stderr, flush=True)


main()
