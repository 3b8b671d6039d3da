"""An MCP server that answers the greetings of both eras as it is told, and remembers what it was asked.

    python -I tests/servers/era_server.py LOG [--discover HOW] [--initialize HOW] [--lock]

HOW is `ok` (the default), an error code, `silent`, `die`, or for discover `late`: answered when the next message has
come. What is `silent` says so on stderr, and then in LOG.silent. `--lock`: the era of the first message is that of the
process, and greetings of the other one are refused. Each message's method is appended to LOG, behind the process id.
"""

import json
import os
import sys

LOG = sys.argv[1]
OPTIONS = sys.argv[2:]
LOCKED = {"era": ""}
LATE: list[object] = []

RESULTS: dict[str, dict[str, object]] = {
    "discover": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}},
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "era", "version": "1"}},
}


def option(name: str) -> str:
    flag = f"--{name}"
    return OPTIONS[OPTIONS.index(flag) + 1] if flag in OPTIONS else "ok"


def send(request_id: object, **outcome: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request_id, **outcome}), flush=True)


def greet(kind: str, request_id: object) -> None:
    how = option(kind)
    if "--lock" in OPTIONS and LOCKED["era"] not in ("", kind):
        how = "-32022"
    LOCKED["era"] = LOCKED["era"] or kind
    match how:
        case "ok":
            send(request_id, result=RESULTS[kind])
        case "silent":
            print(f"no answer to {kind}", file=sys.stderr, flush=True)
            with open(f"{LOG}.silent", "a") as log:
                log.write(f"{kind}\n")
        case "late":
            LATE.append(request_id)
        case "die":
            os._exit(5)
        case _:
            send(request_id, error={"code": int(how), "message": "not here"})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method", "")
        with open(LOG, "a") as log:
            log.write(f"{os.getpid()} {method}\n")
        while LATE:
            send(LATE.pop(), result=RESULTS["discover"])
        if method in ("initialize", "server/discover"):
            greet(method.removeprefix("server/"), message["id"])
        elif "id" in message:
            send(message["id"], result={"era": LOCKED["era"]})


main()
