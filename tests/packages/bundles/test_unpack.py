import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.bundles import archive as archives
from fluidmcp.packages.bundles.unpack import Unpacked, unpack_bundle
from fluidmcp.packages.resolve import find_packages
from tests.packages.bundles.zips import MANIFEST, bundle, entry, listing, patched, signed, zipped

INDEX = ("server/index.js", b"// it rains\n")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "packages"


def unpack(content: bytes, into: Path, *, replaces: bool = False, sha256: str = "") -> Unpacked:
    path = into.parent / "it.mcpb"
    path.write_bytes(content)
    return unpack_bundle(path, into=into, replaces=replaces, sha256=sha256)


def refuse(content: bytes, into: Path, *, sha256: str = "") -> str:
    """Why it is refused; nothing is left behind, inside or outside."""
    before = listing(into.parent)
    with pytest.raises(ConfigurationError) as caught:
        unpack(content, into, sha256=sha256)
    assert caught.value.hint
    assert not into.exists()
    assert set(listing(into.parent)) == {*before, "it.mcpb"}
    return caught.value.why


def test_a_bundle_becomes_an_installed_package(into: Path):
    content = bundle(INDEX, ("assets/icon.png", b"png"))
    unpacked = unpack(content, into)
    assert unpacked.spec == "mcpb/weather-report@1.2.0"
    assert unpacked.folder == into / "mcpb" / "weather-report" / "1.2.0"
    assert unpacked.digest == "sha256-" + hashlib.sha256(content).hexdigest()
    assert not unpacked.is_signed
    assert listing(unpacked.folder) == ["assets/icon.png", "manifest.json", "metadata.json", "server/index.js"]
    (found,) = find_packages(into)
    assert found.spec == unpacked.spec
    assert json.loads(found.metadata.read_text()) == {
        "mcpServers": {"weather-report": {"command": "node", "args": ["${__dirname}/server/index.js"]}}
    }
    assert os.listdir(into / "mcpb") == ["weather-report"]


def test_inputs_and_needs_are_kept(into: Path):
    manifest = MANIFEST | {
        "compatibility": {"runtimes": {"node": ">=18"}},
        "user_config": {
            "key": {"type": "string", "title": "Key", "sensitive": True, "required": True},
            "count": {"type": "number", "default": 5, "min": 1},
            "paths": {"type": "directory", "multiple": True, "default": ["/a"]},
            "fast": {"type": "boolean"},
        },
    }
    unpacked = unpack(bundle(INDEX, manifest=manifest), into)
    assert unpacked.needs.runtimes == {"node": ">=18"}
    assert json.loads((unpacked.folder / "metadata.json").read_text())["inputs"] == [
        {"id": "key", "type": "promptString", "description": "Key", "password": True},
        {"id": "count", "type": "promptString", "default": "5", "number": True, "required": False, "min": 1.0},
        {"id": "paths", "type": "promptString", "default": '["/a"]', "multiple": True, "required": False},
        {"id": "fast", "type": "pickString", "options": ["true", "false"], "required": False},
    ]


def test_only_programs_can_be_executed(into: Path):
    manifest = MANIFEST | {"server": {"type": "binary", "entry_point": "bin/tool"}}
    content = bundle(
        (entry("bin/tool", mode=0, system=0), b"#!/bin/sh\n"),
        (entry("bin/helper", mode=stat.S_IFREG | 0o4775), b"#!/bin/sh\n"),
        (entry("data.txt", mode=stat.S_IFREG | 0o666), b"x"),
        (entry("private/", mode=stat.S_IFDIR | 0o700), b""),
        manifest=manifest,
    )
    old = os.umask(0o077)
    try:
        folder = unpack(content, into).folder
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes["tool"] == modes["helper"] == 0o755
    assert modes["data.txt"] == modes["manifest.json"] == 0o644
    assert modes["private"] == modes["bin"] == stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("padding", [0, 70_000])
def test_a_signature_is_tolerated_and_not_verified(into: Path, padding: int):
    unpacked = unpack(signed(bundle(INDEX), padding=padding), into)
    assert unpacked.is_signed
    assert "server/index.js" in listing(unpacked.folder)


