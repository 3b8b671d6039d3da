"""As stdlib_server.py, but only from when a file is there: `python -I slow_server.py FILE [--silent]`.

Until then it writes to stderr all the time, as package managers do while they download; with --silent it says nothing.
"""

import os
import runpy
import sys
import time

gate = sys.argv[1]
while not os.path.exists(gate):
    if "--silent" not in sys.argv:
        print("fetching...", file=sys.stderr, flush=True)
    time.sleep(0.02)
runpy.run_path(os.path.join(os.path.dirname(__file__), "stdlib_server.py"), run_name="__main__")
