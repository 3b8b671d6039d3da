"""Where the logins of packages lie: a file for each address, beside that of `fluidmcp login`, under the same rules."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from fluidmcp.operator.token_file import find_token_file

FILE_PATTERN: Final = re.compile(r"client-[0-9a-f]{32}\.json", re.ASCII)


def name_token_file(url: str) -> str:
    """The file of an address. The name does not tell which, and a login goes nowhere else than there."""
    return f"client-{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def remove_package_logins(environ: Mapping[str, str]) -> int:
    """Delete the logins of all addresses; how many there were.

    Raises:
        ConfigurationError: the place of the tokens cannot be trusted.
    """
    names = find_token_file(environ).list_beside(FILE_PATTERN)
    return sum(find_token_file(environ, name=name).remove() for name in names)
