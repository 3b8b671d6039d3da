"""The limit that all others are compared with."""

import sys
from typing import Final

from benchmarks.gateways import Gateway, Site, Start
from benchmarks.load import Speech
from benchmarks.workshop import PROGRAMS

NAME: Final = "limit"


def make_limit() -> Gateway:
    def prepare(site: Site) -> Start:
        return Start(command=(sys.executable, str(PROGRAMS / "relay.py"), str(site.port), *site.server))

    return Gateway(name=NAME, title="*the limit*", prepare=prepare, speak=lambda site: Speech(path="/"))
