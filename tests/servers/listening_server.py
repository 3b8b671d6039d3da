"""A server on the standard library whose lists and resources change, and which can be told how to say so.

`python -I tests/servers/listening_server.py handshake | stateless [FAULT FILE]`. Processes that begin when the file is
there have the fault: `refuse` refuses every subscription, `exit` ends at once, `silent` answers no request for a
subscription, `fragile` ends at the first one, and takes the file away. Methods for tests, beside those of MCP:

    test/heard {}              every message that this process has read
    test/wait {method, count}  nothing, once it has heard so many messages of the method
    test/tell {messages}       sends the notifications, then answers; stateless: to each open subscription
    test/flood {count}         tells so many times that its tools have changed, before it answers
    test/say {message}         sends the message as it is, then answers
    test/answer {error}        answers the requests for a subscription that wait, with the error if there is one
    test/last {}               the same, and the process ends
    test/end {how}             ends all subscriptions (stateless): with "result", "error" or "cancelled"
    test/tools {pages, ...}    what `tools/list` answers from now on: pages of tools; `ttl`, `error`, or `hangs`
    test/pid {}                its process id
    test/die {}                the process ends

A subscription to a resource of the scheme `late` waits for `test/answer`; one of `refused` is refused, `early` tells of
its change before it is subscribed to, `brief` is ended at once, and `deadly` ends the process.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

Message = dict[str, Any]

ERA = sys.argv[1]
FAULT = {"name": ""}
META = "io.modelcontextprotocol/"
SUBSCRIPTION_ID = META + "subscriptionId"
TOOLS_CHANGED = "notifications/tools/list_changed"
HEARD: list[Message] = []
WAITERS: list[tuple[object, str, int]] = []
LATE: list[Message] = []
OPEN: list[object] = []
TOOLS: Message = {"pages": [[]]}


def send(message: Message) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(request_id: object, result: Message) -> None:
    send({"id": request_id, "result": {"resultType": "complete", **result} if ERA == "stateless" else result})


def refuse(request_id: object, code: int = -32603, message: str = "refused") -> None:
    send({"id": request_id, "error": {"code": code, "message": message}})


def tell(method: str, params: Message) -> None:
    if ERA == "handshake":
        send({"method": method, "params": params})
    for subscription_id in OPEN:
        send({"method": method, "params": {**params, "_meta": {SUBSCRIPTION_ID: subscription_id}}})


def tell_updated(uri: str) -> None:
    tell("notifications/resources/updated", {"uri": uri})


def begin(request: Message) -> None:
    """Somebody wants to hear of something."""
    params = request["params"]
    wanted = [params["uri"]] if ERA == "handshake" else params["notifications"].get("resourceSubscriptions", [])
    schemes = [uri.partition(":")[0] for uri in wanted]
    if FAULT["name"] == "fragile":
        Path(sys.argv[3]).unlink()
    if FAULT["name"] == "fragile" or "deadly" in schemes:
        os._exit(7)
    if FAULT["name"] == "refuse" or "refused" in schemes:
        refuse(request["id"])
    elif "late" in schemes:
        LATE.append(request)
    elif FAULT["name"] != "silent":
        accept(request)


def accept(request: Message) -> None:
    request_id, params = request["id"], request["params"]
    if ERA == "handshake":
        if params["uri"].startswith("early:"):
            tell_updated(params["uri"])
        reply(request_id, {})
        return
    notifications = params["notifications"]
    OPEN.append(request_id)
    for uri in notifications.get("resourceSubscriptions", []):
        if uri.startswith("early:"):
            tell_updated(uri)
    meta = {SUBSCRIPTION_ID: request_id}
    acknowledged = {"notifications": notifications, "_meta": meta}
    send({"method": "notifications/subscriptions/acknowledged", "params": acknowledged})
    if any(uri.startswith("brief:") for uri in notifications.get("resourceSubscriptions", [])):
        end("result")


def end(how: str) -> None:
    for subscription_id in OPEN:
        if how == "result":
            reply(subscription_id, {"_meta": {SUBSCRIPTION_ID: subscription_id}, "own": 1})
        elif how == "error":
            refuse(subscription_id, 7, "enough")
        else:
            send({"method": "notifications/cancelled", "params": {"requestId": subscription_id}})
    OPEN.clear()


def list_tools(request_id: object, params: Message) -> None:
    if "error" in TOOLS:
        refuse(request_id)
    elif not TOOLS.get("hangs"):
        page = int(params.get("cursor", 0))
        result: Message = {"tools": TOOLS["pages"][page]}
        if page + 1 < len(TOOLS["pages"]):
            result["nextCursor"] = str(page + 1)
        if "ttl" in TOOLS:
            result["ttlMs"] = TOOLS["ttl"]
        reply(request_id, result)


def run_test(request_id: object, method: str, params: Message) -> None:
    match method:
        case "test/heard":
            reply(request_id, {"messages": HEARD})
            return
        case "test/wait":
            WAITERS.append((request_id, params["method"], params.get("count", 1)))
            return
        case "test/tell":
            for message in params["messages"]:
                tell(message["method"], message.get("params", {}))
        case "test/flood":
            for number in range(params["count"]):
                tell(TOOLS_CHANGED, {"number": number})
        case "test/say":
            send(params["message"])
        case "test/answer" | "test/last":
            late = LATE[:]
            LATE.clear()
            for request in late:
                if "error" in params:
                    send({"id": request["id"], "error": params["error"]})
                else:
                    accept(request)
            if method == "test/last":
                os._exit(7)
        case "test/end":
            end(params["how"])
        case "test/tools":
            TOOLS.clear()
            TOOLS.update({"pages": [[]], **params})
        case "test/pid":
            reply(request_id, {"pid": os.getpid()})
            return
        case _:
            os._exit(7)
    reply(request_id, {})


def greet(request_id: object, method: str) -> None:
    capabilities: Message = {"tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}}
    if method == "initialize" and ERA == "handshake":
        server_info = {"name": "listening", "version": "1"}
        reply(request_id, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": server_info})
    elif method == "server/discover" and ERA == "stateless":
        reply(request_id, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities})
    else:
        refuse(request_id, -32601, f"no {method}")


def handle_request(message: Message) -> None:
    request_id, method, params = message["id"], message["method"], message.get("params", {})
    match method:
        case "initialize" | "server/discover":
            greet(request_id, method)
        case "resources/subscribe" if ERA == "handshake":
            begin(message)
        case "resources/unsubscribe" if ERA == "handshake":
            reply(request_id, {})
        case "subscriptions/listen" if ERA == "stateless":
            begin(message)
        case "tools/list":
            list_tools(request_id, params)
        case "tools/call":
            reply(request_id, {"content": [{"type": "text", "text": "called"}]})
        case _ if method.startswith("test/"):
            run_test(request_id, method, params)
        case _:
            refuse(request_id, -32601, f"no {method}")


def check_waiters() -> None:
    heard = [message.get("method") for message in HEARD]
    for waiter in WAITERS[:]:
        request_id, method, count = waiter
        if heard.count(method) >= count:
            WAITERS.remove(waiter)
            reply(request_id, {})


def read_fault() -> str:
    return sys.argv[2] if len(sys.argv) > 3 and Path(sys.argv[3]).exists() else ""


def main() -> None:
    FAULT["name"] = read_fault()
    if FAULT["name"] == "exit":
        sys.exit(3)
    for line in sys.stdin:
        message = json.loads(line)
        HEARD.append(message)
        if message.get("method") == "notifications/cancelled" and message["params"]["requestId"] in OPEN:
            OPEN.remove(message["params"]["requestId"])
        elif "method" in message and "id" in message:
            handle_request(message)
        check_waiters()


main()
