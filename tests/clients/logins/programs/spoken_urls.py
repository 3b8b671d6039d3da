"""Addresses to open that a program in Node writes to its stderr."""

import asyncio
import re
from typing import Final

from talking import say

URL: Final = re.compile(r"https?://\S+/authorize\?\S+")


async def watch(stderr: asyncio.StreamReader, *, written: list[str]) -> None:
    """Say what would open a browser, each address once; keep all that was written."""
    opened: set[str] = set()
    while line := await stderr.readline():
        written.append(line.decode(errors="replace").rstrip())
        found = URL.search(written[-1])
        # Some write it as a link of the terminal, which ends with an escape or a bell.
        address = re.split(r"[\x07\x1b]", found[0])[0] if found else ""
        if address and address not in opened:
            opened.add(address)
            say("open", url=address)
