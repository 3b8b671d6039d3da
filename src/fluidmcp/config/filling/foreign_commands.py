"""Commands that were written for Windows, where their meaning here is plain. Pure module: no I/O."""

import re
import shlex
from typing import Final

_SHELL: Final = re.compile(r"(?:.*[\\/])?cmd(?:\.exe)?", re.IGNORECASE)
_ENDING: Final = re.compile(
    r"(npx|npm|node|uvx|uv|python3?|bunx?|deno|docker|pnpm|yarn)\.(?:cmd|exe|bat|ps1)", re.IGNORECASE
)
_SWITCH: Final = re.compile(r"/[a-z]", re.IGNORECASE)


class NotHereError(Exception):
    """The command means nothing on this machine; the end of a sentence that begins with the field's name."""


def find_meaning(command: str, args: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What to run here: `cmd /c X` is X, and `npx.cmd` is npx.

    Raises:
        NotHereError: it is a shell of Windows with something else than one command.
    """
    if _SHELL.fullmatch(command):
        return _unwrap(args)
    ending = _ENDING.fullmatch(command)
    if ending is not None:
        return ending[1].lower(), args
    if re.fullmatch(r"(?:powershell|pwsh)\.exe", command, re.IGNORECASE):
        raise NotHereError("is a shell of Windows; name the program that it starts")
    return command, args


def _unwrap(args: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    index = 0
    while index < len(args) and _SWITCH.fullmatch(args[index]):
        index += 1
    switches, words = args[:index], args[index:]
    if not words or not any(switch.lower() == "/c" for switch in switches):
        raise NotHereError("is a shell of Windows; name the program that it starts")
    if len(words) == 1 and " " in words[0]:
        try:
            words = tuple(shlex.split(words[0]))
        except ValueError:
            words = ()
    if not words or any(word in ("&&", "||", "&", "|", ">", "<") for word in words):
        raise NotHereError("is a shell of Windows with more than one command; name the program that it starts")
    return find_meaning(words[0], words[1:])
