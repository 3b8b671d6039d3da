"""What a tool answered, for a person or for a script. What comes from a server cannot steer the terminal."""

import base64
import binascii
import json
import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fluidmcp.cli.files.whole_file import create_file
from fluidmcp.cli.output import print_block, print_line, print_notice
from fluidmcp.errors import UserError

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Binary:
    """A part of an answer that is no text."""

    kind: str
    media_type: str
    content: bytes


def print_json(value: object) -> None:
    """One JSON document. ASCII, so that no terminal and no locale makes anything else of it."""
    for line in json.dumps(value, indent=2).splitlines():
        print_line(line)


def print_answer(result: Json, *, tool: str, output: str | None) -> None:
    """The parts of an answer in their order: texts as they are, everything else into files or named.

    Raises:
        UserError, ConfigurationError: there is nothing for `--output`, or it cannot be written.
    """
    binaries: list[Binary] = []
    has_text = False
    for part in _list_objects(result.get("content")):
        binary = _read_binary(part)
        if binary is not None:
            binaries.append(binary)
            if output is None:
                size = len(binary.content)
                print_notice(f"[{binary.kind}, {binary.media_type[:100]}, {size} bytes: --output PATH saves it]")
        else:
            print_block(_read_text(part))
            has_text = True
    if not has_text and "structuredContent" in result:
        print_json(result["structuredContent"])
    if output is not None:
        save_binaries(binaries, tool=tool, output=output)


def save_binaries(binaries: Sequence[Binary], *, tool: str, output: str) -> None:
    """Into one new file, or files in a folder. Raises as `print_answer`."""
    if not binaries:
        raise UserError("There is nothing to save.", why="The answer holds no image, sound or file.")
    place = Path(output)
    if not place.is_dir() and len(binaries) > 1:
        raise UserError(f"The answer has {len(binaries)} files.", hint="Name a folder that is there with --output.")
    for number, binary in enumerate(binaries, start=1):
        path = place
        if place.is_dir():
            ending = mimetypes.guess_extension(binary.media_type) or ".bin"
            plain = "".join(char if char.isalnum() or char in "-_" else "-" for char in tool)[:60]
            path = place / f"{plain}-{number}{ending}"
        create_file(path, binary.content, shown=str(path), hint="Name another one.")
        print_notice(f"Saved {path} ({binary.media_type[:100]}, {len(binary.content)} bytes).")


def list_binaries(result: Json) -> list[Binary]:
    return [binary for part in _list_objects(result.get("content")) if (binary := _read_binary(part)) is not None]


def _read_binary(part: Json) -> Binary | None:
    kind = part.get("type")
    holder, member = part, "data"
    if kind == "resource" and isinstance(part.get("resource"), dict):
        holder, member = cast(Json, part["resource"]), "blob"
    elif kind not in ("image", "audio"):
        return None
    data = holder.get(member)
    if not isinstance(data, str):
        return None
    media_type = holder.get("mimeType")
    try:
        content = base64.b64decode(data)
    except (binascii.Error, ValueError):
        content = data.encode("utf-8", "replace")
    return Binary(str(kind), media_type if isinstance(media_type, str) else "application/octet-stream", content)


def _read_text(part: Json) -> str:
    match part.get("type"):
        case "text":
            return str(part.get("text", ""))
        case "resource_link":
            return f"{part.get('title') or part.get('name') or 'a resource'}: {part.get('uri', '')}"
        case "resource" if isinstance(part.get("resource"), dict):
            return str(cast(Json, part["resource"]).get("text", ""))
        case _:
            return json.dumps(part)


def _list_objects(value: object) -> list[Json]:
    parts = cast("list[object]", value) if isinstance(value, list) else []
    return [cast(Json, part) for part in parts if isinstance(part, dict)]


def is_terminal(descriptor: int) -> bool:
    """Whether a person sees what is written there."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
