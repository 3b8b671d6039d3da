"""What a Python program has loaded, and how many objects are spared by collections, when it opens its first socket and
when it ends: a line each in $RECORD_MODULES.

The interpreter imports this by itself where the folder is in PYTHONPATH.
"""

import atexit
import gc
import json
import os
import sys


def _record(moment: str) -> None:
    with open(os.environ["RECORD_MODULES"], "a", encoding="utf-8") as file:
        file.write(json.dumps([moment, sorted(sys.modules), gc.get_freeze_count()]) + "\n")


def _notice(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.bind":
        _record("bind")


if "RECORD_MODULES" in os.environ:
    sys.addaudithook(_notice)
    atexit.register(_record, "exit")
