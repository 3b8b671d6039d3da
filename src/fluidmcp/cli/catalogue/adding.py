"""What `fluidmcp add` does: the entry of a known server, written into a file of ours."""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from fluidmcp.cli.catalogue.show import (
    get_server,
    plan_registration,
    tell_next_commands,
    tell_remarks,
    tell_what_to_do,
)
from fluidmcp.cli.files.whole_file import create_file, replace_file
from fluidmcp.cli.output import print_line
from fluidmcp.config.schema import SCHEMA_ADDRESS
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.catalogue.describe import write_entry
from fluidmcp.packages.catalogue.find import show_package
from fluidmcp.packages.catalogue.insertion import insert_entry
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.formats.documents import MAX_FILE_BYTES
from fluidmcp.packages.importing.merging import write_document
from fluidmcp.packages.importing.places import list_places

_NOT_JSON: Final = (".toml", ".yaml", ".yml")


def add_server(name: str, *, file: str, own_name: str, public_url: str | None) -> None:
    """Write the entry, then say what to register, what to export and what to type.

    Raises:
        UserError: there is no such server, or the address is none.
        ConfigurationError: the file is not ours, has an entry of that name, or cannot be read or written.
    """
    server = get_server(name)
    entry_name = own_name or name
    registration = plan_registration(server, entry_name, public_url=public_url)
    _write_entry(Path.cwd() / file, entry_name, write_entry(server), shown=file)
    print_line(f"Added {entry_name} to {file}: {show_package(server)}")
    print_line()
    tell_what_to_do(registration)
    print_line()
    tell_next_commands(registration, file)
    tell_remarks(registration)


def _write_entry(path: Path, name: str, entry: dict[str, object], *, shown: str) -> None:
    # A link stays a link: the file that it leads to is written.
    real = Path(os.path.realpath(path))
    _check_place(real, shown)
    if not os.path.lexists(real):
        if real.name.endswith(_NOT_JSON):
            raise ConfigurationError(
                f"{shown} would be read as what its name says, and is not written.",
                why="The file that is made holds JSON.",
                hint="Name a file that ends in .json.",
            )
        document = {"$schema": SCHEMA_ADDRESS, "mcpServers": {name: entry}}
        create_file(real, write_document(document).encode(), shown=shown, hint="Run the command again.")
        return
    before = read_regular(real, shown=shown, max_bytes=MAX_FILE_BYTES)
    replace_file(real, insert_entry(before, name, entry, shown=shown), before=before, shown=shown)


def _check_place(real: Path, shown: str) -> None:
    """A file that another program keeps for itself could not be read by it any more.

    Raises:
        ConfigurationError: it is one.
    """
    environ = read_environment()
    home, config = environ.get("HOME", ""), environ.get("XDG_CONFIG_HOME", "")
    for place in list_places(
        home=Path(home) if home else None,
        working_directory=Path.cwd(),
        config=Path(config) if os.path.isabs(config) else None,
        is_mac=sys.platform == "darwin",
    ):
        if os.path.realpath(place.path) == str(real):
            raise ConfigurationError(
                f"{shown} is a file of {place.tool}, and is left as it is.",
                why="It does not know keys of ours, such as package and auth.",
                hint="Name a file of your own with -o. To have its servers there too, first: "
                f"fluidmcp import {shlex.quote(shown)} -o fluidmcp.json",
            )
