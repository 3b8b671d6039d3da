"""Loads a fixture server once and forks it for each caller: `fixture_forks.py dual|handshake|stateless SOCKET`.

Most of what it costs to start such a server is the import of its SDK, and the conformance suite starts hundreds.
fixture_fork.py is the caller. It says "ready" on stdout, and ends when its stdin does.
"""

import importlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable


def main() -> None:
    name, path = sys.argv[1:]
    run: Callable[[list[str]], None] = importlib.import_module(f"fixture_{name}").main
    # Nobody asks how a fork ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while 0 not in (ready := select.select([0, listener], [], [])[0]):
            if ready:
                fork(listener, run)


def fork(listener: socket.socket, run: Callable[[list[str]], None]) -> None:
    connection, _ = listener.accept()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        try:
            serve(connection, run)
        finally:
            os._exit(0)
    connection.close()


def serve(connection: socket.socket, run: Callable[[list[str]], None]) -> None:
    """The fixture with the stdin, stdout and stderr of the caller, which ends together with it."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    threading.Thread(target=end_with_caller, args=(connection,), daemon=True).start()
    run([])
    sys.stdout.flush()


def end_with_caller(connection: socket.socket) -> None:
    connection.recv(1)
    os._exit(1)


if __name__ == "__main__":
    main()
