"""The files of installed packages that pages load: each read once, when somebody asks for it."""

import hashlib
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from fluidmcp.pages.names import PAGE_FILES

_SHARED: Final = MappingProxyType({"icon.svg": "static", "pages.css": "static"})


class StaticFile:
    """One file of an installed package."""

    def __init__(self, package: str, folder: str, name: str, media_type: str) -> None:
        self.media_type = media_type
        self._path = files(package).joinpath(*folder.split("/"), name)

    @cached_property
    def content(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:16]


def build_page_files() -> dict[str, StaticFile]:
    """The files of the page at `/`, by their names."""
    return {
        name: StaticFile("fluidmcp.pages", _SHARED.get(name, "static/page"), name, media_type)
        for name, media_type in PAGE_FILES.items()
    }
