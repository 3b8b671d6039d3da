"""Scripts in `args` (`sh -c SCRIPT`): `${NAME}` in them is the shell's own, so they are not filled in. Pure module.

A value that was put into the text of a script would be read as code. So the variable is handed to the process in its
place, and the shell fills it in. The same is done with `${env:NAME}` and `${input:ID}`, which no shell knows.
"""

import os.path
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.variables import OWN_PREFIX, is_loader_variable, is_own_variable

_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "yash"})
_STARTERS: Final = frozenset({"env", "nohup", "setsid", "busybox"})
"""Programs that run the program behind them."""
_STARTER_WORD: Final = re.compile(r"-.*|[A-Za-z_][A-Za-z0-9_]*=.*", re.ASCII | re.DOTALL)
_STARTER_OPTIONS: Final = frozenset({"-u", "--unset", "-C", "--chdir"})
"""Those of `env` that have a value behind them."""
_LONG_OPTIONS: Final = frozenset({"--rcfile", "--init-file"})
_SHELL_SYNTAX: Final = re.compile(
    r"\$\{[#!]?([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])(?:[:=?+%/^,#@\[-][^{}]*)?\}", re.ASCII
)
_BARE_NAME: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_FOREIGN: Final = (
    r"\$\{(?:env:|input:|user_config\.|workspaceFolder|userHome|pathSeparator|__dirname|extensionPath|/)[^{}]*\}"
)
_FOREIGN_SYNTAX: Final = re.compile(_FOREIGN, re.ASCII)
_FOREIGN_VARIABLE: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::?-.*)?\}", re.ASCII | re.DOTALL)
_FOREIGN_INPUT: Final = re.compile(r"\$\{(?:input:|user_config\.)(.*)\}", re.DOTALL)
_HARMLESS: Final = re.compile(r"[\w@%+=:,./-]*")
_NEXT: Final = {
    "": re.compile(rf"(?P<foreign>{_FOREIGN})|\\.|\$?'|\"|\$?\(|\)|(?<![^\s;&|()])#[^\n]*", re.ASCII | re.DOTALL),
    '"': re.compile(rf"(?P<foreign>{_FOREIGN})|\\.|\"|\$\(", re.ASCII | re.DOTALL),
    "'": re.compile(rf"(?P<foreign>{_FOREIGN})|'", re.ASCII),
    "$'": re.compile(rf"(?P<foreign>{_FOREIGN})|\\.|'", re.ASCII | re.DOTALL),
}
"""What ends a stretch of a script, by the quotes that it stands in."""
_SET_BY_SHELL: Final = frozenset({"HOME", "PWD", "PATH", "USER", "RANDOM", "SECONDS", "IFS"})
_ASSIGNMENT: Final = re.compile(
    r"\b(?:([A-Za-z_][A-Za-z0-9_]*)\+?=|(?:for|select)\s+([A-Za-z_][A-Za-z0-9_]*))", re.ASCII
)
_COMMAND: Final = re.compile(r"[^;\n|&]+")
_READING: Final = re.compile(r"\b(?:read|mapfile|readarray|getopts)\b")
_NAME: Final = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]*\b", re.ASCII)


def find_script(command: str, args: Sequence[str]) -> int | None:
    """The place of the script in the arguments of a shell, which `env` and the like may start; None: there is none."""
    program = find_program((command, *args))
    if program > len(args) or os.path.basename((command, *args)[program]) not in _SHELLS:
        return None
    return _find_behind(args, program)


def find_program(words: Sequence[str]) -> int:
    """The place of the program that a command line runs in the end; the number of its words where it names none."""
    place = 0
    while place < len(words) and os.path.basename(words[place]) in _STARTERS:
        place += 1
        while place < len(words) and _STARTER_WORD.fullmatch(words[place]):
            place += 2 if words[place] in _STARTER_OPTIONS else 1
    return min(place, len(words))


def _find_behind(args: Sequence[str], index: int) -> int | None:
    """The script behind the options of a shell, which begin at `index`."""
    has_switch = False
    while index < len(args) and args[index][:1] in ("-", "+") and len(args[index]) > 1:
        word = args[index]
        index += 1
        if word == "--":
            break
        if word.startswith("--"):
            index += word in _LONG_OPTIONS
            continue
        has_switch |= word[0] == "-" and "c" in word
        index += sum(letter in "oO" for letter in word)  # names of options, `-euo pipefail`
    return index if has_switch and index < len(args) else None


