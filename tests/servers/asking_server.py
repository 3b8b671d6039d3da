"""A server of one era on the standard library, which asks its client and can be asked what it has heard.

`python -I tests/servers/asking_server.py handshake | stateless`. Methods for tests, beside those of MCP:

    test/heard {}               every line that this process has read
    test/wait {method, count}   nothing, once it has heard so many messages of the method; "answer" for answers
    test/tell {message}         sends the message, then answers
    test/answer {text}          ends all calls of `ask` with this text
    test/die {}                 the process ends
    python/unknown, own/method  -32602: as the Python SDK says that it does not know a method; for a reason of its own

The tools of `tools/call`; `prompts/get` and `resources/read` run them too, by their name or address:

    ask {rounds}       asks all questions of a round at once ({id, method, params}), then those of the next; the text is
                       JSON, the answer of each question by its id. In the stateless era it answers `input_required`.
    asks_and_ends {question}  asks, and answers without waiting
    log {levels}       log lines: from the level of `logging/setLevel` on; stateless: all, if the request wants any
    progress {steps, hangs}   progress, then "done" or no answer
    fail {error}       this error
    gather {count, progress}  no answer until so many such calls have come; then each its progress and "done", last one
                       first
    hang {}            no answer
    echo {}            the params; `located` too, whose argument `region` has a header (`Mcp-Param-Region`)

`steps` makes every tool begin with so much progress.
"""

import json
import os
import sys
from typing import Any

ERA = sys.argv[1]
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
HEARD: list[str] = []
WAITING: list[tuple[object, str, int]] = []
CALLS: list["Asking"] = []
GATHERED: list[tuple[object, int, object]] = []
STATE = {"level": "warning"}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(request_id: object, text: str) -> None:
    result = {"content": [{"type": "text", "text": text}]}
    if ERA == "stateless":
        result |= {"resultType": "complete"}
    send({"id": request_id, "result": result})


class Asking:
    """A call of `ask` in the handshake era."""

    def __init__(self, request_id: object, rounds: list[list[dict[str, Any]]]) -> None:
        self.request_id = request_id
        self.rounds = rounds
        self.open: set[str] = set()
        self.answers: dict[str, Any] = {}
        CALLS.append(self)
        self.go_on()

    def go_on(self) -> None:
        if self.open:
            return
        if not self.rounds:
            self.end(json.dumps(self.answers))
            return
        for question in self.rounds.pop(0):
            self.open.add(json.dumps(question["id"]))
            send(question)

    def receive(self, answer: dict[str, Any]) -> None:
        self.open.discard(json.dumps(answer["id"]))
        self.answers[str(answer["id"])] = answer.get("result", answer.get("error"))
        self.go_on()

    def end(self, text: str) -> None:
        CALLS.remove(self)
        reply(self.request_id, text)


def ask(request_id: object, params: dict[str, Any]) -> None:
    rounds = params["arguments"]["rounds"]
    if ERA == "handshake":
        Asking(request_id, rounds)
    elif "inputResponses" in params:
        reply(request_id, json.dumps({"answers": params["inputResponses"], "state": params["requestState"]}))
    else:
        requests = {str(question.pop("id")): question for question in rounds[0]}
        send(
            {
                "id": request_id,
                "result": {"resultType": "input_required", "inputRequests": requests, "requestState": "s"},
            }
        )


def is_wanted(level: str, params: dict[str, Any]) -> bool:
    if ERA == "stateless":
        return "io.modelcontextprotocol/logLevel" in params["_meta"]
    return LEVELS.index(level) >= LEVELS.index(STATE["level"])


def answer_gathered() -> None:
    last_first = GATHERED[::-1]
    GATHERED.clear()
    for _, steps, token in last_first:
        for step in range(steps):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step + 1}})
    for request_id, steps, _ in last_first:
        reply(request_id, str(steps))


