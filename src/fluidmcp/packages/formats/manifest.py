"""manifest.json of an MCPB bundle (formerly DXT), by MANIFEST.md of the MCPB specification 0.1 to 0.4. Pure.

What a manifest may refer to is a short list, and it is kept: a bundle is somebody else's, and must not be able to name
a variable of the operator's environment.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, cast

from fluidmcp.config.reading import ObjectReader, name_type, show_key
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile

PLATFORM: Final = "linux"

_TYPES: Final = ("node", "python", "binary", "uv")
_KNOWN_VERSION: Final = re.compile(r"[01]\.\d{1,3}(?:\.\d{1,3})?", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\$\{([^{}]*)\}")
_BARE_NAME: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_WINDOWS_PROGRAM: Final = (".exe", ".bat", ".cmd", ".ps1")
_FOLDERS: Final = {
    "HOME": "${userHome}",
    "DESKTOP": "${userHome}/Desktop",
    "DOCUMENTS": "${userHome}/Documents",
    "DOWNLOADS": "${userHome}/Downloads",
    "__dirname": "${__dirname}",
    "pathSeparator": "/",
    "/": "/",
}
_INPUT_TYPES: Final = ("string", "number", "boolean", "directory", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the machine must have, as `compatibility` says."""

    runtimes: Mapping[str, str] = field(default_factory=dict[str, str])
    """`{"node": ">=16.0.0"}`: semantic version ranges, for Python version specifiers."""


def is_manifest(document: Mapping[str, object]) -> bool:
    return isinstance(document.get("server"), dict) and ("manifest_version" in document or "dxt_version" in document)


def read_manifest(document: Mapping[str, object]) -> ReadFile | None:
    """The server of a bundle; `${__dirname}` in it is the folder of the manifest. None: it is no manifest."""
    if not is_manifest(document):
        return None
    faults: list[str] = []
    reader = ObjectReader(document, path="manifest", faults=faults)
    name = reader.required_text("name") or "bundle"
    _check_version(reader)
    _check_platforms(reader)
    inputs = _read_inputs(reader)
    value = _read_server(reader.nested("server"), {asked.id for asked in inputs})
    entry = ReadEntry(name=name, path="manifest.server", value={**value, "cwd": "."}, faults=tuple(faults))
    return ReadFile(shape="the manifest of a bundle", entries=(entry,), inputs=inputs)


def read_needs(document: Mapping[str, object]) -> Needs:
    """What is not text is left out."""
    compatibility = document.get("compatibility")
    runtimes = cast("dict[str, object]", compatibility).get("runtimes") if isinstance(compatibility, dict) else None
    if not isinstance(runtimes, dict):
        return Needs()
    members = cast("dict[str, object]", runtimes)
    return Needs(runtimes={name: text for name, text in members.items() if isinstance(text, str)})


def _check_version(reader: ObjectReader) -> None:
    key = "manifest_version" if "manifest_version" in reader else "dxt_version"
    version = reader.text(key)
    if version is not None and not _KNOWN_VERSION.fullmatch(version):
        reader.fault(key, "is not known here; versions 0.x and 1.x are")


def _check_platforms(reader: ObjectReader) -> None:
    if not isinstance(reader.get("compatibility"), dict):
        return
    compatibility = reader.nested("compatibility")
    platforms = compatibility.texts("platforms")
    if platforms and PLATFORM not in platforms:
        compatibility.fault("platforms", f"does not name {PLATFORM}: the bundle is for other systems")


def _read_server(reader: ObjectReader, inputs: set[str]) -> dict[str, object]:
    kind = reader.required_text("type")
    if kind is not None and kind not in _TYPES:
        reader.fault("type", f"must be one of {', '.join(_TYPES)}")
        return {}
    entry_point = _read_entry_point(reader)
    if reader.get("mcp_config") is None:
        if entry_point is None:
            if reader.get("entry_point") is None:
                reader.fault("entry_point", "is missing")
            return {}
        return _derive(kind or "", entry_point)
    return _read_config(reader.nested("mcp_config"), kind=kind, entry_point=entry_point, inputs=inputs)


def _read_entry_point(reader: ObjectReader) -> str | None:
    text = reader.text("entry_point")
    if not text:
        return None
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or not path.parts:
        reader.fault("entry_point", "must be a path inside the bundle")
        return None
    return str(path)


def _derive(kind: str, entry_point: str) -> dict[str, object]:
    """How a server is started whose manifest says no more than its type and its file."""
    path = "${__dirname}/" + entry_point
    match kind:
        case "node":
            return {"command": "node", "args": [path]}
        case "python":
            library = str(PurePosixPath(entry_point).parent / "lib")
            return {"command": "python3", "args": [path], "env": {"PYTHONPATH": "${__dirname}/" + library}}
        case "uv":
            return {"command": "uv", "args": ["run", "--directory", "${__dirname}", entry_point]}
        case _:
            return {"command": path}