def is_harmless(text: str) -> bool:
    """Whether a text means itself wherever it stands in a script."""
    return _HARMLESS.fullmatch(text) is not None


def fill_script(script: str, expander: Expander, *, own_names: Set[str]) -> tuple[str, Mapping[str, str]]:
    """The script with what no shell knows turned into variables, and the variables that the shell needs for it.

    Folders are filled in where they hold nothing that a shell would read as more than text.

    Raises:
        ExpansionError: a variable is neither set, nor given by the entry, nor by the script itself.
    """
    needed = {
        name: expander.environ[name]
        for name in _BARE_NAME.findall(script)
        if name in expander.environ and name not in own_names and name not in expander.person_names
        if not is_own_variable(name)
    }
    given = _list_set(script)
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
        elif shown == f"${{{name}}}" and name not in given:
            raise ExpansionError(
                f"needs the variable {name} ({shown}), which is not set; export {name}=... before the start"
            )
    taken = own_names | expander.person_names | given | set(_BARE_NAME.findall(script))
    taken |= {match[1] for match in _SHELL_SYNTAX.finditer(script)} - needed.keys()
    return _Filler(expander, taken, needed).fill(script), needed


@dataclass(slots=True)
class _Filler:
    """Turns what no shell knows into variables of the shell."""

    expander: Expander
    taken: Set[str]
    """Names that mean something else in the script already."""
    needed: dict[str, str] = field(repr=False)

    def fill(self, script: str) -> str:
        pieces: list[str] = []
        quotes = [""]
        position = 0
        while (match := _NEXT[quotes[-1]].search(script, position)) is not None:
            quote, word = quotes[-1], match[0]
            pieces.append(script[position : match.start()])
            pieces.append(word if match["foreign"] is None else self._replace(word, quote))
            position = match.end()
            if match["foreign"] is not None or word[0] in "\\#":
                continue
            if word in ("(", "$("):
                quotes.append("")
            elif not quote and word != ")":
                quotes.append(word)
            elif len(quotes) > 1:
                quotes.pop()
        return "".join((*pieces, script[position:]))

    def _replace(self, shown: str, quote: str) -> str:
        """What stands in the script in place of `shown`, inside of quotes."""
        variable = _FOREIGN_VARIABLE.fullmatch(shown)
        if variable is not None and self.expander.is_left(variable[1]) and not is_own_variable(variable[1]):
            name = variable[1]
        else:
            value = self.expander.expand(shown)
            asked = _FOREIGN_INPUT.fullmatch(shown)
            if variable is not None:
                name = self._hand_over(variable[1], value, other=f"ENV_{variable[1]}")
            elif asked is not None:
                plain = "INPUT_" + re.sub(r"[^A-Z0-9]", "_", asked[1].upper())
                name = self._hand_over(plain, value, other=plain)
            elif is_harmless(value):
                return value
            else:
                plain = re.sub(r"[^A-Z]+", "_", re.sub(r"([A-Z])", r"_\1", shown).upper()).strip("_") or "SEPARATOR"
                name = self._hand_over(plain, value, other=plain)
        if quote in ("'", "$'"):
            return f'\'"${{{name}}}"{quote}'
        return f"${{{name}}}"

    def _hand_over(self, name: str, value: str, *, other: str) -> str:
        """The variable that holds the value: `name`, or `other` where the script or the system knows it as more."""
        number = 1
        while not self._is_free(name, value):
            name = other if number == 1 else f"{other}_{number}"
            number += 1
        self.needed[name] = value
        return name

    def _is_free(self, name: str, value: str) -> bool:
        if name in self.needed:
            return self.needed[name] == value
        return name not in self.taken and not is_loader_variable(name)


def _list_set(script: str) -> Set[str]:
    """The variables to which the script gives a value itself, or the shell does. Takes time by its length only."""
    found = set(_SET_BY_SHELL)
    for match in _ASSIGNMENT.finditer(script):
        found.add(match[1] or match[2])
    for command in _COMMAND.findall(script):
        reading = _READING.search(command)
        if reading is not None:
            found.update(_NAME.findall(command, reading.end()))
    return found