def run_tool(request_id: object, name: str, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    for step in range(arguments.get("steps", 0)):
        token = params.get("_meta", {}).get("progressToken")
        send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step + 1}})
    match name:
        case "ask":
            ask(request_id, params)
        case "asks_and_ends":
            send(arguments["question"])
            reply(request_id, "done")
        case "log":
            for level in arguments["levels"]:
                if is_wanted(level, params):
                    send({"method": "notifications/message", "params": {"level": level, "data": "x"}})
            reply(request_id, "done")
        case "progress":
            if not arguments.get("hangs"):
                reply(request_id, "done")
        case "gather":
            token = params.get("_meta", {}).get("progressToken")
            GATHERED.append((request_id, arguments["progress"], token))
            if len(GATHERED) == arguments["count"]:
                answer_gathered()
        case "fail":
            send({"id": request_id, "error": arguments["error"]})
        case "hang":
            pass
        case "echo" | "located":
            send({"id": request_id, "result": params})
        case _:
            send({"id": request_id, "error": {"code": -32002, "message": "there is no such thing"}})


def run_test(request_id: object, method: str, params: dict[str, Any]) -> None:
    match method:
        case "test/heard":
            send({"id": request_id, "result": {"lines": HEARD}})
        case "test/wait":
            WAITING.append((request_id, params["method"], params.get("count", 1)))
            check_waiting()
        case "test/tell":
            send(params["message"])
            reply(request_id, "told")
        case "test/answer":
            for call in CALLS[:]:
                call.end(params["text"])
            reply(request_id, "answered")
        case _:
            os._exit(7)


def greet(request_id: object, method: str, params: dict[str, Any]) -> None:
    capabilities: dict[str, Any] = {"tools": {"listChanged": True}, "logging": {}, "tasks": {}}
    server_info = {"name": "asking", "version": "1"}
    if method == "initialize" and ERA == "handshake":
        result = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": server_info}
        send({"id": request_id, "result": result | {"instructions": "ask", "heard": params}})
    elif method == "server/discover" and ERA == "stateless":
        result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities}
        send({"id": request_id, "result": result | {"ttlMs": 5, "cacheScope": "public"}})
    else:
        send({"id": request_id, "error": {"code": -32601, "message": f"no {method}"}})


def handle_request(request_id: object, method: str, params: dict[str, Any]) -> None:
    match method:
        case "initialize" | "server/discover":
            greet(request_id, method, params)
        case "logging/setLevel":
            STATE["level"] = params["level"]
            send({"id": request_id, "result": {}})
        case "tools/list":
            region = {"type": "string", "x-mcp-header": "Region"}
            schema = {"type": "object", "properties": {"region": region}}
            send({"id": request_id, "result": {"tools": [{"name": "located", "inputSchema": schema}]}})
        case "tools/call" | "prompts/get":
            run_tool(request_id, params["name"], params)
        case "resources/read":
            run_tool(request_id, params["uri"], params)
        case _ if method.startswith("test/"):
            run_test(request_id, method, params)
        case "python/unknown":
            send({"id": request_id, "error": {"code": -32602, "message": "Invalid request parameters", "data": ""}})
        case "own/method":
            send({"id": request_id, "error": {"code": -32602, "message": "the number is too large"}})
        case _:
            send({"id": request_id, "error": {"code": -32601, "message": f"no {method}"}})


def check_waiting() -> None:
    if not WAITING:
        return
    heard = [json.loads(line).get("method", "answer") for line in HEARD]
    for entry in list(WAITING):
        request_id, method, count = entry
        if heard.count(method) >= count:
            WAITING.remove(entry)
            reply(request_id, "heard")


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        HEARD.append(line.rstrip("\n"))
        if "method" in message and "id" in message:
            handle_request(message["id"], message["method"], message.get("params", {}))
        elif "method" not in message:
            for call in CALLS[:]:
                if json.dumps(message["id"]) in call.open:
                    call.receive(message)
        check_waiting()


main()
