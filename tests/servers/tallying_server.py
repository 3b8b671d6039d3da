"""A small MCP server that tells who it belongs to and how often it was called: as quick to start as Python can be.

Run with `python -I -S tests/servers/tallying_server.py`. Its tools:

    whoami {}      the token that it was started with
    tally {text}   {"token", "process", "count", "text"}: the same, a number of this process that no other one has, how
                   many calls there were in it, this one included, and what came
    wait {port, text}   as tally, when the other end of a connection to this port of the machine has closed it
"""

import json
import os
import socket
import sys

TOKEN = os.environ.get("TALLY_TOKEN", "")
PROCESS = os.urandom(8).hex()
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("whoami", "tally", "wait")]


def wait_for_end(port: int, text: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(text.encode() + b"\n")
        while connection.recv(64):
            pass


def call(name: str, arguments: dict[str, object], count: int) -> str:
    if name == "whoami":
        return TOKEN
    text = str(arguments["text"])
    if name == "wait":
        wait_for_end(int(str(arguments["port"])), text)
    return json.dumps({"token": TOKEN, "process": PROCESS, "count": count, "text": text})


def main() -> None:
    count = 0
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        params = message.get("params", {})
        match message["method"]:
            case "initialize":
                result: dict[str, object] = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "tallying", "version": "1"},
                }
            case "tools/list":
                result = {"tools": TOOLS}
            case "tools/call":
                count += 1
                text = call(params["name"], params.get("arguments", {}), count)
                result = {"content": [{"type": "text", "text": text}]}
            case "ping":
                result = {}
            case method:
                error = {"code": -32601, "message": f"Method not found: {method}"}
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
                continue
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


main()
