"""Files that are written as a whole: nobody reads half of one, and nothing of somebody else's is lost."""

import os
import stat
from pathlib import Path

import pytest

from fluidmcp.cli.files.whole_file import create_file, overwrite_file, replace_file
from fluidmcp.errors import ConfigurationError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_private_and_one_that_is_there_is_kept(tmp_path: Path):
    target = tmp_path / "a.json"
    create_file(target, b"one", shown="a.json", hint="Do something else.")
    assert (target.read_bytes(), mode(target)) == (b"one", 0o600)
    with pytest.raises(ConfigurationError) as refused:
        create_file(target, b"two", shown="a.json", hint="Do something else.")
    assert (refused.value.what, refused.value.hint) == ("a.json is there already.", "Do something else.")
    assert target.read_bytes() == b"one"
    overwrite_file(target, b"three", shown="a.json")
    assert target.read_bytes() == b"three"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o664])
def test_another_content_keeps_the_mode(tmp_path: Path, bits: int):
    target = tmp_path / "a.json"
    target.write_bytes(b"before")
    target.chmod(bits)
    replace_file(target, b"after", before=b"before", shown="a.json")
    assert (target.read_bytes(), mode(target)) == (b"after", bits)
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("now", [b"bef", b"BEFORE", b"before and more"])
def test_what_somebody_else_wrote_meanwhile_is_not_lost(tmp_path: Path, now: bytes):
    target = tmp_path / "a.json"
    target.write_bytes(now)
    with pytest.raises(ConfigurationError):
        replace_file(target, b"after", before=b"before", shown="a.json")
    assert target.read_bytes() == now
    assert os.listdir(tmp_path) == ["a.json"]


def test_where_nothing_can_be_written_the_error_says_why(tmp_path: Path):
    for target in (tmp_path / "no" / "a.json", tmp_path):
        with pytest.raises(ConfigurationError) as refused:
            overwrite_file(target, b"x", shown="a.json")
        assert refused.value.what == "a.json cannot be written." and "The system says: " in refused.value.why
    assert os.listdir(tmp_path) == []