def test_a_version_is_replaced_only_when_that_is_said(into: Path):
    folder = unpack(bundle(INDEX), into).folder
    with pytest.raises(ConfigurationError, match=r"it\.mcpb cannot be installed"):
        unpack(bundle(("server/index.js", b"new")), into)
    assert (folder / "server/index.js").read_bytes() == INDEX[1]
    unpack(bundle(("server/index.js", b"new")), into, replaces=True)
    assert (folder / "server/index.js").read_bytes() == b"new"
    assert os.listdir(into / "mcpb") == ["weather-report"]


def test_an_announced_digest_is_checked(into: Path):
    content = bundle(INDEX)
    assert refuse(content, into, sha256="0" * 64) == "Its SHA-256 is not the one that was announced."
    unpack(content, into, sha256=hashlib.sha256(content).hexdigest().upper())


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "a/../../evil.txt",
        "/tmp/evil.txt",
        "a//b",
        "./a",
        "a\\..\\evil.txt",
        "C:evil.txt",
        "a\nb",
        "x" * 256,
        "/".join("x" * 200 for _ in range(6)),
        "/".join("x" * 60),
    ],
)
def test_names_that_lead_out_of_the_bundle_are_refused(into: Path, name: str):
    content = bundle(INDEX, ("y" * len(name), b"evil"))
    refuse(patched(content, b"y" * len(name), name.encode()), into)


@pytest.mark.threat("E14")
def test_a_name_with_a_nul_is_refused(into: Path):
    why = refuse(patched(bundle(("safe.js!../evil", b"")), b"safe.js!", b"safe.js\0"), into)
    assert "control characters" in why


@pytest.mark.threat("E14")
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
@pytest.mark.parametrize("system", [0, 3])
def test_links_and_special_files_are_refused(into: Path, kind: int, system: int):
    why = refuse(bundle(INDEX, (entry("link", mode=kind | 0o777, system=system), b"/etc/passwd")), into)
    assert "'link' in it is a " in why


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    ("one", "two"),
    [("Server/index.js", "server/other.js"), ("a/FILE", "a/file"), ("caf\u00e9", "cafe\u0301"), ("ss", "\u00df")],
)
def test_names_that_some_systems_hold_for_one_are_refused(into: Path, one: str, two: str):
    assert "only in its case or accents" in refuse(bundle((one, b""), (two, b"")), into)


@pytest.mark.threat("E14")
def test_no_name_stands_twice(into: Path):
    twice = patched(bundle(("server/a.js", b"good"), ("server/b.js", b"evil")), b"server/b.js", b"server/a.js")
    assert refuse(twice, into) == "'server/a.js' is in it twice."
    both = patched(bundle(("server/a.js", b"good"), ("server/b.js/x", b"evil")), b"b.js/x", b"a.js/x")
    assert "is a file and a folder" in refuse(both, into)
    folder = (entry("server", mode=stat.S_IFDIR | 0o755), b"")
    assert "is a file and a folder" in refuse(bundle(folder), into)
    full = patched(bundle((entry("server/a", mode=0), b"content")), b"server/a", b"serverr/")
    assert refuse(full, into) == "'serverr/' in it is a folder with content."


@pytest.mark.threat("E14")
def test_encrypted_and_strangely_compressed_files_are_refused(into: Path):
    assert "compressed in a way" in refuse(bundle(INDEX, compression=zipfile.ZIP_LZMA), into)
    content = bytearray(bundle(INDEX))
    for sign, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(sign) + offset] |= 1
    assert "is encrypted" in refuse(bytes(content), into)


@pytest.mark.threat("E14")
def test_bombs_are_refused_before_anything_is_written(into: Path, monkeypatch: pytest.MonkeyPatch):
    assert "100 times larger" in refuse(bundle(("zeros", bytes(64 * 1024**2))), into)
    monkeypatch.setattr(archives, "MAX_BYTES", 1024)
    assert refuse(bundle(("zeros", bytes(2000))), into) == "What is in it is larger than 0 MB."
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    assert refuse(bundle(*((f"f{n}", b"") for n in range(3))), into) == "It holds more than 3 files."


@pytest.mark.threat("E14")
def test_a_list_of_names_that_is_too_long_is_not_even_read(into: Path):
    content = bundle(INDEX)
    end = content.rindex(b"PK\5\6")
    many = content[: end + 8] + struct.pack("<2H", 60_000, 60_000) + content[end + 12 :]
    assert refuse(many, into) == "It holds more than 20000 files."
    larger = content[:end] + b"PK\6\7" + bytes(16) + content[end:]
    assert refuse(larger, into) == "It is a zip archive in the format for more than 4 GB."


