"""Words of a command line, in `args` or in a shell's script, and which of them are secrets by their option. Pure."""

import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.filling.scripts import find_script
from fluidmcp.config.variables import sounds_secret
from fluidmcp.packages.importing.credentials import (
    Span,
    find_in_value,
    find_secrets,
    find_user_password,
    name_kind,
    unite_spans,
)

Find = Callable[[str], Iterable[Span]]

_OPTION: Final = re.compile(r"-[A-Za-z]|--[a-z]+(?:-[a-z]+)*(?:=.*)?", re.ASCII | re.DOTALL)
"""What is an option even behind one that wants a value."""
_HEADER_OPTIONS: Final = frozenset({"-H", "--header", "--headers"})
_USER_OPTIONS: Final = frozenset({"-u", "-U", "--user", "--userpwd", "--proxy-user"})
_OTHER_P: Final = frozenset(
    "npx npm pnpm yarn bunx bun uvx uv docker podman nerdctl mkdir cp ls ssh install pip pipx".split()
)
"""Programs whose `-p` is no password."""
_PORT: Final = re.compile(r"[\d.:/-]*(?:tcp|udp)?|[@./~].*", re.DOTALL)
_HEADER: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*[:=]\s*(.*)\Z", re.ASCII | re.DOTALL)
_PLAIN_HEADERS: Final = frozenset({"accept", "content-type", "user-agent"})
_PIECE: Final = re.compile(
    r"(?P<word>(?:\$'(?:[^'\\]|\\.)*'|'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.|[^\s;&|()<>\"'\\])+)|(?P<end>[;&|()\n])",
    re.DOTALL,
)
_EXPANSION: Final = re.compile(
    r"\$\{[#!]?\w+(?::?[-=+?])?|\$\{(?:env|input):[^{}]*\}|\$\w+|\$\([^()]*\)|\$\(.*|`.*|\}", re.ASCII | re.DOTALL
)
_FROM_ELSEWHERE: Final = re.compile(
    r"(?:\$\{(?:(?:env|input):[\w-]+|[\w.|]+)\}|\$[A-Za-z_]\w*|[^A-Za-z0-9$])+", re.ASCII
)
"""What holds nothing but placeholders without a default."""
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


@dataclass(frozen=True, slots=True)
class Role:
    """What a word is, by the option before it. `finds`: the secrets of a value; None: it is found by its form."""

    finds: Find | None = None
    kind: str = "SECRET"
    is_option: bool = False


def find_role(command: str, option: str, word: str) -> Role:
    """What a word is behind `option`, which is empty where the word before is none."""
    is_option = word.startswith("-") and len(word) > 1
    if is_option and _OPTION.fullmatch(word):
        return Role(is_option=True)
    if not option or "=" in option:
        return Role(is_option=is_option)
    if sounds_secret(option):
        return Role(find_in_value, name_kind(option))
    if option in _HEADER_OPTIONS:
        return Role(_find_in_header, "HEADER")
    if option in _USER_OPTIONS and any(find_user_password(word)):
        return Role(find_user_password, "PASSWORD")
    if option == "-p" and os.path.basename(command) not in _OTHER_P and not _PORT.fullmatch(word):
        return Role(find_in_value, "PASSWORD")
    return Role(is_option=is_option)


def _find_in_header(text: str) -> Iterator[Span]:
    match = _HEADER.match(text)
    if match is None or match[1].lower() in _PLAIN_HEADERS:
        return
    for span in find_in_value(match[2]):
        yield Span(match.start(2) + span.start, match.start(2) + span.end, name_kind(match[1]))


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a script, without the quotes that stand around all of it."""

    text: str
    start: int
    """Where the text begins in the script."""
    quote: str
    """The quotes around it: `'`, `"` or none."""
    finds: Find | None
    kind: str

    def list_secrets(self) -> Iterable[Span]:
        """The secrets in it, those of command lines inside of its quotes too."""
        if self.finds is not None:
            return self.finds(self.text)
        inner = split_script(self.text) if self.quote else ()
        behind_options = (
            Span(word.start + span.start, word.start + span.end, span.hint if span.hint != "SECRET" else word.kind)
            for word in inner
            if word.finds is not None or word.quote
            for span in word.list_secrets()
        )
        return unite_spans((*find_secrets(self.text), *behind_options))

    def list_literals(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The stretches between two places that the shell does not fill in itself."""
        if self.quote == "'":
            yield start, end
            return
        position = start
        for match in _EXPANSION.finditer(self.text, start, end):
            if position < match.start():
                yield position, match.start()
            position = match.end()
        if position < end:
            yield position, end

    def read(self, start: int, end: int) -> str:
        """What the shell makes of a stretch."""
        text = self.text[start:end]
        if self.quote == "'":
            return text
        return re.sub(r"\\([$`\"\\])" if self.quote else r"\\(.)", r"\1", text, flags=re.DOTALL)

    def quote_variable(self, name: str, value: str) -> str:
        """What stands for a variable in the place of a value of this word."""
        variable = f"${{env:{name}}}"
        return variable if self.quote or re.fullmatch(r"[^\s*?\[\]~]*", value) else f'"{variable}"'


def split_script(script: str) -> Iterator[Word]:
    """The words of a script in their order."""
    command = option = ""
    for match in _PIECE.finditer(script):
        if match["word"] is None:
            command = option = ""
            continue
        text, start = match["word"], match.start()
        quote = (
            text[0] if text[0] in "'\"" and len(text) > 1 and text[0] == text[-1] and text[0] not in text[1:-1] else ""
        )
        if quote:
            text, start = text[1:-1], start + 1
        role = find_role(command, option, text)
        yield Word(text, start, quote, role.finds, role.kind)
        option = text if role.is_option else ""
        if not command and not _ASSIGNMENT.match(text):
            command = text


def mask_args(command: str, args: Sequence[str]) -> tuple[str, ...]:
    """Arguments as they are written, with `***` in place of each secret: what may be shown."""
    return tuple(_mask(arg, spans) for arg, spans in _find_all(command, args))


def list_literal_secrets(command: str, args: Sequence[str]) -> tuple[str, ...]:
    """The secrets that stand in arguments as they are written: what no output of the server may show."""
    return tuple(
        arg[span.start : span.end]
        for arg, spans in _find_all(command, args)
        for span in spans
        if not _FROM_ELSEWHERE.fullmatch(arg[span.start : span.end])
    )


def _find_all(command: str, args: Sequence[str]) -> Iterator[tuple[str, Sequence[Span]]]:
    """Each argument, and where its secrets are."""
    script = find_script(command, args)
    option = ""
    for index, arg in enumerate(args):
        role = find_role(command, option, arg)
        if index == script:
            words = [(word.start, word.list_secrets()) for word in split_script(arg)]
        else:
            words = [(0, find_secrets(arg) if role.finds is None else role.finds(arg))]
        found = (Span(start + span.start, start + span.end) for start, spans in words for span in spans)
        yield arg, tuple(unite_spans(found))
        option = arg if role.is_option and index != script else ""


def _mask(text: str, spans: Iterable[Span]) -> str:
    pieces: list[str] = []
    position = 0
    for span in spans:
        if _FROM_ELSEWHERE.fullmatch(text[span.start : span.end]):
            continue
        pieces += [text[position : span.start], "***"]
        position = span.end
    return "".join((*pieces, text[position:]))
