"""From the bytes of a file to what they say: JSON as editors write it, TOML or YAML, told apart by the text. Pure.

A key that stands twice in one object is refused in all three: which of the two is meant cannot be known, and the other
programs disagree about it.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Final, NoReturn, cast

from fluidmcp.config.reading import name_type, show_key
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages import deferred
from fluidmcp.packages.formats.jsonc import blank_comments
from fluidmcp.packages.formats.members import DuplicateKeyError, build_object

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

_CORRECT: Final = "Correct the file and run the command again."
_TOML_LINE: Final = re.compile(r"\[{1,2}[\w.\"' -]+\]{1,2}\s*(?:#.*)?|[\w.\"'-]+\s*=.*")
_YAML_LINE: Final = re.compile(r"---|%YAML|[\w.\"'-]+\s*:(?:\s|$)")
_BY_ENDING: Final = {"toml": "TOML", "yaml": "YAML", "yml": "YAML"}
_MAX_KEY_PARTS: Final = 64
_LONG_TOML_KEY: Final = re.compile(
    rf"(?<![\w-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MAX_KEY_PARTS}}}"
)
"""A key of so many parts, for which tomllib takes time that grows with their square."""
_HALF: Final = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F]")
"""How a half of a character (a surrogate) is written."""
_COMMENT_LINES: Final = re.compile(r"\A(?:\s*#[^\n]*(?:\n|\Z))+")


def decode_document(text: bytes, *, source: str, max_bytes: int = MAX_FILE_BYTES) -> Mapping[str, object]:
    """The top-level object of a file of at most `max_bytes`; `source` names it in messages.

    Raises:
        ConfigurationError: it is none of the three, names a key twice, or is no object. Line and column are named.
    """
    if len(text) > max_bytes:
        raise ConfigurationError(
            f"{source} cannot be read.", why=f"It is larger than {max_bytes} bytes.", hint=_CORRECT
        )
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{source} cannot be read.", why=f"Byte {error.start + 1} is not UTF-8.", hint="Save the file as UTF-8."
        ) from None
    language = tell_language(decoded, source)
    try:
        document = _DECODERS[language](decoded)
    except _FaultError as fault:
        raise ConfigurationError(f"{source} cannot be read as {language}.", why=fault.why, hint=fault.hint) from None
    except DuplicateKeyError as error:
        raise ConfigurationError(
            f"{source} has the key {show_key(error.key)} twice in one object.",
            why="Which of the two is meant cannot be known.",
            hint="Remove or rename one of them.",
        ) from None
    if _HALF.search(decoded) and not _is_text(document):
        raise ConfigurationError(
            f"{source} cannot be read as {language}.",
            why="It holds half of a character, such as \\ud800.",
            hint=_CORRECT,
        )
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{source} cannot be read as {language}.",
            why=f"It is {name_type(document)}, not an object.",
            hint='Begin it with {"mcpServers": ...}.',
        )
    return cast("dict[str, object]", document)


class _FaultError(ValueError):
    def __init__(self, why: str, hint: str = _CORRECT) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def tell_language(text: str, source: str) -> str:
    """By what the text begins with; its name decides only where that says nothing."""
    begin = _COMMENT_LINES.sub("", text).lstrip()
    line = begin.partition("\n")[0].rstrip("\r")
    if _TOML_LINE.fullmatch(line):
        return "TOML"
    if _YAML_LINE.match(line):
        return "YAML"
    return _BY_ENDING.get(source.rpartition(".")[2].lower(), "JSON")


def _decode_json(text: str) -> object:
    try:
        return json.loads(blank_comments(text), object_pairs_hook=build_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _FaultError(f"Line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except DuplicateKeyError:
        raise
    except (ValueError, RecursionError):
        raise _FaultError(
            "It holds NaN or Infinity, a number of thousands of digits, or is nested too deeply."
        ) from None


def _is_text(document: object) -> bool:
    """Whether all texts in it can be written: to a process, a terminal, a file."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return False
    return True


def _decode_toml(text: str) -> object:
    if _LONG_TOML_KEY.search(text):
        raise _FaultError(f"It has a key of more than {_MAX_KEY_PARTS} parts.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _FaultError(f"{error}.") from None
    except (ValueError, RecursionError):
        raise _FaultError("It holds a number of thousands of digits, or is nested too deeply.") from None


def _decode_yaml(text: str) -> object:
    try:
        return deferred.load_yaml(text)
    except DuplicateKeyError:
        raise
    except (ValueError, RecursionError) as error:
        raise _FaultError(str(error) or "It is nested too deeply.") from None


def _refuse_constant(_text: str) -> NoReturn:
    raise ValueError


_DECODERS: Final = {"JSON": _decode_json, "TOML": _decode_toml, "YAML": _decode_yaml}
