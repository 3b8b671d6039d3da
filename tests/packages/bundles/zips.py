"""Archives for tests, good ones and hostile ones."""

import io
import json
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST: dict[str, Any] = {
    "manifest_version": "0.3",
    "name": "Weather Report",
    "version": "1.2.0",
    "description": "It rains.",
    "author": {"name": "Somebody"},
    "server": {
        "type": "node",
        "entry_point": "server/index.js",
        "mcp_config": {"command": "node", "args": ["${__dirname}/server/index.js"]},
    },
}


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    return info


def zipped(*files: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of these files in this order, names and attributes as they are given."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for info, content in files:
            file.writestr(entry(info) if isinstance(info, str) else info, content, compress_type=compression)
    return archive.getvalue()


def bundle(
    *files: tuple[zipfile.ZipInfo | str, bytes],
    manifest: Mapping[str, object] | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A bundle with a manifest, and `files` after it."""
    text = json.dumps(manifest if manifest is not None else MANIFEST).encode()
    return zipped(("manifest.json", text), *files, compression=compression)


def signed(archive: bytes, signature: bytes = b"PKCS#7 PK\5\6", *, padding: int = 0) -> bytes:
    """As `mcpb sign` does it: a block behind the archive, its length given as that of the comment where it fits."""
    block = b"MCPB_SIG_V1" + struct.pack("<L", len(signature)) + signature + b"\0" * padding + b"MCPB_SIG_END"
    end = archive.rindex(b"PK\5\6")
    comment = struct.pack("<H", len(block) if len(block) < 65536 else 0)
    return archive[: end + 20] + comment + archive[end + 22 :] + block


def patched(archive: bytes, old: bytes, new: bytes, *, count: int = -1) -> bytes:
    """The archive with names of one length exchanged, which zipfile itself would not write."""
    assert len(old) == len(new)
    assert old in archive
    return archive.replace(old, new, count)


def listing(folder: Path) -> Sequence[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
