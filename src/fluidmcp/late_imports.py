"""Imports that wait until something is needed: a gateway that serves MCP alone never loads the libraries of web pages.

A room has its late imports in one module, `deferred`, which says what is imported and from where (PEP 562). Elsewhere
write `deferred.Name` where a plain import would load too much too soon.
"""

import importlib
from collections.abc import Callable, Mapping


def import_late(module: str, sources: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of `module`: each name is imported from the module in `sources` when it is asked for."""

    def get_attribute(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(importlib.import_module(sources[name]), name)

    return get_attribute
