"""Run by its path with `-I -S`: only the standard library and this folder are imported, which keeps a fork small."""

import os
import sys

_LEVELS_ABOVE = 4

if __name__ == "__main__":
    folder = os.path.abspath(__file__)
    for _ in range(_LEVELS_ABOVE):
        folder = os.path.dirname(folder)
    sys.path.insert(0, folder)
    from fluidmcp.processes.starter_child.program import main

    main()
