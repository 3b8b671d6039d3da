"""Locks on files that processes of one machine respect; the system gives them back when a process dies."""

import fcntl


def try_lock(descriptor: int) -> bool:
    """Whether the file is this process's now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
