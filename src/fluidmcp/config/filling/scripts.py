"""Scripts in `args` (`sh -c SCRIPT`): `${NAME}` in them is the shell's own, so they are not filled in. Pure module.

A value that was put into the text of a script would be read as code. So the variable is handed to the process in its
place, and the shell fills it in.
"""

import os.path
import re
from collections.abc import Mapping, Set
from typing import Final

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.variables import OWN_PREFIX, is_own_variable

_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
_COMMAND_SWITCH: Final = re.compile(r"-[a-z]*c", re.ASCII)
_SHELL_SYNTAX: Final = re.compile(
    r"\$\{[#!]?([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])(?:[:=?+%/^,#@\[-][^{}]*)?\}", re.ASCII
)
_BARE_NAME: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_FOREIGN_SYNTAX: Final = re.compile(
    r"\$\{(?:env:|input:|user_config\.|workspaceFolder|userHome|pathSeparator|__dirname|/)[^{}]*\}", re.ASCII
)


def find_script(command: str, args: tuple[str, ...]) -> int | None:
    """The place of the script in the arguments of a shell; None where the command is none."""
    if os.path.basename(command) not in _SHELLS:
        return None
    for index, word in enumerate(args[:-1]):
        if _COMMAND_SWITCH.fullmatch(word):
            return index + 1
    return None


def fill_script(script: str, expander: Expander, *, own_names: Set[str]) -> tuple[str, Mapping[str, str]]:
    """The script with the placeholders that no shell knows filled in, and the variables that the shell needs for it.

    Raises:
        ExpansionError: a variable is neither set, nor given by the entry, nor by the script itself.
    """
    needed = {
        name: expander.environ[name]
        for name in _BARE_NAME.findall(script)
        if name in expander.environ and name not in own_names and name not in expander.person_names
        if not is_own_variable(name)
    }
    for match in _SHELL_SYNTAX.finditer(script):
        name, shown = match[1], match[0]
        if not name.isidentifier() or _FOREIGN_SYNTAX.fullmatch(shown):
            continue
        if is_own_variable(name):
            raise ExpansionError(
                f"holds {shown}, but variables that begin with {OWN_PREFIX} belong to the gateway alone"
            )
        if name in own_names or name in expander.person_names:
            continue
        if name in expander.environ:
            needed[name] = expander.environ[name]
        elif shown == f"${{{name}}}" and not _sets(script, name):
            raise ExpansionError(
                f"needs the variable {name} ({shown}), which is not set; export {name}=... before the start"
            )
    return _FOREIGN_SYNTAX.sub(lambda match: expander.expand(match[0]), script), needed


def _sets(script: str, name: str) -> bool:
    """Whether the script gives the variable a value itself, or the shell does."""
    return name in ("HOME", "PWD", "PATH", "USER", "RANDOM", "SECONDS", "IFS") or bool(
        re.search(rf"\b{name}=|\bfor\s+{name}\b|\bread\b[^;\n]*\b{name}\b|\bgetopts\b.*\b{name}\b", script)
    )
