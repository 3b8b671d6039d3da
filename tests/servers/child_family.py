"""A child and a grandchild that hold a connection each for as long as they live: `child_family.py PORT [stray]`.

Both ignore everything but SIGKILL. With `stray` the grandchild leaves the process group.
"""

import os
import signal
import socket
import subprocess
import sys
import time


def main() -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    connection.sendall(f"{os.getpid()} {os.environ.get('HOME', '')}\n".encode())
    if sys.argv[2:] != ["grandchild"]:
        subprocess.Popen(
            [sys.executable, "-I", __file__, sys.argv[1], "grandchild"], start_new_session="stray" in sys.argv[2:]
        )
    # A test that fails must not leave it behind for good.
    time.sleep(60)


if __name__ == "__main__":
    main()