def _read_config(
    reader: ObjectReader, *, kind: str | None, entry_point: str | None, inputs: set[str]
) -> dict[str, object]:
    command, args, env = reader.text("command"), reader.texts("args"), _read_env(reader)
    overrides = reader.get("platform_overrides")
    if isinstance(overrides, dict) and PLATFORM in overrides:
        ours = reader.nested("platform_overrides").nested(PLATFORM)
        command = ours.text("command") or command
        args = ours.texts("args") if ours.get("args") is not None else args
        env |= _read_env(ours)
    if not command:
        reader.fault("command", "is missing")
        return {}
    if command.lower().endswith(_WINDOWS_PROGRAM):
        reader.fault("command", f"is a program for Windows, and platform_overrides names none for {PLATFORM}")

    def fill(text: str, key: str) -> str:
        return _fill(text, inputs, f"{reader.path}.{key}", reader.faults)

    value: dict[str, object] = {"command": fill(_locate(command, kind, entry_point), "command")}
    if args:
        value["args"] = [fill(arg, f"args[{index}]") for index, arg in enumerate(args)]
    if env:
        value["env"] = {name: fill(text, f"env.{show_key(name)}") for name, text in env.items()}
    return value


def _read_env(reader: ObjectReader) -> dict[str, str]:
    if reader.get("env") is None:
        return {}
    env = reader.nested("env")
    variables: dict[str, str] = {}
    for name, value in env.items():
        if isinstance(value, (bool, int, float)):
            variables[name] = _show(value)
        elif isinstance(value, str):
            variables[name] = env.text(name) or ""
        elif value is not None:
            env.fault(name, f"must be a string, not {name_type(value)}")
    return variables


def _locate(command: str, kind: str | None, entry_point: str | None) -> str:
    """A program of the bundle by its place; `python` as it is called on this system (PEP 394)."""
    if command == "python":
        return "python3"
    is_own = "/" in command or (kind == "binary" and command == entry_point)
    if is_own and not command.startswith(("/", "${")):
        return "${__dirname}/" + command.removeprefix("./")
    return command


def _fill(text: str, inputs: set[str], path: str, faults: list[str]) -> str:
    """The text with our own placeholders in it; `path` is where it stands."""
    if _BARE_NAME.fullmatch(text):
        # In our own file that is a variable of the operator's.
        faults.append(f"{path} is a $ and a name, which a bundle cannot ask for")
        return text
    parts: list[str] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        before, name = text[position : match.start()], match[1]
        user_key = name.removeprefix("user_config.")
        if before.endswith("$"):
            faults.append(f"{path} holds $ before ${{, which is not known here")
        elif name in _FOLDERS:
            parts += [_escape(before), _FOLDERS[name]]
        elif user_key != name and user_key in inputs:
            parts += [_escape(before), match[0]]
        else:
            shown = match[0] if _KEY.fullmatch(user_key) else "${...}"
            why = "user_config does not define" if user_key != name else "a bundle cannot ask for"
            faults.append(f"{path} holds {shown}, which {why}")
        position = match.end()
    return "".join([*parts, _escape(text[position:])])


def _escape(text: str) -> str:
    return text.replace("${", "$${")


def _read_inputs(reader: ObjectReader) -> tuple[Input, ...]:
    if reader.get("user_config") is None:
        return ()
    options = reader.nested("user_config")
    inputs: list[Input] = []
    for key, value in options.items():
        if not _KEY.fullmatch(key):
            options.fault(key, "has a name that cannot be asked for")
        elif not isinstance(value, dict):
            options.fault(key, f"must be an object, not {name_type(value)}")
        else:
            inputs.append(_read_input(key, options.nested(key)))
    return tuple(inputs)


def _read_input(key: str, option: ObjectReader) -> Input:
    kind = option.text("type") or "string"
    if kind not in _INPUT_TYPES:
        option.fault("type", f"must be one of {', '.join(_INPUT_TYPES)}")
    described = [option.text("title") or "", option.text("description") or ""]
    is_multiple = option.flag("multiple")
    return Input(
        id=key,
        description=": ".join(text for text in dict.fromkeys(described) if text),
        is_secret=option.flag("sensitive"),
        is_required=option.flag("required"),
        default=_read_default(option, is_multiple=is_multiple),
        choices=("true", "false") if kind == "boolean" else (),
        is_multiple=is_multiple,
        is_number=kind == "number",
        minimum=_read_bound(option, "min"),
        maximum=_read_bound(option, "max"),
    )


def _read_default(option: ObjectReader, *, is_multiple: bool) -> str | None:
    """As text; of an input that may be several values, a JSON list. It may name folders, and nothing else."""
    value = option.get("default")
    if value is None:
        return None
    if isinstance(value, list):
        items = [_fill(text, set(), option.path_of("default"), option.faults) for text in option.texts("default")]
        if is_multiple:
            return json.dumps(items, ensure_ascii=False)
        if len(items) > 1:
            option.fault("default", 'is a list, and "multiple" is not true')
        return items[0] if items else None
    if isinstance(value, (str, bool, int, float)):
        text = value if isinstance(value, str) else _show(value)
        # An empty text is how many manifests say that there is no default.
        return _fill(text, set(), option.path_of("default"), option.faults) if text else None
    option.fault("default", f"must be a text, a number, true, false or a list, not {name_type(value)}")
    return None


def _read_bound(option: ObjectReader, key: str) -> float | None:
    value = option.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        option.fault(key, f"must be a number, not {name_type(value)}")
        return None
    return float(value)


def _show(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
