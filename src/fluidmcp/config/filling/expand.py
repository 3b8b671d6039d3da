"""`${...}` in configuration files: what stands for a value of the operator's, filled in when the file is read. Pure.

The spellings are those of the programs whose files people bring: `${NAME}` and `${NAME:-default}` (Claude Code and
shells), `${env:NAME}`, `${workspaceFolder}`, `${userHome}`, `${pathSeparator}`, `${/}` and `${input:ID}` (VS Code,
Cursor), `${__dirname}` and `${user_config.KEY}` (MCPB), `${{ secrets.NAME }}` (Continue), `{env:NAME}` (opencode), and
`$NAME` (Gemini CLI). `$${` is the text `${`. What is not understood is a fault, never text that reaches a server.
`${auth.access_token}` and other values of a person stay placeholders, where there may be any: see `templates`.
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final, Literal

from fluidmcp.config.filling.templates import ExpansionError, Placeholder, Template, parse_placeholder
from fluidmcp.config.variables import OWN_PREFIX, is_own_variable, sounds_secret

BareNames = Literal["none", "whole", "anywhere"]
"""Where `$NAME` without braces stands for a variable: nowhere, as a whole value, or anywhere in one."""

_MAX_DEPTH: Final = 5
_MAX_SHOWN: Final = 60
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WITH_DEFAULT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?-)(.*)", re.ASCII | re.DOTALL)
_TEMPLATE: Final = re.compile(r"\$\{\{\s*(?:secrets|inputs|env)\.([A-Za-z0-9_-]+)\s*\}\}", re.ASCII)
_BRACES: Final = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_FILE_IN_BRACES: Final = re.compile(r"\{file:[^{}]*\}", re.ASCII)
_WHOLE: Final = re.compile(r"\$([A-Z_][A-Z0-9_]*)", re.ASCII)
_WHOLE_INPUT: Final = re.compile(r"\$\{(?:input:([^{}]+)|user_config\.([^{}]+))\}")
_ANYWHERE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_PERSONAL: Final = re.compile(r"\{\{LIBRECHAT_[A-Z_]+\}\}", re.ASCII)
_WINDOWS_VARIABLE: Final = re.compile(
    r"%(?:APPDATA|LOCALAPPDATA|USERPROFILE|PROGRAMFILES(?:\(X86\))?|PROGRAMDATA|SYSTEMROOT|WINDIR|TEMP|TMP|HOMEPATH"
    r"|HOMEDRIVE|USERNAME|COMSPEC)%",
    re.IGNORECASE,
)
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:\\")


@dataclass(slots=True, kw_only=True)
class Expander:
    """Fills in the values of one file. `hidden` collects the filled-in values that no message may show."""

    environ: Mapping[str, str] = field(repr=False)
    workspace: str
    """The folder that `${workspaceFolder}` means."""
    home: str
    """The operator's home, for `${userHome}`; empty where there is none."""
    folder: str = ""
    """The folder of the file, which `${__dirname}` (MCPB) and `${extensionPath}` (Gemini CLI) mean."""
    bare_names: BareNames = "none"
    braces_name_variables: bool = False
    ask: Callable[[str], str] | None = None
    """The value of an input by its id; raises ExpansionError. None: the file has no inputs."""
    ask_several: Callable[[str], list[str] | None] | None = None
    """The values of an input that has several; None for one that has one."""
    is_secret_input: Callable[[str], bool] = field(default=lambda _: True)
    hidden: set[str] = field(default_factory=set[str], repr=False)
    own_names: Set[str] = frozenset()
    """Variables that the entry itself gives to its server: left to the server where the operator has none of that name.
    """
    person_names: Set[str] = frozenset()
    """Variables that hold a person's credential: never filled in from the operator's."""

    def expand(self, text: str) -> str:
        """The text with everything filled in.

        Raises:
            ExpansionError: something in it is not known here, not set, for another system, or a value of a person.
        """
        template = self.expand_template(text)
        for part in template.placeholders():
            raise ExpansionError(f"holds {part}, a value of a person, which may stand in env, args and files only")
        return template.text

    def expand_template(self, text: str) -> Template:
        """The text with everything filled in but the values of a person.

        Raises:
            ExpansionError: something in it is not known here, not set, or for another system.
        """
        windows = _WINDOWS_VARIABLE.search(text)
        if windows is not None:
            raise ExpansionError(f"holds {windows[0]}, a variable of Windows; write the path of this machine")
        if _WINDOWS_PATH.match(text):
            raise ExpansionError("is a path of Windows; write the path of this machine")
        personal = _PERSONAL.search(text)
        if personal is not None:
            keys = '${keys.NAME}, and auth of the type "keys"'
            raise ExpansionError(f"holds {personal[0]}, a value per person of another program; write {keys}")
        if "$" not in text and not self.braces_name_variables:
            return Template((text,))
        return Template(tuple(part for part in self._expand(text, 0) if part))

    def expand_several(self, text: str) -> list[str] | None:
        """The values of an input of several, where the text is its placeholder and nothing else; else None.

        Raises:
            ExpansionError: the input has no value.
        """
        whole = _WHOLE_INPUT.fullmatch(text)
        if whole is None or self.ask_several is None:
            return None
        several = self.ask_several(whole[1] or whole[2])
        if several is not None and self.is_secret_input(whole[1] or whole[2]):
            self.hidden.update(several)
        return several

    def _expand(self, text: str, depth: int) -> list[str | Placeholder]:
        if depth > _MAX_DEPTH:
            raise ExpansionError("nests placeholders too deeply")
        if self.braces_name_variables and _FILE_IN_BRACES.search(text):
            raise ExpansionError("holds {file:...}, which is not read here; put the value into a variable")
        if self.bare_names != "none":
            whole = _WHOLE.fullmatch(text)
            if whole is not None:
                return [self._look_up(whole[1], whole[0])]
        parts: list[str | Placeholder] = []
        position = 0
        while (found := text.find("${", position)) >= 0:
            before = text[position:found]
            if before.endswith("$"):
                parts += [self._expand_bare(before[:-1]), "${"]
                position = found + 2
                continue
            parts.append(self._expand_bare(before))
            template = _TEMPLATE.match(text, found)
            if template is not None:
                parts.append(self._look_up(template[1].upper().replace("-", "_"), template[0]))
                position = template.end()
                continue
            end = _find_end(text, found + 2)
            inner = text[found + 2 : end]
            parts.append(parse_placeholder(inner) or self._fill(inner, depth))
            position = end + 1
        parts.append(self._expand_bare(text[position:]))
        return parts

    def _expand_default(self, text: str, shown: str, depth: int) -> str:
        parts = self._expand(text, depth + 1)
        if any(isinstance(part, Placeholder) for part in parts):
            # Else everybody would get the operator's own where that is set.
            raise ExpansionError(f"holds {_shorten(shown)}: a value of a person cannot be the default of another one")
        return "".join(map(str, parts))

    def _expand_bare(self, text: str) -> str:
        """Placeholders without a dollar and braces, in what stands between the others: each value is final."""
        if self.braces_name_variables:
            return _BRACES.sub(lambda match: self._look_up(match[1], match[0]), text)
        if self.bare_names == "anywhere" and "$" in text:
            return _ANYWHERE.sub(lambda match: self._look_up(match[1], match[0]), text)
        return text

    def _fill(self, inner: str, depth: int) -> str:
        """The value of what stands between the braces."""
        shown = f"${{{inner}}}"
        kind, colon, rest = inner.partition(":")
        if _NAME.fullmatch(inner):
            if inner == "workspaceFolder":
                return self.workspace
            if inner == "userHome":
                return self._home(shown)
            if inner == "pathSeparator":
                return "/"
            if inner == "workspaceFolderBasename":
                return self.workspace.rstrip("/").rpartition("/")[2]
            if inner in ("__dirname", "extensionPath"):
                return self.folder
            return self._look_up(inner, shown)
        if inner == "/":
            return "/"
        if colon and kind == "env":
            return self._fill_variable(rest, shown, depth)
        if colon and kind == "input":
            return self._ask(rest, shown)
        if inner.startswith("user_config."):
            return self._ask(inner.partition(".")[2], shown)
        return self._fill_variable(inner, shown, depth)

    def _fill_variable(self, inner: str, shown: str, depth: int) -> str:
        if _NAME.fullmatch(inner):
            return self._look_up(inner, shown)
        match = _WITH_DEFAULT.fullmatch(inner)
        if match is None:
            raise ExpansionError(
                f"holds {_shorten(shown)}, which is not known here; for the text itself write $${{ for ${{"
            )
        name, operator, default = match.groups()
        _check_is_foreign(name, shown)
        if self.is_left(name):
            return shown
        value = self.environ.get(name)
        # As in a shell: `:-` takes the default for an empty variable too (POSIX, "Parameter Expansion").
        if value is None or (not value and operator == ":-"):
            return self._note(name, self._expand_default(default, shown, depth))
        return self._note(name, value)

    def is_left(self, name: str) -> bool:
        """Whether a variable is the server's to fill in, as `mcp-remote` does with its headers."""
        return name in self.person_names or (name in self.own_names and name not in self.environ)

    def _look_up(self, name: str, shown: str) -> str:
        _check_is_foreign(name, shown)
        if self.is_left(name):
            return shown
        value = self.environ.get(name)
        if value is None:
            shown, name = _shorten(shown), _shorten(name)
            raise ExpansionError(
                f"needs the variable {name} ({shown}), which is not set; export {name}=... before the start"
            )
        return self._note(name, value)

    def _note(self, name: str, value: str) -> str:
        if value and sounds_secret(name):
            self.hidden.add(value)
        return value

    def _ask(self, input_id: str, shown: str) -> str:
        if self.ask is None:
            raise ExpansionError(f"holds {_shorten(shown)}, but the file defines no inputs")
        value = self.ask(input_id)
        if self.is_secret_input(input_id):
            self.hidden.add(value)
        return value

    def _home(self, shown: str) -> str:
        if not self.home:
            raise ExpansionError(f"holds {shown}, and HOME is not set")
        return self.home


def _check_is_foreign(name: str, shown: str) -> None:
    if is_own_variable(name):
        raise ExpansionError(
            f"holds {_shorten(shown)}, but variables that begin with {OWN_PREFIX} belong to the gateway alone"
        )


def _shorten(shown: str) -> str:
    return shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."


def _find_end(text: str, start: int) -> int:
    """The place of the brace that closes what begins at `start`."""
    depth = 1
    for position in range(start, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    raise ExpansionError("holds ${ without its }; for the text itself write $${ for ${")
