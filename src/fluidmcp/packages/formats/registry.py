"""server.json of the MCP registry, in its schemas from 2025-07 to 2025-12, and as the registry's API wraps it. Pure.

A server is published as several packages: the first that can be started here is taken. What the operator must give is
asked for (`${input:NAME}`) where it stands in an argument, and taken from the environment where it is a variable.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast
from urllib.parse import urlsplit

from fluidmcp.config.reading import ObjectReader, name_type
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile

_SNAKE: Final = re.compile(r"_([a-z])")
_BRACES: Final = re.compile(r"\{([^{}]+)\}")
_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_OPTION: Final = re.compile(r"-{1,2}[A-Za-z0-9-]{1,40}", re.ASCII)
_LATEST: Final = ("", "latest")
_RUNTIMES: Final = {
    "npm": ("npx", "npm", "node"),
    "pypi": ("uvx", "uv", "pipx", "pip", "python", "python3"),
    "oci": ("docker", "podman"),
    "nuget": ("dnx", "dotnet"),
    "mcpb": (),
}
_PLAIN_ARGUMENTS: Final = {"npm": ("-y", "--yes", "-q", "--quiet"), "pypi": ("-q", "--quiet"), "nuget": ("--yes", "-y")}
"""What only tells a runner to ask nobody, or to say nothing."""
_CONTAINER_ARGUMENTS: Final = ("run", "-i", "--interactive", "--rm", "-it", "-t", "--tty")
"""What a container is started with anyway, or what needs a terminal."""


@dataclass(slots=True, kw_only=True)
class _Package:
    """One package under way."""

    reader: ObjectReader
    kind: str
    identifier: str
    version: str
    inputs: dict[str, Input] = field(default_factory=dict[str, Input])

    def ask(self, asked: Input) -> str:
        """The place of an input in a text. The same one asked for twice is one, and required if either is."""
        wanted = asked
        for number in range(2, len(self.inputs) + 3):
            before = self.inputs.setdefault(wanted.id, wanted)
            if replace(before, is_required=True) == replace(wanted, is_required=True):
                self.inputs[wanted.id] = replace(before, is_required=before.is_required or wanted.is_required)
                break
            wanted = replace(asked, id=f"{asked.id}_{number}")
        return f"${{input:{wanted.id}}}"


def is_registry_file(document: Mapping[str, object]) -> bool:
    server = _unwrap(document)
    published = (server.get("packages"), server.get("remotes"))
    return isinstance(server.get("name"), str) and any(isinstance(part, list) for part in published)


def read_registry_file(document: Mapping[str, object]) -> ReadFile | None:
    """The server of a server.json. None: it is none."""
    if not is_registry_file(document):
        return None
    entry, inputs = _read_server(_camel(_unwrap(document)))
    return ReadFile(shape="a server.json of the MCP registry", entries=(entry,), inputs=inputs)


def _unwrap(document: Mapping[str, object]) -> Mapping[str, object]:
    server = document.get("server")
    return cast("Mapping[str, object]", server) if isinstance(server, dict) and "packages" not in document else document


def _camel(document: Mapping[str, object]) -> dict[str, object]:
    """With `registry_type` as `registryType`, as before 2025-09-16; the keys of `variables` are names, and stay."""
    renamed: dict[str, object] = {}
    for key, value in document.items():
        name = _SNAKE.sub(lambda match: match[1].upper(), key)
        if name == "variables" and isinstance(value, dict):
            renamed[name] = {key: _camel_within(one) for key, one in cast("dict[str, object]", value).items()}
        else:
            renamed.setdefault(name, _camel_within(value))
    return renamed


def _camel_within(value: object) -> object:
    if isinstance(value, dict):
        return _camel(cast("dict[str, object]", value))
    return [_camel_within(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _read_server(server: Mapping[str, object]) -> tuple[ReadEntry, tuple[Input, ...]]:
    full = cast("str", server["name"])
    name = full.rpartition("/")[2] or full
    packages = server.get("packages")
    faults: list[str] = []
    for index, value in enumerate(cast("list[object]", packages) if isinstance(packages, list) else ()):
        reader = ObjectReader(value, path=f"server.packages[{index}]", faults=[])
        translated, inputs = _read_package(reader)
        if not reader.faults:
            return ReadEntry(name=name, path=reader.path, value=translated), inputs
        faults += reader.faults
    if not faults and isinstance(server.get("remotes"), list):
        faults = ["server.remotes are all there is, and remote servers cannot be run yet"]
    path = "server.packages"
    return ReadEntry(name=name, path=path, value={}, faults=tuple(faults or [f"{path} is empty"])), ()


def _read_package(reader: ObjectReader) -> tuple[dict[str, object], tuple[Input, ...]]:
    kind = (reader.text("registryType") or reader.text("registryName") or "").lower()
    kind = {"docker": "oci", "dockerhub": "oci"}.get(kind, kind)
    identifier = reader.text("identifier") or reader.text("name") or ""
    if kind not in _RUNTIMES:
        reader.fault("registryType", f"must be one of {', '.join(_RUNTIMES)}")
    elif not identifier:
        reader.fault("identifier", "is missing")
    elif identifier.startswith("-"):
        reader.fault("identifier", "begins like an option")
    if reader.faults:
        return {}, ()
    _check_transport(reader)
    _check_base(reader, kind)
    _check_hint(reader, kind)
    package = _Package(reader=reader, kind=kind, identifier=identifier, version=reader.text("version") or "")
    value = _translate(package)
    return value, tuple(package.inputs.values())


def _check_transport(reader: ObjectReader) -> None:
    transport = reader.get("transport")
    kind = cast("Mapping[str, object]", transport).get("type") if isinstance(transport, dict) else transport
    if kind not in (None, "stdio"):
        reader.fault(
            "transport", "is not stdio: the server speaks HTTP at an address of its own, which cannot be run yet"
        )


def _check_base(reader: ObjectReader, kind: str) -> None:
    """A package of another registry must not be looked up in the usual one, where its name may be somebody else's."""
    base = reader.text("registryBaseUrl")
    if not base or kind not in ("npm", "pypi"):
        return
    labels = (urlsplit(base).hostname or "").split(".")
    if len(labels) < 2 or labels[-2] not in (kind, f"{kind}js"):
        tool = "npm" if kind == "npm" else "uv"
        reader.fault("registryBaseUrl", f"is another registry; name it in the settings of {tool}, and take it out here")


