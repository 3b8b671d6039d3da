"""What is proposed in place of an argument. A fault on the way proposes nothing: a Tab must not print errors."""

import re
from collections.abc import Callable, Sequence
from typing import Final

import click
from click.shell_completion import CompletionItem

from fluidmcp.cli import deferred
from fluidmcp.errors import FluidMCPError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

_PLAIN: Final = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._/:=+~-]*", re.ASCII)
"""What means nothing to a shell. Bash puts a proposal into the line as it is, and the names of a lock that came with a
folder of somebody else may be any text.
"""


def complete_from(list_names: Callable[[], Sequence[str]], *, or_files: bool = False) -> Complete:
    """Names that begin as what was typed; `or_files`: else paths, as the shell completes them."""

    def complete(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
        try:
            names = [name for name in list_names() if name.startswith(typed) and _PLAIN.fullmatch(name)]
        except (FluidMCPError, OSError):
            names = []
        # First: bash takes the files only where no name is left.
        files = [CompletionItem(typed, type="file")] if or_files else []
        return files + [CompletionItem(name) for name in names]

    return complete


def complete_files(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Paths."""
    return [CompletionItem(typed, type="file")]


def list_runnable() -> Sequence[str]:
    return deferred.list_runnable_names()


def list_packages() -> Sequence[str]:
    return deferred.list_package_names()


def list_installed() -> Sequence[str]:
    return deferred.list_installed_names()


def list_known_servers() -> Sequence[str]:
    return deferred.list_known_server_names()


def list_presets() -> Sequence[str]:
    return deferred.list_preset_names()
