import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fluidmcp.processes.starter_child import landlock
from fluidmcp.processes.starter_child.syscalls import open_place

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock.abi() == 0, reason="there is no Landlock on this machine"
)

READS_CONFINED = """
import sys
from fluidmcp.processes.starter_child import landlock, syscalls
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict([(landlock.READ, sys.argv[1])], keeps_files=False)
try:
    print(open(sys.argv[2]).read())
except PermissionError:
    print("refused")
"""


def read_confined(allowed: Path, path: Path) -> str:
    """What a process reads of `path` that may read `allowed` and nothing else."""
    command = [sys.executable, "-c", READS_CONFINED, str(allowed), str(path)]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.strip()


def test_what_is_allowed_can_be_read_and_nothing_else(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    assert read_confined(tmp_path / "a.txt", tmp_path / "a.txt") == "a"
    assert read_confined(tmp_path / "a.txt", tmp_path / "b.txt") == "refused"
    assert read_confined(tmp_path, tmp_path / "b.txt") == "b"
    assert read_confined(tmp_path / "not there", tmp_path / "b.txt") == "refused"


@pytest.mark.threat("E01")
def test_a_path_that_has_become_a_link_allows_nothing(tmp_path: Path):
    (tmp_path / "secrets").mkdir()
    secret = tmp_path / "secrets" / "token.txt"
    secret.write_text("secret")
    (tmp_path / "file").symlink_to(secret)
    (tmp_path / "folder").symlink_to(secret.parent)
    for allowed in ("file", "folder", "folder/token.txt"):
        assert read_confined(tmp_path / allowed, secret) == "refused"


def test_a_place_is_opened_without_any_link_on_the_way(tmp_path: Path):
    (tmp_path / "there").write_text("")
    (tmp_path / "link").symlink_to("there")
    os.close(open_place(str(tmp_path / "there")))
    with pytest.raises(OSError) as caught:
        open_place(str(tmp_path / "link"))
    assert caught.value.errno == errno.ELOOP