def _check_hint(reader: ObjectReader, kind: str) -> None:
    hint = reader.text("runtimeHint")
    if hint and _RUNTIMES[kind] and hint not in _RUNTIMES[kind]:
        reader.fault("runtimeHint", f"is not known for {kind}; {next(iter(_RUNTIMES[kind]))} is")


def _translate(package: _Package) -> dict[str, object]:
    reader = package.reader
    env = _read_variables(package)
    before = _read_arguments(package, "runtimeArguments")
    after = _read_arguments(package, "packageArguments")
    value: dict[str, object] = {"env": env} if env else {}
    match package.kind:
        case "npm" | "pypi":
            _drop_plain(package, before)
            at = "" if package.version in _LATEST else ("@" if package.kind == "npm" else "==") + package.version
            return {
                "package": f"{package.kind}:{package.identifier}{at}",
                **({"args": after} if after else {}),
                **value,
            }
        case "nuget":
            _drop_plain(package, before)
            at = "" if package.version in _LATEST else f"@{package.version}"
            rest = ["--", *after] if after else []
            return {"command": "dnx", "args": [f"{package.identifier}{at}", "--yes", *rest], **value}
        case "oci":
            command = reader.text("runtimeHint") or "docker"
            forwarded = [word for name in env for word in ("-e", name)]
            started = [word for word in before if word not in _CONTAINER_ARGUMENTS]
            image = _name_image(package)
            return {"command": command, "args": ["run", "-i", "--rm", *forwarded, *started, image, *after], **value}
        case _:
            checked = ", compare its SHA-256 with fileSha256" if reader.get("fileSha256") else ""
            reader.fault("identifier", f"is a bundle: download it{checked}, and run: fluidmcp run FILE.mcpb --install")
            return {}


def _drop_plain(package: _Package, words: Sequence[str]) -> None:
    """Arguments of npx and uvx that change nothing are left out, and no others are known."""
    at = (package.identifier, f"{package.identifier}@{package.version}", f"{package.identifier}=={package.version}")
    plain = (*_PLAIN_ARGUMENTS.get(package.kind, ()), *at)
    for word in words:
        if word not in plain:
            shown = word if _OPTION.fullmatch(word) else "an argument"
            package.reader.fault("runtimeArguments", f"holds {shown}, which is not known for {package.kind}")


def _name_image(package: _Package) -> str:
    """Since 2025-10-11 the identifier says it all; before, the registry and the version stood apart."""
    image = package.identifier
    host = urlsplit(package.reader.text("registryBaseUrl") or "").hostname or ""
    first = image.partition("/")[0]
    has_host = "/" in image and ("." in first or ":" in first or first == "localhost")
    if host and not host.endswith("docker.io") and not has_host:
        image = f"{host}/{image}"
    is_tagged = "@" in image or ":" in image.rpartition("/")[2]
    return image if is_tagged or package.version in _LATEST else f"{image}:{package.version}"


