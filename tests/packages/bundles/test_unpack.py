import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.bundles import archive as archives
from fluidmcp.packages.bundles.unpack import Extracted, digest_bundle, extract_bundle
from tests.packages.bundles.zips import MANIFEST, bundle, entry, listing, patched, signed, zipped

INDEX = ("server/index.js", b"// it rains\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def extract(content: bytes, folder: Path) -> Extracted:
    path = folder.parent / "it.mcpb"
    path.write_bytes(content)
    return extract_bundle(path, folder)


def refuse(content: bytes, folder: Path) -> str:
    """Why it is refused; nothing is written, inside or outside."""
    with pytest.raises(ConfigurationError) as caught:
        extract(content, folder)
    assert caught.value.hint
    assert listing(folder.parent) == ["it.mcpb"]
    return caught.value.why


def test_a_bundle_is_extracted_into_a_folder(folder: Path):
    content = bundle(INDEX, ("assets/icon.png", b"png"))
    extracted = extract(content, folder)
    assert (extracted.name, extracted.version, extracted.is_signed) == ("weather-report", "1.2.0", False)
    assert extracted.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert extracted.digest == digest_bundle(folder.parent / "it.mcpb")
    assert listing(folder) == ["assets/icon.png", "manifest.json", "server/index.js"]
    assert extracted.metadata == {
        "mcpServers": {"weather-report": {"command": "node", "args": ["${__dirname}/server/index.js"]}}
    }
    assert sorted(path.name for path in folder.parent.iterdir()) == ["folder", "it.mcpb"]


def test_inputs_and_needs_are_kept(folder: Path):
    manifest = MANIFEST | {
        "compatibility": {"runtimes": {"node": ">=18"}},
        "user_config": {
            "key": {"type": "string", "title": "Key", "sensitive": True, "required": True},
            "count": {"type": "number", "default": 5, "min": 1},
            "paths": {"type": "directory", "multiple": True, "default": ["/a"]},
            "fast": {"type": "boolean"},
        },
    }
    extracted = extract(bundle(INDEX, manifest=manifest), folder)
    assert extracted.needs.runtimes == {"node": ">=18"}
    assert extracted.metadata["inputs"] == [
        {"id": "key", "type": "promptString", "description": "Key", "password": True},
        {"id": "count", "type": "promptString", "default": "5", "number": True, "required": False, "min": 1.0},
        {"id": "paths", "type": "promptString", "default": '["/a"]', "multiple": True, "required": False},
        {"id": "fast", "type": "pickString", "options": ["true", "false"], "required": False},
    ]


def test_only_programs_can_be_executed(folder: Path):
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
        extract(content, folder)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes["tool"] == modes["helper"] == 0o755
    assert modes["data.txt"] == modes["manifest.json"] == 0o644
    assert modes["private"] == modes["bin"] == stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("padding", [0, 70_000])
def test_a_signature_is_tolerated_and_not_verified(folder: Path, padding: int):
    extracted = extract(signed(bundle(INDEX), padding=padding), folder)
    assert extracted.is_signed
    assert "server/index.js" in listing(folder)


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
def test_names_that_lead_out_of_the_bundle_are_refused(folder: Path, name: str):
    content = bundle(INDEX, ("y" * len(name), b"evil"))
    refuse(patched(content, b"y" * len(name), name.encode()), folder)


@pytest.mark.threat("E14")
def test_a_name_with_a_nul_is_refused(folder: Path):
    why = refuse(patched(bundle(("safe.js!../evil", b"")), b"safe.js!", b"safe.js\0"), folder)
    assert "control characters" in why


@pytest.mark.threat("E14")
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
@pytest.mark.parametrize("system", [0, 3])
def test_links_and_special_files_are_refused(folder: Path, kind: int, system: int):
    why = refuse(bundle(INDEX, (entry("link", mode=kind | 0o777, system=system), b"/etc/passwd")), folder)
    assert "'link' in it is a " in why


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    ("one", "two"),
    [("Server/index.js", "server/other.js"), ("a/FILE", "a/file"), ("caf\u00e9", "cafe\u0301"), ("ss", "\u00df")],
)
def test_names_that_some_systems_hold_for_one_are_refused(folder: Path, one: str, two: str):
    assert "only in its case or accents" in refuse(bundle((one, b""), (two, b"")), folder)


@pytest.mark.threat("E14")
def test_no_name_stands_twice(folder: Path):
    twice = patched(bundle(("server/a.js", b"good"), ("server/b.js", b"evil")), b"server/b.js", b"server/a.js")
    assert refuse(twice, folder) == "'server/a.js' is in it twice."
    both = patched(bundle(("server/a.js", b"good"), ("server/b.js/x", b"evil")), b"b.js/x", b"a.js/x")
    assert "is a file and a folder" in refuse(both, folder)
    plain = (entry("server", mode=stat.S_IFDIR | 0o755), b"")
    assert "is a file and a folder" in refuse(bundle(plain), folder)
    full = patched(bundle((entry("server/a", mode=0), b"content")), b"server/a", b"serverr/")
    assert refuse(full, folder) == "'serverr/' in it is a folder with content."


