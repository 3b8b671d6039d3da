"""Asking the person at the terminal for an input of a file."""

import click

from fluidmcp.packages.formats.shapes import Input


def ask_at_terminal(item: Input) -> str:
    """The answer, on one line; what is secret is not shown. The question goes to stderr.

    Raises:
        click.Abort: Ctrl-C or the end of the input.
    """
    question = "".join(char if char.isprintable() else "?" for char in item.description or item.id)
    answer: str = click.prompt(
        question[:200],
        default=item.default if item.default is not None else ("" if not item.is_required else None),
        hide_input=item.is_secret,
        show_default=not item.is_secret,
        type=click.Choice(item.choices) if item.choices else str,
        err=True,
    )
    return answer
