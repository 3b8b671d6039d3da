"""Texts of other programs' files, with their placeholders in our own spelling. Pure module: no I/O.

It reads them as `config/filling/expand` does, and what it writes means there what the text meant before.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.filling.expand import BareNames, ExpansionError
from fluidmcp.config.filling.templates import parse_placeholder

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WITH_DEFAULT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?-)(.*)", re.ASCII | re.DOTALL)
_TEMPLATE: Final = re.compile(r"\$\{\{\s*(?:secrets|inputs|env)\.([A-Za-z0-9_-]+)\s*\}\}", re.ASCII)
_IN_BRACES: Final = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_WHOLE: Final = re.compile(r"\$([A-Z_][A-Z0-9_]*)", re.ASCII)
_ANYWHERE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_FOLDER_WORDS: Final = frozenset({"__dirname", "extensionPath"})
"""What stands for the folder of the file."""
_WORDS: Final = _FOLDER_WORDS | {"workspaceFolder", "workspaceFolderBasename", "userHome", "pathSeparator"}
"""What stands for something else than a variable of that name."""
_DOLLAR: Final = "${LITERAL_DOLLAR:-$}"
"""A dollar sign where the next character would make more of it; the variable is one that nobody sets."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that means itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands for something else, in our own spelling."""

    text: str
    name: str = ""
    """The variable, where it is one."""
    operator: str = ""
    """`-` or `:-` where there is a default."""
    default: "tuple[Part, ...]" = ()


Part = Literal | Placeholder


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How placeholders are written in a file, and what becomes of those that mean something else elsewhere."""

    bare_names: BareNames = "none"
    braces_name_variables: bool = False
    input_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """New ids of inputs, by the old ones."""
    workspace: tuple[Part, ...] | None = None
    """What `${workspaceFolder}` becomes; None: it stays."""
    workspace_name: str = ""
    folder: "tuple[Part, ...] | None" = None
    """What `${__dirname}` and `${extensionPath}` become; None: they stay."""


OWN: Final = Spelling(bare_names="whole")
"""That of a file which `fluidmcp import` wrote."""


def split_text(text: str, spelling: Spelling) -> tuple[Part, ...]:
    """The parts of a text.

    Raises:
        ExpansionError: it holds a placeholder that is not known here.
    """
    return _unite(_split(text, spelling))


def join_text(parts: Iterable[Part]) -> str:
    """The text that means the same in a file of ours."""
    united = _unite(parts)
    pieces: list[str] = []
    for index, part in enumerate(united):
        if isinstance(part, Placeholder):
            pieces.append(_write(part))
            continue
        text = part.text.replace("${", "$${")
        if text.endswith("$") and index + 1 < len(united):
            text = text[:-1] + _DOLLAR
        pieces.append(text)
    joined = "".join(pieces)
    return _DOLLAR + joined[1:] if len(united) == 1 and _is_literal(united[0]) and _WHOLE.fullmatch(joined) else joined


def name_variable(name: str) -> Placeholder:
    """The placeholder of a variable."""
    return Placeholder(f"${{env:{name}}}" if name in _WORDS else f"${{{name}}}", name)


def _is_literal(part: Part) -> bool:
    return isinstance(part, Literal)


def _write(part: Placeholder) -> str:
    if not part.operator:
        return part.text
    return f"${{{part.name}{part.operator}{join_text(part.default)}}}"


def _unite(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The same with neighbouring literals as one."""
    united: list[Part] = []
    for part in parts:
        last = united[-1] if united else None
        if isinstance(part, Literal) and isinstance(last, Literal):
            united[-1] = Literal(last.text + part.text)
        elif part != Literal(""):
            united.append(part)
    return tuple(united)


def _split(text: str, spelling: Spelling) -> Iterator[Part]:
    if not spelling.braces_name_variables:
        yield from _split_dollars(text, spelling)
        return
    position = 0
    for match in _IN_BRACES.finditer(text):
        yield from _split_dollars(text[position : match.start()], spelling)
        yield name_variable(match[1])
        position = match.end()
    yield from _split_dollars(text[position:], spelling)


def _split_dollars(text: str, spelling: Spelling) -> Iterator[Part]:
    whole = _WHOLE.fullmatch(text) if spelling.bare_names != "none" else None
    if whole is not None:
        yield name_variable(whole[1])
        return
    position = 0
    while (found := text.find("${", position)) >= 0:
        before = text[position:found]
        if before.endswith("$"):
            yield from _split_bare(before[:-1], spelling)
            yield Literal("${")
            position = found + 2
            continue
        yield from _split_bare(before, spelling)
        template = _TEMPLATE.match(text, found)
        if template is not None:
            name = template[1].upper().replace("-", "_")
            yield name_variable(name) if _NAME.fullmatch(name) else Placeholder(template[0], name)
            position = template.end()
            continue
        end = _find_end(text, found + 2)
        yield from _read(text[found + 2 : end], spelling)
        position = end + 1
    yield from _split_bare(text[position:], spelling)


def _split_bare(text: str, spelling: Spelling) -> Iterator[Part]:
    position = 0
    for match in _ANYWHERE.finditer(text) if spelling.bare_names == "anywhere" else ():
        yield Literal(text[position : match.start()])
        yield name_variable(match[1])
        position = match.end()
    yield Literal(text[position:])


def _read(inner: str, spelling: Spelling) -> Iterator[Part]:
    """The parts for what stands between the braces."""
    kind, _, rest = inner.partition(":")
    if inner == "workspaceFolder" and spelling.workspace is not None:
        yield from spelling.workspace
    elif inner == "workspaceFolderBasename" and spelling.workspace is not None:
        yield Literal(spelling.workspace_name)
    elif inner in _FOLDER_WORDS and spelling.folder is not None:
        yield from spelling.folder
    elif inner in _WORDS or inner == "/":
        yield Placeholder(f"${{{inner}}}")
    elif kind == "input" and rest:
        yield Placeholder(f"${{input:{spelling.input_ids.get(rest, rest)}}}")
    elif inner.startswith("user_config."):
        key = inner.partition(".")[2]
        yield Placeholder(f"${{input:{spelling.input_ids.get(key, key)}}}")
    elif (personal := parse_placeholder(inner)) is not None:
        yield Placeholder(str(personal))
    else:
        yield _read_variable(rest if kind == "env" and rest else inner, spelling)


def _read_variable(inner: str, spelling: Spelling) -> Placeholder:
    if _NAME.fullmatch(inner):
        return name_variable(inner)
    match = _WITH_DEFAULT.fullmatch(inner)
    if match is None:
        raise ExpansionError("holds a placeholder that is not known here")
    name, operator, default = match.groups()
    return Placeholder("", name, operator, split_text(default, spelling))


def _find_end(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ExpansionError("holds ${ without its }")
