"""The names that are imported late are there, and type checkers know them as what they are."""

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.rules import NAMES_LATE_IMPORTS

MODULES = [
    importlib.import_module(path.removeprefix("src/").removesuffix(".py").replace("/", "."))
    for path in NAMES_LATE_IMPORTS
]


def declared(deferred: ModuleType) -> dict[str, str]:
    """Name and module of each import that only type checkers see."""
    tree = ast.parse(Path(inspect.getfile(deferred)).read_text(encoding="utf-8"))
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checking.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


@pytest.mark.parametrize("deferred", MODULES, ids=lambda module: module.__name__)
def test_what_type_checkers_see_is_what_is_imported(deferred: ModuleType) -> None:
    names = declared(deferred)
    assert names
    assert names == deferred._MODULES


@pytest.mark.parametrize(
    ("deferred", "name"), [(module, name) for module in MODULES for name in declared(module)], ids=str
)
def test_each_name_is_there(deferred: ModuleType, name: str) -> None:
    assert getattr(deferred, name).__name__ == name


@pytest.mark.parametrize("deferred", MODULES, ids=lambda module: module.__name__)
def test_another_name_is_not_there(deferred: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        deferred.nobody  # noqa: B018
