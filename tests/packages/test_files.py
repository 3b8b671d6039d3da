import os
import socket
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.files import read_regular


def read(path: Path, *, max_bytes: int = 100, within: Path | None = None) -> bytes:
    return read_regular(path, shown="the file", max_bytes=max_bytes, within=within)


def refuse(path: Path, *, max_bytes: int = 100, within: Path | None = None) -> str:
    """Why the file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        read(path, max_bytes=max_bytes, within=within)
    assert caught.value.what == "the file cannot be read."
    assert caught.value.hint
    return caught.value.why


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def test_a_file_is_read_whole_up_to_the_limit(package: Path) -> None:
    (package / "sub").mkdir()
    (package / "sub" / "it").write_bytes(b"x" * 100)
    assert read(package / "sub" / "it") == b"x" * 100
    assert read(package / "sub" / "it", within=package) == b"x" * 100


def test_a_larger_file_is_refused_also_when_it_does_not_say_its_size(package: Path) -> None:
    (package / "it").write_bytes(b"x" * 101)
    assert refuse(package / "it") == "It is larger than 100 bytes."
    if Path("/proc/cpuinfo").exists():
        assert refuse(Path("/proc/cpuinfo"), max_bytes=10) == "It is larger than 10 bytes."


@pytest.mark.parametrize("is_inside", [True, False])
@pytest.mark.threat("E07")
def test_what_is_not_a_file_is_refused_without_waiting_for_it(package: Path, is_inside: bool) -> None:
    within = package if is_inside else None
    os.mkfifo(package / "pipe")
    (package / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        old = Path.cwd()
        os.chdir(package)  # the path of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(old)
        assert refuse(package / "socket", within=within) == "It is a socket, not a file."
    assert refuse(package / "pipe", within=within) == "It is a named pipe, not a file."
    assert refuse(package / "folder", within=within) == "It is a directory."
    assert refuse(package / "missing", within=within) == "There is no such file."
    assert refuse(package / "a\0b", within=within) == "Its name holds a NUL character."
    assert refuse(Path("/dev/null")) == "It is a device, not a file."


def test_a_file_that_the_operator_named_may_be_a_link(package: Path, tmp_path: Path) -> None:
    (package / "link").symlink_to(tmp_path / "secret")
    assert read(package / "link") == b"secret"
    os.mkfifo(package / "pipe")
    (package / "to-pipe").symlink_to("pipe")
    assert refuse(package / "to-pipe") == "It is a named pipe, not a file."


@pytest.mark.threat("E07")
def test_no_link_leads_out_of_a_package_folder(package: Path, tmp_path: Path) -> None:
    (package / "link").symlink_to(tmp_path / "secret")
    (package / "up").symlink_to("..")
    (package / "loop").symlink_to("loop")
    os.link(tmp_path / "secret", package / "hard")
    for path in (package / "link", package / "up" / "secret", package / ".." / "secret", tmp_path / "secret"):
        assert refuse(path, within=package) == f"It leads out of {package}."
    assert refuse(package, within=package) == f"It leads out of {package}."
    assert refuse(package / "hard", within=package) == "It is a hard link: the same file has another name elsewhere."
    assert "system says" in refuse(package / "loop", within=package)


def test_a_link_inside_a_package_folder_is_followed(package: Path, tmp_path: Path) -> None:
    (package / "it").write_bytes(b"inside")
    (package / "link").symlink_to("it")
    (tmp_path / "alias").symlink_to(package)
    assert read(package / "link", within=package) == b"inside"
    assert read(tmp_path / "alias" / "link", within=tmp_path / "alias") == b"inside"
    assert read(package / "it", within=tmp_path / "alias") == b"inside"
