"""Command lines of `npx` and `uvx`, which install a package and run it: what they would run, and how to ask them. Pure.

Both write to their caches at each start, also where everything is installed, so neither works where caches may only be
read. Each tells, as documented, where the program is: it runs a command with the folder of the program first in PATH
(npm documentation, "npm exec", option `--call`; uv documentation, "Using tools").
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SAY_PATH: Final = 'printf "%s" "$PATH"'
_NPX_FLAGS: Final = frozenset({"-y", "--yes", "-q", "--quiet", "-s", "--silent", "--prefer-offline", "--offline"})
_NPM_NAME: Final = re.compile(
    r"(?!.*\.(?:tgz|tar|tar\.gz)$)((?:@[a-z0-9._~-]+/)?[a-zA-Z0-9_~-][a-zA-Z0-9._~-]*)(?:@[^/:\s]*)?", re.ASCII
)
"""A name, perhaps with a version or a tag; what begins with a dot or ends so is a file, and a colon leads elsewhere."""
_PYTHON_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:(?:==|@|[<>~!]=?).*)?", re.ASCII)
_UV_FLAGS: Final = frozenset(
    {"-q", "--quiet", "--isolated", "--offline", "--native-tls", "--system-certs", "--no-config", "--no-progress"}
    | {"--no-python-downloads", "--managed-python", "--no-managed-python", "--no-build", "--no-binary"}
)
_UV_OPTIONS: Final = frozenset(
    {"--from", "--with", "--with-editable", "--with-requirements", "-w", "--python", "-p", "--index", "--default-index"}
    | {"--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--constraints", "-c", "--overrides"}
    | {"--build-constraints", "-b", "--config-file", "--resolution", "--prerelease", "--exclude-newer", "--link-mode"}
    | {"--index-strategy", "--keyring-provider", "--python-preference", "--allow-insecure-host"}
)
"""Those that take a value. A command line with another option is left to the tool itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerCall:
    """What a command line of a runner means."""

    question: tuple[str, ...]
    """Arguments of the same command: it installs what is missing and prints a PATH, whose first folder has the program.
    """
    args: tuple[str, ...]
    """What the program itself gets."""
    program: str = ""
    """The program's name in that folder; empty: `package` tells it."""
    package: str = ""
    """The npm package whose package.json names the program, in the folder above."""


_RUNNERS: Final = (
    ("npx", ()),
    ("npm", ("exec",)),
    ("npm", ("x",)),
    ("pnpx", ()),
    ("pnpm", ("dlx",)),
    ("yarn", ("dlx",)),
    ("bunx", ()),
    ("bun", ("x",)),
    ("deno", ("run",)),
    ("uvx", ()),
    ("uv", ("run",)),
    ("uv", ("tool", "run")),
    ("pipx", ("run",)),
    ("docker", ("run",)),
    ("podman", ("run",)),
)


def name_runner(command: str, args: Sequence[str]) -> str:
    """What downloads at the first start, as people call it: `uvx`, `npm exec`; empty where nothing is known to."""
    program = command.rpartition("/")[2]
    words = tuple(args[:2])
    for name, verbs in _RUNNERS:
        if program == name and words[: len(verbs)] == verbs:
            return " ".join((name, *verbs))
    return ""


def parse_runner(command: str, args: Sequence[str]) -> RunnerCall | None:
    """The meaning of a command line; None: it is not a runner's, or not understood for certain."""
    words = tuple(args)
    match command.rpartition("/")[2]:
        case "npx":
            return _parse_npx((), words)
        case "npm" if words[:1] in (("exec",), ("x",)) and "--" in words:
            return _parse_npx(words[:1], words[1:])
        case "uvx":
            return _parse_uvx((), words)
        case "uv" if words[:2] == ("tool", "run"):
            return _parse_uvx(words[:2], words[2:])
        case _:
            return None


def _parse_npx(before: tuple[str, ...], words: tuple[str, ...]) -> RunnerCall | None:
    packages: list[str] = []
    flags: list[str] = []
    index = 0
    is_ended = False
    while index < len(words) and words[index].startswith("-"):
        word = words[index]
        index += 1
        if word == "--":
            is_ended = True
            break
        if word in ("-p", "--package"):
            packages += words[index : index + 1]
            index += 1
        elif word.startswith("--package="):
            packages.append(word.partition("=")[2])
        elif word in _NPX_FLAGS:
            flags.append(word)
        else:
            return None
    if index >= len(words) or not words[index]:
        return None
    name, args = words[index], words[index + 1 :]
    if before and not is_ended:
        # npm reads its own options up to the first `--`, behind the name too, and does not hand that on.
        end = args.index("--") if "--" in args else len(args)
        if any(word.startswith("-") for word in args[:end]):
            return None
        args = args[:end] + args[end + 1 :]
    elif args[:1] == ("--",) and not before:
        return None
    specs = packages or [name]
    if not all(_NPM_NAME.fullmatch(spec) for spec in specs):
        return None
    asked = [*before, *flags, "--yes", *(f"--package={spec}" for spec in specs), "-c", _SAY_PATH]
    if packages:
        return RunnerCall(question=tuple(asked), args=args, program=name)
    found = _NPM_NAME.fullmatch(name)
    return None if found is None else RunnerCall(question=tuple(asked), args=args, package=found[1])


def _parse_uvx(before: tuple[str, ...], words: tuple[str, ...]) -> RunnerCall | None:
    options: list[str] = []
    source = ""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        word = words[index]
        index += 1
        name, equals, value = word.partition("=")
        if word in _UV_FLAGS:
            options.append(word)
            continue
        if name not in _UV_OPTIONS:
            return None
        if not equals:
            value = words[index] if index < len(words) else ""
            index += 1
        if name == "--from":
            source = value
        else:
            options += [name, value]
    if index >= len(words):
        return None
    command = _PYTHON_NAME.fullmatch(words[index])
    if command is None:
        return None
    asked = [*before, *options, "--from", source or words[index], "sh", "-c", _SAY_PATH]
    return RunnerCall(question=tuple(asked), args=words[index + 1 :], program=command[1])
