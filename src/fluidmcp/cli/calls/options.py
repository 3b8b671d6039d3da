"""What `tools` and `call` have in common: options and exit codes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import click

_DONE: Final = """\b
Exit codes:
  0    done
"""
_NOT_DONE: Final = """  2    a mistake in what was typed, or a wrong argument
  3    no gateway answers, or its answer is an error
  4    a login is needed, and there is none or it failed
"""
TOOLS_EXIT_CODES: Final = _DONE + _NOT_DONE
CALL_EXIT_CODES: Final = f"{_DONE}  1    the tool answered, and says that it failed (isError)\n{_NOT_DONE}"
_DEFAULT_SECONDS: Final = 600.0

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How to reach the gateway, and how to say what came."""

    url: str | None
    as_json: bool
    no_browser: bool
    no_login: bool
    token_env: str | None
    timeout: float
    names_package: bool = True
    """Whether one package is meant; else no login is begun."""


def add_options(command: F) -> F:
    """The options of `CallOptions`, for both commands."""
    for option in reversed(
        (
            click.option(
                "--url",
                metavar="URL",
                help="The gateway, with its path if it has one.  "
                "[default: FMCP_PUBLIC_URL, else http://localhost:8099]",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document, errors too."),
            click.option("--no-browser", is_flag=True, help="Open no browser for a login: show the address."),
            click.option("--no-login", is_flag=True, help="Begin no login; one that is stored is used."),
            click.option(
                "--token-env",
                metavar="NAME",
                help="Send the token in this environment variable, and keep no login.",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(min=0.1),
                default=_DEFAULT_SECONDS,
                metavar="SECONDS",
                help=f"How long one answer may take.  [default: {_DEFAULT_SECONDS:.0f}]",
            ),
        )
    ):
        command = option(command)
    return command
