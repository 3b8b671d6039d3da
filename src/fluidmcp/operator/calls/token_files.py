"""Where the logins of packages lie: a file for each address, beside that of `fluidmcp login`, under the same rules."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from fluidmcp.errors import ConfigurationError
from fluidmcp.operator.token_file import StoredLogin, TokenFile, find_token_file

FILE_PATTERN: Final = re.compile(r"client-[0-9a-f]{32}\.json", re.ASCII)


def name_token_file(url: str) -> str:
    """The file of an address. The name does not tell which, and a login goes nowhere else than there."""
    return f"client-{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def take_package_logins(environ: Mapping[str, str]) -> tuple[int, list[StoredLogin]]:
    """Delete the logins of all addresses: how many files there were, and what could be read of them.

    Raises:
        ConfigurationError: the place of the tokens cannot be trusted.
    """
    files = [find_token_file(environ, name=name) for name in find_token_file(environ).list_beside(FILE_PATTERN)]
    logins = [_load(file) for file in files]
    removed = sum(file.remove() for file in files)
    return removed, [login for login in logins if login is not None]


def _load(file: TokenFile) -> StoredLogin | None:
    try:
        return file.load()
    except ConfigurationError:
        # It is deleted all the same.
        return None
