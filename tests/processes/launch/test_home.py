"""The files of a private home, written where the entry says and nowhere else."""

import os
import stat
from pathlib import Path

import pytest

from fluidmcp.config.filling.files import PrivateFile
from fluidmcp.processes.launch.home import create_home, remove_home
from fluidmcp.processes.starter_child.home_files import write_files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_files_and_their_folders_are_the_process_s_alone(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        home = tmp_path / "home"
        if mask == 0o777 and os.geteuid() != 0:
            pytest.skip("nobody but root can work in folders of such a mask")
        files = (PrivateFile(target=".a/b/c.json", text="{}"), PrivateFile(target=".config/d", text="é"))
        create_home(home, files=files)
    finally:
        os.umask(before)
    assert (home / ".a/b/c.json").read_text(encoding="utf-8") == "{}"
    assert (home / ".config/d").read_bytes() == "é".encode()
    assert mode(home / ".a/b/c.json") == mode(home / ".config/d") == 0o600
    if mask != 0o777:
        assert {mode(home / folder) for folder in (".", ".a", ".a/b", ".config")} == {0o700}
    assert remove_home(home)
    assert not home.exists()


@pytest.mark.threat("E07")
@pytest.mark.parametrize(
    "target", ["../x", "a/../../x", "/x", "a//x", "link/x", "link", "dangling", "there", "a/..", ""]
)
def test_e07_no_link_is_followed_and_nothing_is_overwritten(tmp_path: Path, target: str) -> None:
    # A home is new, so nobody can have put a link there; what is written would not follow it all the same.
    home, outside = tmp_path / "home", tmp_path / "outside"
    create_home(home)
    outside.mkdir()
    (home / "link").symlink_to(outside)
    (home / "dangling").symlink_to(outside / "x")
    (home / "there").write_text("before", encoding="utf-8")
    with pytest.raises(OSError):
        write_files(str(home), [(target, "secret")])
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "outside"]
    assert (home / "there").read_text(encoding="utf-8") == "before"
