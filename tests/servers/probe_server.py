"""A small MCP server that tells with what it was started: `report` answers with its arguments, environment and folder.

Asked for `home`, it adds the files below HOME: their texts, and their modes and those of their folders. With `stderr`
it writes that text to its stderr, with `read` it tells what is in that file, or the error.

tests/configurations gives it the names of programs that real files start (`npx`, `uvx`, `docker`, ...). Its other tools
answer with their own name, and `hang` never does. With `--never-ready` among its arguments it answers nothing at all.
"""

import json
import os
import sys
from typing import cast

TOOLS = ("report", "read_file", "write_file", "delete_file", "list_files", "search", "hang")


def describe_start(arguments: object) -> str:
    asked = cast("dict[str, object]", arguments) if isinstance(arguments, dict) else {}
    started: dict[str, object] = {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}
    if "home" in asked:
        started["home"] = describe_home(os.environ["HOME"])
    if "read" in asked:
        started["read"] = read_text(str(asked["read"]))
    if "stderr" in asked:
        print(asked["stderr"], file=sys.stderr, flush=True)
    return json.dumps(started)


def read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def describe_home(home: str) -> dict[str, list[object]]:
    """By path: the mode, whether it is this process's own, and the text of a file."""
    found: dict[str, list[object]] = {}
    for folder, _, names in os.walk(home):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            status = os.lstat(path)
            mine = status.st_uid == os.geteuid()
            text = None
            if path != folder:
                with open(path, encoding="utf-8") as file:
                    text = file.read()
            found[os.path.relpath(path, home)] = [oct(status.st_mode & 0o7777), mine, text]
    return found


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
            text = describe_start(params.get("arguments")) if name == "report" else name
            return {"content": [{"type": "text", "text": text}]}
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
