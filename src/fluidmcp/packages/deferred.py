"""Late imports of this room: what reads YAML and `.env` files is loaded for those who have such a file."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from dotenv.parser import parse_stream as parse_stream

    from fluidmcp.packages.formats.yaml_text import load_yaml as load_yaml

_MODULES: Final = {
    "parse_stream": "dotenv.parser",
    "load_yaml": "fluidmcp.packages.formats.yaml_text",
}

__getattr__ = import_late(__name__, _MODULES)
