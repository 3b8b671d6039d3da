"""What a confined server process sees and does, by its first argument. Standard library only; run with `python -I`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def try_open(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return type(error).__name__
    return "open"


def facts() -> None:
    """Says what holds it: its limits, ids and namespaces, and how far it gets with each path of $PATHS_TO_TRY."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    say(
        json.dumps(
            {
                "no_new_privs": status["NoNewPrivs"],
                "capabilities": int(status["CapEff"], 16),
                "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt", "ipc")},
                "user": os.getuid(),
                "root": try_open("/", os.O_RDONLY | os.O_DIRECTORY),
                "home": try_open(os.environ.get("HOME", "/nowhere") + "/file", os.O_CREAT | os.O_WRONLY),
                "tried": [try_open(path, os.O_RDONLY) for path in os.environ.get("PATHS_TO_TRY", "").split(":")],
                "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
                "directory": os.getcwd(),
                "environment_bytes": sum(map(len, os.environ.values())),
                "session_of_keeper": os.getsid(0) == os.getppid(),
            }
        )
    )
    sys.stdin.read()


def end(how: str) -> None:
    """Ends with an exit code, or by a signal to itself."""
    if how.isdigit():
        os._exit(int(how))
    os.kill(os.getpid(), signal.Signals[how])
    time.sleep(60)


def crowd(number: str) -> None:
    """Starts as many processes with every line that comes, which end with it."""
    say("ready")
    for _ in sys.stdin:
        for _ in range(int(number)):
            subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
        say("started")


def runaway(port: str) -> None:
    """Leaves a grandchild in a session of its own, without environment and deaf to SIGTERM; both hold a connection."""
    connection = connect(port, 1)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            os.execve(sys.executable, [sys.executable, "-I", __file__, "stray", port], {})
        os._exit(0)
    os.wait()
    time.sleep(60)
    connection.close()


def stray(port: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.closing(connect(port, 2)):
        time.sleep(60)


def connect(port: str, name: int) -> socket.socket:
    """Its number of its own is another one in a namespace, so it says which member it is."""
    connection = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
    connection.sendall(f"{name} {os.environ.get('HOME', '')}\n".encode())
    return connection


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
