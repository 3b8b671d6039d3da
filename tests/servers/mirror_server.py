"""An MCP server that gives back what it gets, in the bytes that it got. On the standard library alone.

Run with `python -I tests/servers/mirror_server.py [--handshake | --stateless]`; without an option it speaks both eras.
Every call has a thread of its own. A method that is not named here is answered with its params as the result:

    mirror/error               the params are the error
    mirror/tell {method, params}      a notification with these params, then all params as the result; the string
                                      PROGRESS-TOKEN in the notification becomes the progress token of the request
    mirror/ask {method, params}       a request to the client with these params; its whole answer is the result
    mirror/lines                      the lines read since the last call of this, each with a character for a byte
    mirror/touch {uri}                says that the resource has changed, to whoever has subscribed to it
    tools/call ask {params}           asks the client by elicitation/create, in the way of the era; its answer
    tools/call talk {name, port, ask?}  progress and a log line that say the name; then waits until whoever listens at
                                      the port has read "name pid" and closed; asks where it is to; name, pid, answer
"""

import json
import os
import socket
import sys
import threading
from queue import SimpleQueue

STATELESS = "io.modelcontextprotocol/"
CAPABILITIES = '{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true}}'
SCHEMA = '{"type":"object","properties":{"reply":{"type":"string"}}}'

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
_SPACE = " \t\r\n"

_writing = threading.Lock()
_lines: list[bytes] = []
_questions: dict[str, "SimpleQueue[dict[str, str]]"] = {}
_listens: dict[str, str] = {}
_subscribed: set[str] = set()


def split_members(text: str) -> dict[str, str]:
    """The members of a JSON object, each as the text that it is written in; nothing for another value."""
    members: dict[str, str] = {}
    at = _skip_space(text, 0)
    if text[at : at + 1] != "{":
        return members
    at = _skip_space(text, at + 1)
    while text[at] == '"':
        name, at = _DECODER.raw_decode(text, at)
        begin = _skip_space(text, _skip_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        members[name] = text[begin:end]
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)
    return members


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE and at < len(text):
        at += 1
    return at


def send(*members: tuple[str, str]) -> None:
    line = "{" + ",".join(f'"{name}":{value}' for name, value in (("jsonrpc", '"2.0"'), *members)) + "}\n"
    with _writing:
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


def tell(method: str, params: str) -> None:
    send(("method", method), ("params", params))


def ask(method: str, params: str) -> dict[str, str]:
    """The members of the client's answer."""
    answer: SimpleQueue[dict[str, str]] = SimpleQueue()
    with _writing:
        question_id = json.dumps(f"ask-{len(_questions)}")
        _questions[question_id] = answer
    send(("id", question_id), ("method", method), ("params", params))
    return answer.get()


def wait_at_gate(port: str, name: str) -> None:
    with socket.create_connection(("127.0.0.1", int(port))) as gate:
        gate.sendall(f"{name} {os.getpid()}\n".encode())
        gate.recv(1)


def ask_for_elicitation(params: dict[str, str], question: str) -> str | None:
    """The client's answer; None where the answer to its request has to ask first."""
    if f"{STATELESS}protocolVersion" not in split_members(params.get("_meta", "{}")):
        members = ask('"elicitation/create"', question)
        return members.get("result") or members["error"]
    return split_members(params.get("inputResponses", "{}")).get("question")


def require_input(question: str, state: str) -> str:
    request = f'{{"method":"elicitation/create","params":{question}}}'
    return f'{{"resultType":"input_required","inputRequests":{{"question":{request}}},"requestState":{state}}}'


def tell_of_call(name: str, meta: dict[str, str]) -> None:
    if "progressToken" in meta:
        progress = f'{{"progressToken":{meta["progressToken"]},"progress":1,"message":{name}}}'
        tell('"notifications/progress"', progress)
    if f"{STATELESS}protocolVersion" not in meta or f"{STATELESS}logLevel" in meta:
        tell('"notifications/message"', f'{{"level":"info","data":{name}}}')


