"""Every file of the corpus: what `import` writes means what the original meant, with the exported values set."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from fluidmcp.config.entries import ServerEntry, ServersFile
from fluidmcp.packages.formats.documents import decode_document
from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.importing.merging import Imported, Source, merge_sources, write_document
from fluidmcp.packages.servers_file import ReadingOptions, find_workspace, parse_servers_file
from tests.configurations.corpus import Case, find_cases

TYPED: Final = Path("/srv/typed")
"""Where fluidmcp is typed."""
SERVED: Final = [case for case in find_cases() if "fails" not in case.expected]


def copy(case: Case, folder: Path) -> Path:
    """The file of a case, with what stands beside it."""
    if case.source.is_dir():
        shutil.copytree(case.source, folder / "files")
    else:
        (folder / "files").mkdir()
        shutil.copy(case.source, folder / "files")
    for name, text in case.given.get("beside", {}).items():
        (folder / "files" / name).write_text(text, encoding="utf-8")
    return folder / "files" / case.given.get("file", case.source.name)


def import_file(path: Path, workspace: Path) -> Imported:
    read = read_shape(decode_document(path.read_bytes(), source=path.name), source=path.name, typed_in=str(TYPED))
    workspace_read = find_workspace(path.parent)
    source = Source(shown=path.name, tool="test", workspace=workspace_read, folder=path.parent, read=read)
    return merge_sources([source], workspace=workspace)


def parse(text: bytes, path: Path, env: dict[str, str], allowed: frozenset[str]) -> ServersFile:
    options = ReadingOptions(environ=env, home="/home/ada", allowed_env_files=allowed)
    return parse_servers_file(text, path=path, shown=path.name, directory=TYPED, options=options)


def comparable(entry: ServerEntry) -> dict[str, Any]:
    """What the entry does, without what messages say of it, and without what only hides values in them."""
    plain = replace(
        entry, written_name="", written_command="", written_args=(), source="", path="", hidden=(), directory=Path()
    )
    return {"entry": plain, "directory": os.path.normpath(entry.directory)}


@pytest.mark.parametrize("place", ["files", "elsewhere"])
@pytest.mark.parametrize("case", SERVED, ids=lambda case: case.name)
def test_what_is_imported_means_what_was_read(case: Case, place: str, tmp_path: Path):
    path = copy(case, tmp_path)
    target = tmp_path / place / "fluidmcp.json"
    imported = import_file(path, target.parent)
    written = write_document(imported.document).encode()
    env = case.given.get("env", {}) | {export.name: export.value.reveal() for export in imported.exports}
    allowed = frozenset(os.path.realpath(file) for file in tmp_path.rglob("*env*"))
    before = parse(path.read_bytes(), path, env, allowed)
    after = parse(written, target, env, allowed)
    # A reserved name is refused where it is run, and changed where it is imported.
    reserved = {f"{refused.name.lower().strip('.')}-server" for refused in before.refused}
    kept = [entry for entry in after.entries if entry.name not in reserved]
    assert [comparable(entry) for entry in kept] == [comparable(entry) for entry in before.entries]
    assert len(after.disabled) <= len(before.disabled)
    for export in imported.exports:
        value = export.value.reveal()
        assert value not in written.decode() or len(value) < 5, f"{export.name} is still there"


@pytest.mark.parametrize("word", ["__dirname", "extensionPath"])
@pytest.mark.parametrize("place", ["files", ".", "elsewhere"])
def test_the_folder_of_the_file_that_was_read_stays_the_same(word: str, place: str, tmp_path: Path):
    text = f'{{"mcpServers": {{"a": {{"command": "node", "args": ["${{{word}}}/index.js"]}}}}}}'
    path = tmp_path / "files" / "mcp.json"
    path.parent.mkdir()
    path.write_text(text)
    target = tmp_path / place / "fluidmcp.json"
    imported = import_file(path, (tmp_path / place).resolve())
    after = parse(write_document(imported.document).encode(), target, {}, frozenset())
    assert after.entries[0].args == (f"{tmp_path}/files/index.js",)


def test_the_folder_of_the_file_stays_the_same_in_scripts_and_defaults(tmp_path: Path):
    script = {"command": "sh", "args": ["-c", "exec node ${__dirname}/index.js"]}
    asking = {"command": "node", "args": ["${input:script}"]}
    inputs = [{"id": "script", "type": "promptString", "default": "${__dirname}/index.js"}]
    path = tmp_path / "files" / "mcp.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"servers": {"script": script, "asking": asking}, "inputs": inputs}), encoding="utf-8")
    for place in ("files", "elsewhere"):
        written = write_document(import_file(path, tmp_path / place).document).encode()
        entries = parse(written, tmp_path / place / "fluidmcp.json", {}, frozenset()).entries
        assert entries[0].args == ("-c", f"exec node {tmp_path}/files/index.js")
        assert entries[1].args == (f"{tmp_path}/files/index.js",)


def test_a_folder_that_a_shell_would_read_as_code_does_not_come_into_a_script(tmp_path: Path):
    path = tmp_path / "a $(b)" / "mcp.json"
    path.parent.mkdir()
    entry = '{"command": "sh", "args": ["-c", "${workspaceFolder}/run"]}'
    path.write_text(f'{{"mcpServers": {{"a": {entry}, "b": {{"command": "x"}}}}}}')
    imported = import_file(path, tmp_path / "elsewhere")
    assert imported.names == ("b",)
    assert "a shell may read as code" in imported.left_out[0].why
