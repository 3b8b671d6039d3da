"""A child that does one thing, named by its first argument. Standard library only; run with `python -I`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

MEGABYTE = 1024 * 1024


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def echo() -> None:
    for line in sys.stdin:
        say(line.rstrip("\n"))


def read_sizes() -> None:
    """Says how many bytes each single read of stdin gave."""
    while data := os.read(0, MEGABYTE):
        say(str(len(data)))


def show() -> None:
    """Says what the process was given."""
    with open("/proc/self/cmdline", "rb") as file:
        command_line = file.read().decode()
    home = os.environ.get("HOME", "")
    say(
        json.dumps(
            {
                "environment": dict(os.environ),
                "command_line": command_line,
                "directory": os.getcwd(),
                "group": os.getpgrp(),
                "session": os.getsid(0),
                "home_mode": oct(os.stat(home).st_mode & 0o777) if home else "",
                "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
            }
        )
    )
    sys.stdin.read()


def flood_stderr() -> None:
    line = b"x" * 1000 + b"\n"
    for _ in range(20_000):
        os.write(2, line)
    say("done")
    sys.stdin.read()


def complain() -> None:
    """Writes its second argument to stderr, then waits."""
    os.write(2, sys.argv[2].encode().decode("unicode_escape").encode("latin-1"))
    say("done")
    sys.stdin.read()


def long_line() -> None:
    sys.stdout.buffer.write(b"a" * (30 * MEGABYTE) + b"\nshort\r\n\n")
    sys.stdout.buffer.flush()
    sys.stdin.read()


def last_words() -> None:
    """Ends at once after its answer, which has no newline."""
    sys.stdout.write("one\ntwo\nthree")
    sys.stdout.flush()
    os._exit(3)


def stubborn() -> None:
    """Ends neither with its input nor at SIGTERM."""

    def refuse(_signum: int, _frame: object) -> None:
        say("not now")

    signal.signal(signal.SIGTERM, refuse)
    say("ready")
    while True:
        time.sleep(60)


def obeys_sigterm() -> None:
    """Does not end with its input, but at SIGTERM."""

    def obey(_signum: int, _frame: object) -> None:
        os._exit(7)

    signal.signal(signal.SIGTERM, obey)
    say("ready")
    while True:
        time.sleep(60)


def deaf() -> None:
    """Never reads its input."""
    say("ready")
    while True:
        time.sleep(60)


def closes_input() -> None:
    os.close(0)
    say("closed")
    while True:
        time.sleep(60)


def family() -> None:
    """Starts a grandchild that ignores everything and holds all pipes, says its pid, then goes on as `echo`."""
    code = "import signal,time; signal.signal(15, 1); signal.signal(1, 1); time.sleep(60)"
    grandchild = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    say(str(grandchild.pid))
    echo()


def stray() -> None:
    """Like `family`, but the grandchild has left the process group and still holds all pipes."""
    grandchild = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    say(str(grandchild.pid))
    echo()


def litter() -> None:
    """Fills its home with what is hard to delete, and keeps writing to it until it is killed."""
    home = os.environ["HOME"]
    locked = os.path.join(home, "locked", "inner")
    os.makedirs(locked)
    with open(os.path.join(locked, "file"), "w") as file:
        file.write("x")
    os.symlink("/", os.path.join(home, "root"))
    os.chmod(locked, 0o500)
    os.chmod(os.path.dirname(locked), 0o500)

    def write_on() -> None:
        number = 0
        while True:
            number += 1
            with open(os.path.join(home, "tmp", str(number % 50)), "w") as file:
                file.write("x")

    threading.Thread(target=write_on, daemon=True).start()
    say(home)
    echo()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