def talk(params: dict[str, str]) -> str:
    arguments = split_members(params["arguments"])
    meta = split_members(params.get("_meta", "{}"))
    name = arguments["name"]
    if "inputResponses" not in params:
        tell_of_call(name, meta)
        wait_at_gate(arguments["port"], json.loads(name))
    answered = "null"
    if "ask" in arguments:
        question = f'{{"message":{name},"requestedSchema":{SCHEMA}}}'
        answer = ask_for_elicitation(params, question)
        if answer is None:
            return require_input(question, name)
        answered = answer
    return f'{{"content":[],"name":{name},"pid":{os.getpid()},"answered":{answered}}}'


def touch(uri: str) -> None:
    method = '"notifications/resources/updated"'
    if uri in _subscribed:
        tell(method, f'{{"uri":{uri}}}')
    for request_id, filtered in list(_listens.items()):
        if json.loads(uri) in json.loads(filtered).get("resourceSubscriptions", []):
            tell(method, f'{{"_meta":{{"{STATELESS}subscriptionId":{request_id}}},"uri":{uri}}}')


def call_tool(params: dict[str, str]) -> str:
    if json.loads(params["name"]) == "talk":
        return talk(params)
    question = split_members(params["arguments"])["params"]
    answer = ask_for_elicitation(params, question)
    return require_input(question, '"state"') if answer is None else f'{{"content":[],"answered":{answer}}}'


def greet(method: str, params: str) -> str | None:
    """The answer to a greeting; None in the era that this server does not speak."""
    info = '{"name":"mirror","version":"1"}'
    if method == "initialize" and "--stateless" not in sys.argv:
        version = split_members(params)["protocolVersion"]
        return f'{{"protocolVersion":{version},"capabilities":{CAPABILITIES},"serverInfo":{info}, "heard" : {params} }}'
    if method == "server/discover" and "--handshake" not in sys.argv:
        return (
            f'{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{CAPABILITIES},"ttlMs":0,'
            f'"cacheScope":"private","_meta":{{"{STATELESS}serverInfo":{info}}}}}'
        )
    return None


def listen(request_id: str, params: str) -> None:
    """Confirmed at once; ends with the process."""
    members = split_members(params)
    wanted = members["notifications"]
    _listens[request_id] = wanted
    meta = f'{{"{STATELESS}subscriptionId":{request_id}}}'
    tell('"notifications/subscriptions/acknowledged"', f'{{"_meta":{meta},"notifications":{wanted}}}')


def answer_request(request_id: str, method: str, params: str) -> None:
    members = split_members(params)
    result = params
    match method:
        case "initialize" | "server/discover":
            greeting = greet(method, params)
            if greeting is None:
                send(("id", request_id), ("error", '{"code":-32601,"message":"Method not found"}'))
                return
            result = greeting
        case "mirror/error":
            send(("id", request_id), ("error", params))
            return
        case "mirror/tell":
            token = split_members(members.get("_meta", "{}")).get("progressToken", "null")
            tell(members["method"], members["params"].replace('"PROGRESS-TOKEN"', token))
        case "mirror/ask":
            answer = ask(members["method"], members["params"])
            result = "{" + ",".join(f'"{n}":{answer[n]}' for n in ("result", "error") if n in answer) + "}"
        case "mirror/lines":
            read, _lines[:] = list(_lines), []
            result = json.dumps({"lines": [line.decode("latin-1") for line in read]})
        case "mirror/touch":
            touch(members["uri"])
        case "resources/subscribe":
            _subscribed.add(members["uri"])
            result = "{}"
        case "resources/unsubscribe":
            _subscribed.discard(members["uri"])
            result = "{}"
        case "logging/setLevel":
            result = "{}"
        case "subscriptions/listen":
            listen(request_id, params)
            return
        case "tools/list":
            result = '{"tools":[{"name":"talk","inputSchema":{"type":"object"}}]}'
        case "tools/call":
            result = call_tool(members)
        case _:
            pass
    send(("id", request_id), ("result", result))


def main() -> None:
    for line in sys.stdin.buffer:
        message = split_members(line.decode("utf-8", "surrogateescape"))
        if message.get("method") != '"mirror/lines"':
            _lines.append(line.rstrip(b"\n"))
        if "method" not in message:
            _questions[message["id"]].put(message)
        elif "id" in message:
            arguments = (message["id"], json.loads(message["method"]), message.get("params", "null"))
            threading.Thread(target=answer_request, args=arguments, daemon=True).start()
        elif message["method"] == '"notifications/cancelled"':
            _listens.pop(split_members(message["params"])["requestId"], None)


if __name__ == "__main__":
    main()