@pytest.mark.threat("E14")
@pytest.mark.parametrize("said", [10, 99_999, 100_001])
def test_a_file_of_another_size_than_the_archive_says_is_refused(into: Path, said: int):
    content = bytearray(bundle(("zeros", bytes(100_000))))
    # The size in the list of names, and in front of the file.
    for sign, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        place = content.rindex(sign) + offset
        assert content[place : place + 4] == struct.pack("<L", 100_000)
        content[place : place + 4] = struct.pack("<L", said)
    refuse(bytes(content), into)


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\5\6",
        b"not a zip at all, but long enough to be one",
        bundle(INDEX)[:-30],
        bundle(INDEX)[40:],
        patched(bundle(INDEX, compression=zipfile.ZIP_STORED), b"it rains", b"it shine"),
    ],
)
def test_damaged_archives_are_refused(into: Path, content: bytes):
    refuse(content, into)


def _with_damaged_bytes() -> Iterator[bytes]:
    content = bundle(INDEX, ("a/b.txt", b"x" * 100))
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.threat("E14")
def test_no_damage_makes_anything_but_a_package_or_a_refusal(into: Path):
    (into.parent / "it.mcpb").touch()
    for content in _with_damaged_bytes():
        try:
            unpack(content, into, replaces=True)
        except ConfigurationError:
            pass
        assert {path.name for path in into.parent.iterdir()} <= {"packages", "it.mcpb"}
        if into.exists():
            assert not [name for name in os.listdir(into / "mcpb") if name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "../.."}, "manifest.name cannot be a package name."),
        ({"name": "天気"}, "manifest.name cannot be a package name."),
        ({"version": "../1"}, "manifest.version is missing, or cannot be one."),
        ({"version": None}, "manifest.version is missing, or cannot be one."),
        (
            {"compatibility": {"platforms": ["win32"]}},
            "manifest.compatibility.platforms does not name linux: the bundle is for other systems.",
        ),
        ({"manifest_version": None, "server": None}, "Its manifest.json has no server, or no manifest_version."),
    ],
)
def test_a_manifest_that_cannot_be_run_is_refused(into: Path, changes: dict[str, Any], why: str):
    assert refuse(bundle(INDEX, manifest=MANIFEST | changes), into) == why


def test_a_bundle_needs_a_manifest_that_is_json(into: Path):
    assert refuse(zipped(INDEX), into) == "It holds no manifest.json."
    assert refuse(zipped(("manifest.json", b"{")), into) == "Its manifest.json is not JSON."
    assert refuse(zipped(("manifest.json", b"[]")), into) == "Its manifest.json is not an object."
    assert refuse(zipped(("manifest.json", b'{"name": "\\ud800"}')), into) == "Its manifest.json is not JSON."
    assert refuse(zipped(("manifest.json", b" " * (4 * 1024**2 + 1))), into).startswith("manifest.json is larger")


def test_a_bundle_does_not_bring_our_own_file(into: Path):
    assert "it holds a file metadata.json" in refuse(bundle(("metadata.json", b'{"mcpServers": {}}')), into)


def test_a_name_that_the_gateway_answers_at_gets_another_one(into: Path):
    assert unpack(bundle(INDEX, manifest=MANIFEST | {"name": "Health"}), into).name == "health-server"


@pytest.mark.threat("E07")
def test_what_is_no_file_is_refused_without_waiting(into: Path):
    path = into.parent / "pipe.mcpb"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError) as caught:
        unpack_bundle(path, into=into)
    assert caught.value.why == "It is not a file."
    with pytest.raises(ConfigurationError, match="cannot be installed") as caught:
        unpack_bundle(into.parent / "missing.mcpb", into=into)
    assert "No such file" in caught.value.why


def test_an_archive_may_be_written_by_a_stream(into: Path):
    """Sizes behind the files instead of in front of them, as packers write that cannot seek."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(MANIFEST))
        file.writestr(*INDEX)
    assert "server/index.js" in listing(unpack(stream.getvalue(), into).folder)
