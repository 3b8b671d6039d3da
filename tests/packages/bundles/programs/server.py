#!/usr/bin/env python3
"""A server in a bundle: its one tool says what it was started with, and what its bundled dependency says."""

import json
import os
import sys


def answer(method: str, params: dict[str, object]) -> dict[str, object]:
    match method:
        case "initialize":
            server = {"name": "weather", "version": "1.2.0"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
        case "tools/list":
            return {"tools": [{"name": "report", "inputSchema": {"type": "object"}}]}
        case _:
            said = {"forecast": forecast(), "arguments": sys.argv[1:], "key": os.environ.get("WEATHER_KEY")}
            return {"content": [{"type": "text", "text": json.dumps(said)}]}


def forecast() -> str:
    for folder in sys.path:
        path = os.path.join(folder, "forecast.txt")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                return file.read()
    return "nothing"


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = answer(message["method"], message.get("params", {}))
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
        sys.stdout.flush()
