"""A server for people who try tools on the page, on the standard library: `python -I tests/servers/page_server.py`.

    add {a, b}             the sum, as text and as structured content
    fill {...}             every kind of field; answers with its arguments as JSON
    choose {...}           arguments of very many values each; answers as fill does
    picture, sound {}      a PNG, a WAV              drawing {}     an SVG with a script
    huge {}                an image of 50 MB         links {}       links to a web page and to a script
    markup {}              HTML as text              nothing {}     an answer without content
    ask {}                 asks for a name and a colour, answers with what it got
    visit {}               asks the person to open a web page; `visit_script` names a script as that page
    steps {hangs}          progress, then "done" or no answer until it is cancelled
    located {region}       the region, which a header repeats
    cancelled {}           how many calls were cancelled
    fail {}                says that it failed

One more has markup as its name, and a description of a megabyte.
"""

import base64
import json
import struct
import sys
import zlib
from typing import Any

Json = dict[str, Any]

EVIL = "<img src=x onerror=alert(1)>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FORM: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "minLength": 2, "description": f"As others call you. {EVIL}"},
        "colour": {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "b", "title": "Blue"}]},
        "news": {"type": "boolean", "default": False},
    },
    "required": ["name"],
}
FILL: Json = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "public": {"type": "boolean"},
        "size": {"enum": ["small", "large"]},
        "tags": {"type": "array", "items": {"enum": ["work", "home"]}},
        "list": {"type": "array", "items": {"type": "number"}},
        "place": {"$ref": "#/$defs/place"},
        "extra": {"type": "object"},
    },
    "required": ["title", "count", "place"],
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}
MANY = 1_000
CHOOSE: Json = {
    "type": "object",
    "properties": {
        "zone": {"enum": [f"zone-{number}" for number in range(50_000)], "description": "Where it runs."},
        "number": {"enum": [*range(MANY)], "default": 7},
        "flag": {"oneOf": [{"const": f"f{number}", "title": f"Flag {number}"} for number in range(MANY)]},
        "tags": {"type": "array", "items": {"enum": [f"tag-{number}" for number in range(MANY)]}, "maxItems": 3},
        "few": {"enum": [f"few-{number}" for number in range(200)]},
    },
    "required": ["zone"],
}
PLAIN: Json = {"type": "object", "properties": {}}
ADD: Json = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}
HANGS: Json = {"type": "object", "properties": {"hangs": {"type": "boolean"}}}
REGION: Json = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
TOOLS: dict[str, Json] = {
    "located": REGION,
    "add": ADD,
    "fill": FILL,
    "choose": CHOOSE,
    "steps": HANGS,
    **{
        name: PLAIN
        for name in ("picture sound drawing huge links markup nothing ask visit visit_script cancelled fail".split())
    },
    EVIL: PLAIN,
}
DESCRIPTIONS = {"add": "Adds two numbers.", EVIL: EVIL + "x" * 1_000_000}
ASKED: dict[str, object] = {}
HANGING: set[object] = set()
COUNT = {"cancelled": 0}


def send(message: Json) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request_id: object, *content: Json, **more: Any) -> None:
    send({"id": request_id, "result": {"content": list(content), **more}})


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def png() -> bytes:
    """160 by 90 pixels, in two colours."""
    rows = b"".join(b"\0" + (b"\x1d\x4e\xd8" if row < 45 else b"\x8d\xb2\xff") * 160 for row in range(90))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 90, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wav() -> bytes:
    data = b"\0" * 800
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH4sI", 16, 1, 1, 8000, 8000, 1, 8, b"data", len(data))
        + data
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(request_id: object, params: Json) -> None:
    ASKED[f"question {request_id}"] = request_id
    send({"id": f"question {request_id}", "method": "elicitation/create", "params": params})


def call(request_id: object, name: str, arguments: Json, token: object) -> None:
    match name:
        case "add":
            total = arguments["a"] + arguments["b"]
            answer(request_id, text(str(total)), structuredContent={"sum": total})
        case "fill" | "choose":
            answer(request_id, text(json.dumps(arguments, sort_keys=True)))
        case "picture":
            answer(request_id, {"type": "image", "mimeType": "image/png", "data": encoded(png())})
        case "sound":
            answer(request_id, {"type": "audio", "mimeType": "audio/wav", "data": encoded(wav())})
        case "drawing":
            answer(request_id, {"type": "image", "mimeType": "image/svg+xml", "data": encoded(SVG.encode())})
        case "huge":
            answer(request_id, {"type": "image", "mimeType": "image/png", "data": "A" * 66_666_668})
        case "links":
            link = {"type": "resource_link", "name": "a page", "uri": "https://example.com/page"}
            answer(request_id, link, {"type": "resource_link", "name": EVIL, "uri": "javascript:alert(1)"})
        case "markup":
            answer(request_id, text(EVIL), text("<script>alert(1)</script>"), structuredContent={"html": EVIL})
        case "ask":
            ask(request_id, {"message": f"Who are you? {EVIL}", "requestedSchema": FORM})
        case "visit" | "visit_script":
            url = "https://example.com/sign" if name == "visit" else "javascript:alert(1)"
            ask(request_id, {"mode": "url", "message": "Sign there.", "url": url, "elicitationId": name})
        case "steps":
            for step in range(3):
                params = {"progressToken": token, "progress": step + 1, "total": 4, "message": f"Step {step + 1}"}
                send({"method": "notifications/progress", "params": params})
            if arguments.get("hangs"):
                HANGING.add(request_id)
            else:
                answer(request_id, text("done"))
        case "located":
            answer(request_id, text(arguments["region"]))
        case "cancelled":
            answer(request_id, text(str(COUNT["cancelled"])))
        case "fail":
            answer(request_id, text("It broke."), isError=True)
        case _:
            answer(request_id)


def handle(message: Json) -> None:
    method, params = message.get("method"), message.get("params", {})
    match method:
        case None:
            heard = message.get("result", message.get("error"))
            answer(ASKED.pop(message["id"]), text(json.dumps(heard, sort_keys=True)))
        case "initialize":
            info = {"name": "page server", "version": "1"}
            capabilities: Json = {"tools": {}}
            version = params["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
            send({"id": message["id"], "result": result})
        case "tools/list":
            tools = [
                {"name": name, "inputSchema": schema, "description": DESCRIPTIONS.get(name, "")}
                for name, schema in TOOLS.items()
            ]
            send({"id": message["id"], "result": {"tools": tools}})
        case "tools/call":
            token = params.get("_meta", {}).get("progressToken")
            call(message["id"], params["name"], params.get("arguments", {}), token)
        case "notifications/cancelled":
            COUNT["cancelled"] += params["requestId"] in HANGING
        case str() if "id" in message:
            send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        case _:
            pass


for line in sys.stdin:
    handle(json.loads(line))