def _read_variables(package: _Package) -> dict[str, object]:
    """Without a value it is the gateway's own; with a default too, where that has one."""
    env: dict[str, object] = {}
    for reader in _read_list(package.reader, "environmentVariables"):
        name = reader.required_text("name")
        if name is None:
            continue
        described = _describe(reader)
        fixed, default = _read_text(reader, "value"), _read_text(reader, "default")
        if fixed is not None:
            env[name] = {"value": _substitute(package, reader, fixed), **described}
        elif default:
            braces = any(sign in default for sign in "{}$")
            env[name] = {"value": _escape(default) if braces else f"${{{name}:-{default}}}", **described}
        else:
            env[name] = {"required": reader.flag("isRequired"), **described}
    return env


def _describe(reader: ObjectReader) -> dict[str, object]:
    choices = reader.texts("choices")
    parts = (reader.text("description") or "", f"one of {', '.join(choices)}" if choices else "")
    description = "; ".join(part for part in parts if part)
    return {"description": description} if description else {}


def _read_arguments(package: _Package, key: str) -> list[str]:
    words: list[str] = []
    for reader in _read_list(package.reader, key):
        kind = reader.text("type") or ("named" if reader.get("name") is not None else "positional")
        if kind == "named":
            words += _read_named(package, reader)
        elif kind == "positional":
            words += _read_positional(package, reader)
        else:
            reader.fault("type", 'must be "positional" or "named"')
    return words


def _read_positional(package: _Package, reader: ObjectReader) -> list[str]:
    fixed = _read_text(reader, "value")
    if fixed is not None:
        return [_substitute(package, reader, fixed)]
    name = reader.text("valueHint") or reader.text("name") or "argument"
    asked = _read_input(reader, name, is_multiple=reader.flag("isRepeated"))
    return [package.ask(asked)] if asked.is_required or asked.default is not None else []


def _read_named(package: _Package, reader: ObjectReader) -> list[str]:
    """`--name value`; `--name` alone where nothing is said of a value at all, as for a switch."""
    name = reader.required_text("name")
    if name is None:
        return []
    fixed = _read_text(reader, "value")
    if fixed is not None:
        return _join(name, _substitute(package, reader, fixed)) if fixed else [_escape(name)]
    asked = _read_input(reader, name.strip("-=") or "argument")
    if asked.default is not None or (asked.is_required and not _is_switch(reader)):
        return _join(name, package.ask(asked))
    return [_escape(name)] if _is_switch(reader) else []


def _is_switch(reader: ObjectReader) -> bool:
    return not any(
        reader.get(key)
        for key in ("description", "valueHint", "placeholder", "choices", "format", "isSecret", "variables")
    )


def _join(name: str, value: str) -> list[str]:
    return [f"{_escape(name)}{value}"] if name.endswith("=") else [_escape(name), value]


def _substitute(package: _Package, reader: ObjectReader, text: str) -> str:
    """The text with its `{variables}` filled in; a name that is not among them stays as it is."""
    variables = reader.nested("variables") if reader.get("variables") is not None else None

    def fill(match: re.Match[str]) -> str | None:
        if variables is None or not isinstance(variables.get(match[1]), dict):
            return None
        variable = variables.nested(match[1])
        fixed = _read_text(variable, "value")
        if fixed is not None:
            return _escape(fixed)
        return package.ask(_read_input(variable, match[1], is_needed=True))

    parts: list[str] = []
    position = 0
    for match in _BRACES.finditer(text):
        filled = fill(match)
        if filled is not None:
            before = text[position : match.start()]
            # `${input:x}` behind a `$` would be a text.
            parts += [_escape(before), filled]
            if before.endswith("$"):
                reader.fault("value", "holds $ before a variable, which is not known here")
            position = match.end()
    return "".join([*parts, _escape(text[position:])])


def _read_input(reader: ObjectReader, name: str, *, is_multiple: bool = False, is_needed: bool = False) -> Input:
    kind = reader.text("format")
    choices = reader.texts("choices")
    default = _read_text(reader, "default") or None
    return Input(
        id=_IDENTIFIER.sub("_", name)[:64],
        description=reader.text("description") or "",
        is_secret=reader.flag("isSecret"),
        is_required=is_needed or reader.flag("isRequired"),
        default=default,
        choices=choices or (("true", "false") if kind == "boolean" else ()),
        is_multiple=is_multiple,
        is_number=kind == "number",
    )


def _read_list(reader: ObjectReader, key: str) -> list[ObjectReader]:
    value = reader.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        reader.fault(key, f"must be a list, not {name_type(value)}")
        return []
    items = cast("Sequence[object]", value)
    readers = [
        ObjectReader(item, path=f"{reader.path_of(key)}[{index}]", faults=reader.faults)
        for index, item in enumerate(items)
    ]
    return [item for item in readers if item.is_object]


def _read_text(reader: ObjectReader, key: str) -> str | None:
    """Also of a number, or of true and false."""
    value = reader.get(key)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else reader.text(key)


def _escape(text: str) -> str:
    return text.replace("${", "$${")