@pytest.mark.threat("E14")
def test_encrypted_and_strangely_compressed_files_are_refused(folder: Path):
    assert "compressed in a way" in refuse(bundle(INDEX, compression=zipfile.ZIP_LZMA), folder)
    content = bytearray(bundle(INDEX))
    for sign, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(sign) + offset] |= 1
    assert "is encrypted" in refuse(bytes(content), folder)


@pytest.mark.threat("E14")
def test_bombs_are_refused_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert "100 times larger" in refuse(bundle(("zeros", bytes(64 * 1024**2))), folder)
    monkeypatch.setattr(archives, "MAX_BYTES", 1024)
    assert refuse(bundle(("zeros", bytes(2000))), folder) == "What is in it is larger than 0 MB."
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    assert refuse(bundle(*((f"f{n}", b"") for n in range(3))), folder) == "It holds more than 3 files."


@pytest.mark.threat("E14")
def test_a_list_of_names_that_is_too_long_is_not_even_read(folder: Path):
    content = bundle(INDEX)
    end = content.rindex(b"PK\5\6")
    many = content[: end + 8] + struct.pack("<2H", 60_000, 60_000) + content[end + 12 :]
    assert refuse(many, folder) == "It holds more than 20000 files."
    larger = content[:end] + b"PK\6\7" + bytes(16) + content[end:]
    assert refuse(larger, folder) == "It is a zip archive in the format for more than 4 GB."


@pytest.mark.threat("E14")
@pytest.mark.parametrize("said", [10, 99_999, 100_001])
def test_a_file_of_another_size_than_the_archive_says_is_refused(folder: Path, said: int):
    content = bytearray(bundle(("zeros", bytes(100_000))))
    # The size in the list of names, and in front of the file.
    for sign, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        place = content.rindex(sign) + offset
        assert content[place : place + 4] == struct.pack("<L", 100_000)
        content[place : place + 4] = struct.pack("<L", said)
    refuse(bytes(content), folder)


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
def test_damaged_archives_are_refused(folder: Path, content: bytes):
    refuse(content, folder)


def _with_damaged_bytes() -> Iterator[bytes]:
    content = bundle(INDEX, ("a/b.txt", b"x" * 100))
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.threat("E14")
def test_no_damage_makes_anything_but_a_bundle_or_a_refusal(folder: Path):
    for content in _with_damaged_bytes():
        with contextlib.suppress(ConfigurationError):
            extract(content, folder)
        assert {path.name for path in folder.parent.iterdir()} <= {"folder", "it.mcpb"}
        shutil.rmtree(folder, ignore_errors=True)


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
def test_a_manifest_that_cannot_be_run_is_refused(folder: Path, changes: dict[str, Any], why: str):
    assert refuse(bundle(INDEX, manifest=MANIFEST | changes), folder) == why


def test_a_bundle_needs_a_manifest_that_is_json(folder: Path):
    assert refuse(zipped(INDEX), folder) == "It holds no manifest.json."
    assert refuse(zipped(("manifest.json", b"{")), folder) == "Its manifest.json is not JSON."
    assert refuse(zipped(("manifest.json", b"[]")), folder) == "Its manifest.json is not an object."
    assert refuse(zipped(("manifest.json", b'{"name": "\\ud800"}')), folder) == "Its manifest.json is not JSON."
    assert refuse(zipped(("manifest.json", b" " * (4 * 1024**2 + 1))), folder).startswith("manifest.json is larger")


@pytest.mark.parametrize("name", ["metadata.json", "Contents.json"])
def test_a_bundle_does_not_bring_our_own_files(folder: Path, name: str):
    assert f"it holds {name.lower()}, which" in refuse(bundle((name, b"{}")), folder)


def test_a_name_that_the_gateway_answers_at_gets_another_one(folder: Path):
    assert extract(bundle(INDEX, manifest=MANIFEST | {"name": "Health"}), folder).name == "health-server"


@pytest.mark.threat("E07")
def test_what_is_no_file_is_refused_without_waiting(folder: Path):
    path = folder.parent / "pipe.mcpb"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError) as caught:
        extract_bundle(path, folder)
    assert caught.value.why == "It is not a file."
    with pytest.raises(ConfigurationError):
        digest_bundle(path)
    with pytest.raises(ConfigurationError, match="cannot be installed") as caught:
        extract_bundle(folder.parent / "missing.mcpb", folder)
    assert "No such file" in caught.value.why


def test_an_archive_may_be_written_by_a_stream(folder: Path):
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
    extract(stream.getvalue(), folder)
    assert "server/index.js" in listing(folder)
