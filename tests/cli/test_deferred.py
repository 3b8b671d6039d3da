"""The names that are imported late are there, and type checkers know them as what they are."""

import ast
import inspect
from pathlib import Path

import pytest

from fluidmcp.cli import deferred


def declared() -> dict[str, str]:
    """Name and module of each import that only type checkers see."""
    tree = ast.parse(Path(inspect.getfile(deferred)).read_text(encoding="utf-8"))
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checking.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_what_type_checkers_see_is_what_is_imported() -> None:
    assert declared() == deferred._MODULES  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", declared())
def test_each_name_is_there(name: str) -> None:
    assert getattr(deferred, name).__name__ == name


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        deferred.nobody  # type: ignore[attr-defined] # noqa: B018 # pyright: ignore
