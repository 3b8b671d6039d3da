"""Stands for a fixture server that fixture_forks.py forks: `fixture_fork.py SOCKET`. Quick, as it imports no SDK."""

import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    socket.send_fds(connection, [b"x"], [0, 1, 2])
    # The other side has copies; the pipes have to end when that one ends.
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    connection.recv(1)
