"""The files of a package: whatever happened to the code is noticed, and what a server writes beside it is not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.sources.contents import CONTENTS_FILE, ChangedError, check_contents, write_contents


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    code = folder / "node_modules" / "x"
    code.mkdir(parents=True)
    (code / "index.js").write_bytes(b"one")
    (code / "data.json").write_bytes(b"{}")
    (folder / "node_modules" / "link").symlink_to("x")
    (folder / "metadata.json").write_bytes(b"{}")
    return folder


def change(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(folder: Path) -> None:
    (folder / "node_modules" / "x" / "index.js").unlink()


def add_link(folder: Path) -> None:
    (folder / "node_modules" / "y").symlink_to("/tmp")


def move_outside(folder: Path) -> None:
    (folder / "node_modules" / "x").rename(folder.parent / "x")
    (folder / "node_modules" / "x").symlink_to(folder.parent / "x")


def relink(folder: Path) -> None:
    (folder / "node_modules" / "link").unlink()
    (folder / "node_modules" / "link").symlink_to("/tmp")


def replace_by_link(folder: Path) -> None:
    (folder / "node_modules" / "x" / "index.js").rename(folder.parent / "index.js")
    (folder / "node_modules" / "x" / "index.js").symlink_to(folder.parent / "index.js")


def replace_by_pipe(folder: Path) -> None:
    (folder / "metadata.json").unlink()
    os.mkfifo(folder / "metadata.json")


def rewrite_list(folder: Path) -> None:
    (folder / "node_modules" / "x" / "index.js").write_bytes(b"two")
    write_contents(folder)


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    "harm",
    [
        change("node_modules/x/index.js", b"onf"),
        change("node_modules/x/data.json", b"[]"),
        change("metadata.json", b"{} "),
        change(CONTENTS_FILE, b"{}"),
        change("node_modules/x/index.cjs", b"new"),
        change("node_modules/x/package.json", b"{}"),
        change("node_modules/x/more.node", b"new"),
        remove,
        add_link,
        move_outside,
        relink,
        replace_by_link,
        replace_by_pipe,
        rewrite_list,
    ],
)
def test_every_change_of_the_code_is_noticed(package: Path, harm: Callable[[Path], object]):
    digest = write_contents(package)
    check_contents(package, digest)
    harm(package)
    with pytest.raises(ChangedError):
        check_contents(package, digest)


def test_what_a_server_writes_beside_its_code_is_no_fault(package: Path):
    digest = write_contents(package)
    for name in ("memory.json", "node_modules/x/memory.json", "node_modules/x/log.txt", "script.js"):
        (package / name).write_bytes(b"new")
    for name in ("node_modules/.cache/a.js", "venv/lib/__pycache__/a.pyc"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_bytes(b"new")
    check_contents(package, digest)


@pytest.mark.parametrize("name", ["server/json.py", "server/node_modules/a/index.js", "sitecustomize.py", "a.node"])
def test_code_that_was_added_anywhere_in_a_bundle_is_noticed(package: Path, name: str):
    """Python looks beside the program first: `server/json.py` is taken for the library's."""
    digest = write_contents(package)
    for data in ("memory.json", ".venv/lib/a.py", "server/__pycache__/a.pyc"):
        (package / data).parent.mkdir(parents=True, exist_ok=True)
        (package / data).write_bytes(b"new")
    check_contents(package, digest, is_all_code=True)
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_bytes(b"new")
    with pytest.raises(ChangedError):
        check_contents(package, digest, is_all_code=True)


def test_a_pipe_in_a_package_is_refused_and_not_waited_for(package: Path):
    os.mkfifo(package / "pipe")
    with pytest.raises(ConfigurationError):
        write_contents(package)


def test_a_name_that_is_no_text_is_refused(package: Path):
    Path(os.fsdecode(os.fsencode(package) + b"/\xff")).write_bytes(b"")
    with pytest.raises(ConfigurationError):
        write_contents(package)
