"""Garbage collection in a process that serves for months.

A full collection looks at every object that could be part of a cycle. Forty thousand of them are modules, classes and
functions, which stay until the end: looking at them takes 25 to 50 ms, in which nobody is answered.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 2500
"""How many more objects may have been made than went away before the new ones are looked at. 64 requests in flight that
leave no cycle behind reach Python's 700 all the time and these never; to look at them takes a millisecond.
"""


def spare_the_start() -> None:
    """Take everything that is there now out of all collections; what is made from here on is collected as ever."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def spare_what_was_loaded() -> None:
    """The same for what was loaded later, in a process whose start was spared."""
    if gc.get_freeze_count():
        gc.freeze()
