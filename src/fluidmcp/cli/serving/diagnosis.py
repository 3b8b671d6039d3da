"""Why a server that was tried without a login ended: does it need the person, or would no login help?

A pure function of what was seen: an exit code and the last lines of stderr. The texts are those of interpreters,
package runners and option parsers, which are few and say the same for every server; what servers say of themselves is
judged by the words for credentials. In doubt the verdict is "unclear": a wrong "fault" would shut people out of a good
server.
"""

import re
from collections.abc import Sequence, Set
from typing import Final, Literal

Verdict = Literal["fault", "login", "unclear"]

COMMAND_NOT_FOUND: Final = 127
COMMAND_NOT_EXECUTABLE: Final = 126
"""What shells and `env` end with (POSIX, "Exit Status for Commands")."""

_OPTIONS: Final = re.compile(
    r"unrecognized arguments?:|no such option|unknown (option|argument|flag|command)|unexpected argument|bad option:"
    r"|flag provided but not defined|invalid choice:|too many arguments|got unexpected extra argument|no such command"
    r"|not enough non-option arguments",
    re.IGNORECASE,
)
"""argparse, click, commander, yargs, clap, Go's flag and cobra, node."""

_PROGRAMS: Final = re.compile(
    # Shells, env, the dynamic linker, and the kernel's answers.
    r"command not found|^\S*sh: (\d+|line \d+): .*: not found|^\S*sh: \d+: cannot open|^\S*env: .*no such file"
    r"|^\S*sh: .*: Permission denied$|exec format error|error while loading shared libraries|`GLIBC\S* not found"
    # npm, npx, pnpm.
    r"|^npm (error|ERR!)|could not determine executable to run|missing script:|ERR_PNPM_"
    # uv, uvx, pip.
    r"|no solution found when resolving|failed to spawn:|is not provided by package|not found in the package registry"
    r"|not found in the cache and you require|failed to (fetch|build|download|prepare):? `|no interpreter found"
    r"|could not find a version that satisfies|distribution not found at"
    # Python before a line of the server ran, java, docker.
    r"|can't open file '|can't find '__main__' module|^\S*python\S*: No module named"
    r"|unable to access jarfile|could not find or load main class|^docker: |cannot connect to the docker daemon",
    re.IGNORECASE | re.MULTILINE,
)
"""What cannot be the server's own complaint: the program did not come to run."""

_ARGUMENTS: Final = re.compile(
    r"the following arguments are required:|missing (required )?(option|argument)|required option .* not specified"
    r"|required argument.*(missing|not provided)|the following required arguments were not provided"
    r"|required flag\(s\)|^usage:",
    re.IGNORECASE | re.MULTILINE,
)
"""An argument is missing, as it seems. Some parsers take it from the environment too, which the text does not tell."""

_MODULES: Final = re.compile(
    r"ModuleNotFoundError|ImportError|Cannot find (module|package) |MODULE_NOT_FOUND|ERR_REQUIRE_ESM"
    r"|ERR_UNKNOWN_FILE_EXTENSION|ERR_PACKAGE_PATH_NOT_EXPORTED|Module not found"
    r"|does not provide an export named|Cannot use import statement|IndentationError|TabError"
    r"|SyntaxError(?!.*JSON)|ReferenceError: (require|module|exports|__dirname) is not defined"
)
"""The program began to run, and is not whole."""

_FILES: Final = re.compile(r"FileNotFoundError|NotADirectoryError|ENOENT|no such file or directory", re.IGNORECASE)

_CREDENTIALS: Final = re.compile(
    r"(?<!unexpected )(?<!max_)tokens?(?![a-z])|api[ _-]?keys?(?![a-z])|access[ _-]?keys?(?![a-z])|secrets?(?![a-z])"
    r"|credentials?(?![a-z])|passw(or)?d|bearer|unauthori[sz]ed|authenticat|authori[sz]ation|oauth|invalid_grant"
    r"|(?<!line )(?<![:.\d])40[13](?![:.\d])|\blog(ged)?[ -]?in\b|\bsign(ed)?[ -]?in\b|forbidden"
    r"|environment variables?|\benv(ironment)? vars?",
    re.IGNORECASE,
)
_VARIABLE: Final = re.compile(r"(?<![A-Za-z0-9_])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*(?![A-Za-z0-9_])")
_SECRET_VARIABLE: Final = re.compile(r"[A-Z0-9]_(.*_)?(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS|AUTH|PAT)(_|$)")

_NOISE: Final = re.compile(
    # Frames of stacks and the source lines that are shown with them, warnings, where npm writes its log.
    r'^(\s*File ".*|\s+at .*|\s*\^[\^~ ]*|\s*throw .*)$|^npm (warn|notice)|^\(node:\d+\) |A complete log of this run',
    re.IGNORECASE,
)
_PLACES: Final = re.compile(r"""(?:^|(?<=[\s'"(=\[]))(?:[a-z]+://|file:|~?/|\.{1,2}/|[A-Za-z]:\\)\S+""", re.MULTILINE)
"""Paths and addresses: the words in them say nothing."""


def diagnose(
    exit_code: int | None, lines: Sequence[str], *, variables: Set[str] = frozenset(), brings_more: bool = False
) -> Verdict:
    """What ended a server that was started without a credential.

    `exit_code` is None where it did not end by itself. `variables` are those in which it would find something of a
    person: a server that asks for a credential in another one may not be content after a login. `brings_more`: files
    or arguments come with a login too.
    """
    text = "\n".join(line for line in lines if not _NOISE.search(line))
    words = _PLACES.sub(" ", text)
    if _OPTIONS.search(words) or _PROGRAMS.search(text):
        return "fault"
    names = _VARIABLE.findall(words)
    is_named = not variables.isdisjoint(names)
    if is_named:
        wish: Verdict = "login"
    elif not _CREDENTIALS.search(words):
        wish = "fault"
    else:
        wish = "unclear" if variables and any(map(_SECRET_VARIABLE.search, names)) else "login"
    if _ARGUMENTS.search(words) or _FILES.search(words):
        # A login rarely brings a file or an argument; but the server may also look into its environment.
        return "unclear" if (wish == "login" and not is_named) or (wish == "fault" and brings_more) else wish
    if exit_code in (COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE) or _is_last(_MODULES, words, after=_CREDENTIALS):
        return "fault"
    return "unclear" if wish == "fault" else wish


def choose_line(lines: Sequence[str]) -> str:
    """The line that says most about the end: the last one about a credential, or else the last one that is no frame."""
    telling = [line.strip() for line in lines if not _NOISE.search(line)]
    about_credentials = [line for line in telling if _CREDENTIALS.search(_PLACES.sub(" ", line))]
    return (about_credentials or telling or [""])[-1]


def _is_last(pattern: re.Pattern[str], text: str, *, after: re.Pattern[str]) -> bool:
    """The last match counts: an optional module may be missing before the real reason comes."""
    last, other = (max((match.start() for match in p.finditer(text)), default=-1) for p in (pattern, after))
    return last > other
