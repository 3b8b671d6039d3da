"""manifest.json and server.json, read as files by the same way as every other shape."""

import json
from pathlib import Path

import pytest

from fluidmcp.config.entries import ServersFile
from fluidmcp.packages.servers_file import ReadingOptions, parse_servers_file
from tests.packages.bundles.zips import MANIFEST

CONFIG = {
    "command": "server/tool",
    "args": ["${__dirname}/data", "${user_config.folders}", "${user_config.unit}"],
    "env": {"KEY": "${user_config.key}"},
}
USER_CONFIG = {
    "folders": {"type": "directory", "multiple": True, "default": ["${HOME}/Desktop", "/srv"]},
    "unit": {"type": "string"},
    "key": {"type": "string", "sensitive": True, "required": True},
}


def read(document: object, folder: Path, **environ: str) -> ServersFile:
    options = ReadingOptions(environ=environ, home="/home/a")
    path = folder / "file.json"
    return parse_servers_file(json.dumps(document).encode(), path=path, directory=Path("/elsewhere"), options=options)


def test_an_unpacked_bundle_runs_by_its_manifest(tmp_path: Path):
    manifest = MANIFEST | {"server": {"type": "binary", "mcp_config": CONFIG}, "user_config": USER_CONFIG}
    (entry,) = read(manifest, tmp_path, FMCP_INPUT_KEY="k").entries
    assert (entry.name, entry.command) == ("weather-report", f"{tmp_path}/server/tool")
    assert entry.args == (f"{tmp_path}/data", "/home/a/Desktop", "/srv")
    assert [(name, variable.value) for name, variable in entry.env] == [("KEY", "k")]
    assert entry.directory == tmp_path
    (refused,) = read(manifest, tmp_path).refused
    assert "FMCP_INPUT_KEY" in refused.error.why


@pytest.mark.threat("E14")
def test_a_manifest_cannot_name_the_environment_of_the_operator(tmp_path: Path):
    for text in ("${SECRET}", "$SECRET", "${env:SECRET}"):
        config = {"command": "node", "args": [text]}
        found = read(MANIFEST | {"server": {"type": "node", "mcp_config": config}}, tmp_path, SECRET="s")
        assert not found.entries
        assert "a bundle cannot ask for" in found.refused[0].error.why


def test_a_server_json_runs_as_a_container(tmp_path: Path):
    package = {
        "registryType": "oci",
        "identifier": "ghcr.io/somebody/weather:1",
        "packageArguments": [{"type": "positional", "valueHint": "folder", "isRequired": True}],
        "environmentVariables": [{"name": "LEVEL", "default": "info"}, {"name": "TEXT", "value": "${SECRET}"}],
    }
    document = {"name": "io.github.somebody/weather", "packages": [package]}
    (entry,) = read(document, tmp_path, FMCP_INPUT_FOLDER="/data", SECRET="s", LEVEL="debug").entries
    image = "ghcr.io/somebody/weather:1"
    assert (entry.name, entry.command) == ("weather", "docker")
    assert entry.args == ("run", "-i", "--rm", "-e", "LEVEL", "-e", "TEXT", image, "/data")
    assert [(name, variable.value) for name, variable in entry.env] == [("LEVEL", "debug"), ("TEXT", "${SECRET}")]
    assert read(document, tmp_path, FMCP_INPUT_FOLDER="/data").entries[0].env[0][1].value == "info"
