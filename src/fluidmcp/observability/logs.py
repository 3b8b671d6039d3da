"""Logging on stderr, with nothing secret in it."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(level: str) -> None:
    """Send all records to stderr. uvicorn's own access log stays off: it would print codes from query strings."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr, force=True)
    # These two print request lines, addresses and headers of outbound calls at DEBUG: secrets among them.
    for name in ("httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
