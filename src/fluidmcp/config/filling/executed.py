"""Arguments that are executed: code for a shell or an interpreter, or the name of what is run. Pure module: no I/O.

In doubt they are. A value of a person may stand behind the script or the package, whose own arguments nobody executes.
"""

import os.path
import re
from collections.abc import Sequence
from typing import Final, Literal

from fluidmcp.config.filling.scripts import find_program, find_script
from fluidmcp.config.variables import is_loader_variable, is_own_variable

_INTERPRETER: Final = re.compile(
    r"(?:sh|bash|dash|zsh|ksh|mksh|ash|rbash|yash|fish|python[0-9.]*t?|pypy[0-9.]*|node|nodejs|bun|deno|tsx|ts-node|perl"
    r"|ruby|php|lua[0-9.]*|luajit|Rscript|R|julia|osascript|pwsh|powershell|tclsh|[gmn]?awk)(?:\.exe)?",
    re.ASCII,
)
_RUNNER: Final = re.compile(r"npx|npm|pnpx|pnpm|yarn|bunx|uvx|uv|pipx", re.ASCII)
_HANDS_ON: Final = re.compile(r"su|runuser|sudo|script|flock|nix|nix-shell", re.ASCII)
"""Programs that hand on what stands behind a switch to a shell."""
_JOINS_WORDS: Final = re.compile(r"ssh|watch|eval|parallel", re.ASCII)
"""Programs that make one command line for a shell out of their arguments."""
_CODE_SWITCH: Final = re.compile(
    r"-[a-zA-Z]*[ceErp]|-Command|--(?:eval|print|call|command|run|execute|exec)|eval", re.ASCII
)
_CODE_IN_WORD: Final = re.compile(r"-[a-zA-Z]*[ceEr]|--(?:eval|print|call|command|run|execute|exec)=", re.ASCII)
_LAST_OPTION: Final = re.compile(r"-[a-zA-Z]*[cm]", re.ASCII)
"""Of Python: what follows its value belongs to the code or the module."""
_WITH_VALUE: Final = frozenset(
    "-C -I -M -W -X -d -l -r --conditions --config --cwd --env-file --experimental-loader --from --import --import-map"
    " --loader --package --preload --python --require --with".split()
)
_FLAG: Final = re.compile(
    r"-[bBiOqsSuvwxyA]+|--(?:no|allow|enable)-[a-z-]+|--(?:yes|quiet|silent|offline|prefer-offline)|--[\w-]+=.*",
    re.ASCII | re.DOTALL,
)
_VERBS: Final = frozenset({"run", "exec", "x", "dlx", "tool"})
_PATH: Final = re.compile(r".*(?:/|\.[a-z]{2,4}\Z).*", re.ASCII | re.DOTALL)
_SPLITTING: Final = re.compile(r"-[a-zA-Z0]*S.*|--s[a-z-]*(?:=.*)?", re.ASCII | re.DOTALL)
"""`env -S`: one argument becomes several, placeholders and all."""
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=", re.ASCII)


def is_executed(command: str, args: Sequence[str], index: int) -> bool:
    """Whether the argument `index`, as it is written, is code or says what is run."""
    words = (command, *args)
    place = index + 1
    program = find_program(words)
    if place <= program:
        return _steers_start(words[place])
    if any(_SPLITTING.fullmatch(word) for word in words[1:program]):
        return True
    return any(_executes(words[start : place + 1], is_first=start == program) for start in range(program, place))


def _steers_start(word: str) -> bool:
    """Whether a word of `env` and the like is more than the value of a harmless variable."""
    assignment = _ASSIGNMENT.match(word)
    return assignment is None or is_loader_variable(assignment[1]) or is_own_variable(assignment[1])


def _executes(words: Sequence[str], *, is_first: bool) -> bool:
    """Whether the program `words[0]` would execute the last of the words. `is_first`: it is certain to be run."""
    program, *between, word = words
    name = os.path.basename(program)
    if find_script(program, words[1:]) == len(between):
        return True
    is_behind_switch = bool(between) and _CODE_SWITCH.fullmatch(between[-1]) is not None
    is_code = is_behind_switch or _CODE_IN_WORD.match(word) is not None
    if _INTERPRETER.fullmatch(name) or (is_first and _RUNNER.fullmatch(name)):
        target = _find_target(name, between, word)
        return target == "none" and (is_code or is_first) or target == "unsure" and is_code
    return bool(_HANDS_ON.fullmatch(name) and is_code or _JOINS_WORDS.fullmatch(name) and is_first)


def _find_target(name: str, words: Sequence[str], word: str) -> Literal["there", "unsure", "none"]:
    """Whether the script, module or package of a program stands among its words, so that `word` is for that."""
    found: Literal["unsure", "none"] = "none"
    has_code = is_unsure = False
    index = 0
    while index < len(words):
        option = words[index]
        index += 1
        if option != "eval" and (option[:1] != "-" or option in ("-", "--")):
            if option == "--" or (option in _VERBS and found == "none"):
                continue
            if not is_unsure or _PATH.fullmatch(option):
                return "there"
            found, is_unsure = "unsure", False
        elif name.startswith(("python", "pypy")) and _LAST_OPTION.fullmatch(option):
            return "there" if index < len(words) else "none"
        elif option in _WITH_VALUE or _CODE_SWITCH.fullmatch(option):
            has_code |= option not in _WITH_VALUE
            index += 1
            is_unsure = False
        else:
            is_unsure = _FLAG.fullmatch(option) is None
    if index > len(words):
        return "none"
    return "there" if has_code and not word.startswith("-") else found
