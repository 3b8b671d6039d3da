"""A small MCP server of the stateless era (2026-07-28) on the standard library, which says what it was told.

Run with `python -I tests/servers/stateless_server.py [--plain | --refuse-listen | --slow-listen]`: `--plain` offers
nothing that changes, `--refuse-listen` does not know subscriptions, `--slow-listen` acknowledges one only when the tool
`acknowledge` is called. It refuses `initialize`. Methods beside those of the protocol:

    echo/params {...}    the params                  test/heard {}    all messages that were received, as they came
    test/error {code}    an error with that code

Its tools:

    ask {questions, state}  asks them in one round; with answers: what came with the call
    steps {}                asks two questions in two rounds; then what came with the last call
    endless {}              asks for the name again and again; the state counts
    later {times}           asks nothing, and wants to be called so many times more; then "done"
    broken {}               asks in a form that nobody understands
    hang {}                 no answer                    progress {}        a progress notification, then "done"
    log {}                  a log line, then "done"      die {}             the process ends
    question {}             a request to the client, which this era does not have; then "done"
    tell {method, params}   a notification to all open subscriptions, then "done"
    tell_late {...}         the same to those that have been cancelled
    shout {method, params}  a notification that names no subscription, then "done"
    end {}                  ends the open subscriptions  acknowledge {}     acknowledges those that wait
"""

import json
import os
import sys
from typing import Any

Message = dict[str, Any]

META = "io.modelcontextprotocol/"
SUBSCRIPTION_ID = META + "subscriptionId"
HEARD: list[str] = []
OPEN: list[object] = []
CLOSED: list[object] = []
WAITING: list[tuple[object, object]] = []


def send(message: Message) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def reply(request_id: object, result: Message) -> None:
    meta = {META + "serverInfo": {"name": "stateless", "version": "1"}, "own": 1}
    said = {"resultType": "complete", "ttlMs": 7, "cacheScope": "public", "_meta": meta}
    send({"id": request_id, "result": {**said, **result}})


def ask(request_id: object, questions: object, state: object) -> None:
    result: Message = {"resultType": "input_required"}
    if questions is not None:
        result["inputRequests"] = questions
    if state is not None:
        result["requestState"] = state
    send({"id": request_id, "result": result})


def tell(subscription_ids: list[object], method: object, params: Message) -> None:
    for subscription_id in subscription_ids:
        send({"method": method, "params": {**params, "_meta": {SUBSCRIPTION_ID: subscription_id}}})


def acknowledge(request_id: object, notifications: object) -> None:
    OPEN.append(request_id)
    tell([request_id], "notifications/subscriptions/acknowledged", {"notifications": notifications})


NAME: Message = {"name": {"method": "elicitation/create", "params": {"message": "Your name?", "requestedSchema": {}}}}


def call_tool(request_id: object, name: str, params: Message, meta: Message) -> None:
    arguments = params.get("arguments", {})
    state = params.get("requestState")
    match name:
        case "ask" if "inputResponses" not in params:
            ask(request_id, arguments["questions"], arguments.get("state"))
            return
        case "ask":
            reply(request_id, {"heard": params})
            return
        case "steps" if state != "2":
            step = int(state or 0) + 1
            ask(request_id, {f"step-{step}": NAME["name"]}, str(step))
            return
        case "steps":
            reply(request_id, {"heard": params})
            return
        case "endless":
            ask(request_id, NAME, str(int(state or 0) + 1))
            return
        case "later" if int(state or 0) < arguments["times"]:
            ask(request_id, None, str(int(state or 0) + 1))
            return
        case "broken":
            send({"id": request_id, "result": {"resultType": "input_required", "inputRequests": [1]}})
            return
        case "hang":
            return
        case "die":
            os._exit(7)
        case "progress":
            params = {"progressToken": meta["progressToken"], "progress": 1}
            send({"method": "notifications/progress", "params": params})
        case "log":
            send({"method": "notifications/message", "params": {"level": "info", "data": "hello"}})
        case "question":
            send({"id": "q", "method": "roots/list"})
        case "tell":
            tell(OPEN, arguments["method"], arguments["params"])
        case "tell_late":
            tell(CLOSED, arguments["method"], arguments["params"])
        case "shout":
            send({"method": arguments["method"], "params": arguments["params"]})
        case "acknowledge":
            for waiting in WAITING:
                acknowledge(*waiting)
            WAITING.clear()
        case "end":
            for subscription_id in OPEN:
                send({"method": "notifications/cancelled", "params": {"requestId": subscription_id}})
            OPEN.clear()
        case _:
            pass
    reply(request_id, {"content": [{"type": "text", "text": "done"}]})


def discover(request_id: object) -> None:
    capabilities: Message = {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": False},
        "resources": {"listChanged": True, "subscribe": True},
        "logging": {},
    }
    if "--plain" in sys.argv:
        capabilities = {"tools": {}, "resources": {}}
    reply(request_id, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "instructions": "Be brief."})


def handle_request(request_id: object, method: str, params: Message) -> None:
    match method:
        case "server/discover":
            discover(request_id)
        case "tools/call":
            call_tool(request_id, params["name"], params, params["_meta"])
        case "subscriptions/listen" if "--refuse-listen" not in sys.argv:
            if "--slow-listen" in sys.argv:
                WAITING.append((request_id, params["notifications"]))
            else:
                acknowledge(request_id, params["notifications"])
        case "test/heard":
            reply(request_id, {"heard": [json.loads(line) for line in HEARD]})
        case "test/error":
            send({"id": request_id, "error": {"code": params["code"], "message": "as you wish", "data": {"a": 1}}})
        case "initialize":
            data = {"supported": ["2026-07-28"], "requested": params.get("protocolVersion")}
            send({"id": request_id, "error": {"code": -32022, "message": "Unsupported protocol version", "data": data}})
        case _:
            send({"id": request_id, "error": {"code": -32601, "message": f"Method not found: {method}"}})


def main() -> None:
    for line in sys.stdin:
        HEARD.append(line)
        message: Message = json.loads(line)
        method = message.get("method")
        if method == "echo/params":
            # Not through a decoder: the text has to come back as it came in.
            params = line[line.index('"params":') + len('"params":') : line.rindex("}")]
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{params}}}\n')
            sys.stdout.flush()
        elif method == "notifications/cancelled":
            cancelled = message["params"]["requestId"]
            if cancelled in OPEN:
                OPEN.remove(cancelled)
                CLOSED.append(cancelled)
        elif method is not None and "id" in message:
            handle_request(message["id"], method, message.get("params", {}))


main()
