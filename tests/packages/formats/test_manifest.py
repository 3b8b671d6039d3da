from collections.abc import Mapping
from typing import Any, cast

import pytest

from fluidmcp.packages.formats.manifest import read_manifest, read_needs
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile

CONFIG = {"command": "node", "args": ["${__dirname}/server/index.js"]}


def manifest(server: Mapping[str, object] | None = None, **members: object) -> dict[str, Any]:
    default = {"type": "node", "entry_point": "server/index.js", "mcp_config": CONFIG}
    return {"manifest_version": "0.3", "name": "weather", "version": "1.0.0", "server": server or default} | members


def read(document: Mapping[str, object]) -> ReadFile:
    found = read_manifest(document)
    assert found is not None
    return found


def entry_of(config: Mapping[str, object], *, kind: str = "node", **members: object) -> ReadEntry:
    server = {"type": kind, "entry_point": "server/index.js", "mcp_config": config}
    return read(manifest(server, **members)).entries[0]


def value_of(config: Mapping[str, object], *, kind: str = "node", **members: object) -> dict[str, Any]:
    entry = entry_of(config, kind=kind, **members)
    assert entry.faults == ()
    return cast("dict[str, Any]", entry.value)


def test_a_manifest_becomes_an_entry_that_runs_in_its_folder():
    found = read(manifest())
    assert found.entries == (ReadEntry(name="weather", path="manifest.server", value=CONFIG | {"cwd": "."}),)
    assert found.inputs == ()


def test_the_older_name_of_the_version_is_known_and_other_documents_are_not_manifests():
    older = manifest()
    older["dxt_version"] = older.pop("manifest_version")
    assert read(older).entries[0].faults == ()
    assert read_manifest({"mcpServers": {}, "manifest_version": "0.3"}) is None
    assert read_manifest({"server": {"command": "x"}}) is None


@pytest.mark.parametrize(
    ("kind", "entry_point", "value"),
    [
        ("node", "dist/main.js", {"command": "node", "args": ["${__dirname}/dist/main.js"]}),
        (
            "python",
            "./server/main.py",
            {
                "command": "python3",
                "args": ["${__dirname}/server/main.py"],
                "env": {"PYTHONPATH": "${__dirname}/server/lib"},
            },
        ),
        ("binary", "bin/tool", {"command": "${__dirname}/bin/tool"}),
        ("uv", "src/server.py", {"command": "uv", "args": ["run", "--directory", "${__dirname}", "src/server.py"]}),
    ],
)
def test_without_mcp_config_the_type_and_the_entry_point_say_how(kind: str, entry_point: str, value: dict[str, object]):
    entry = read(manifest({"type": kind, "entry_point": entry_point})).entries[0]
    assert entry.faults == ()
    assert entry.value == value | {"cwd": "."}


@pytest.mark.parametrize("entry_point", ["../x.js", "/x.js", "a\\b.js", "a/../../x.js"])
def test_an_entry_point_stays_inside_the_bundle(entry_point: str):
    entry = read(manifest({"type": "node", "entry_point": entry_point})).entries[0]
    assert entry.faults == ("manifest.server.entry_point must be a path inside the bundle",)


def test_programs_of_the_bundle_are_named_by_their_place():
    assert value_of({"command": "server/tool"})["command"] == "${__dirname}/server/tool"
    assert value_of({"command": "./tool"})["command"] == "${__dirname}/tool"
    assert value_of({"command": "server/index.js"}, kind="binary")["command"] == "${__dirname}/server/index.js"
    assert value_of({"command": "/usr/bin/env"})["command"] == "/usr/bin/env"
    assert value_of({"command": "npx"})["command"] == "npx"
    assert value_of({"command": "python"})["command"] == "python3"


def test_the_part_for_this_system_wins():
    config: dict[str, Any] = {
        "command": "server/tool.exe",
        "args": ["--one"],
        "env": {"A": "1", "B": "2"},
        "platform_overrides": {
            "linux": {"command": "server/tool", "args": [], "env": {"B": 3, "C": True, "D": 1.0}},
            "win32": {"args": ["--two"]},
        },
    }
    assert value_of(config, kind="binary") == {
        "command": "${__dirname}/server/tool",
        "env": {"A": "1", "B": "3", "C": "true", "D": "1"},
        "cwd": ".",
    }


def test_what_is_for_other_systems_is_refused():
    (fault,) = entry_of({"command": "server/tool.exe"}, kind="binary").faults
    assert fault == (
        "manifest.server.mcp_config.command is a program for Windows, and platform_overrides names none for linux"
    )
    (fault,) = entry_of(CONFIG, compatibility={"platforms": ["darwin", "win32"]}).faults
    assert fault == "manifest.compatibility.platforms does not name linux: the bundle is for other systems"
    assert entry_of(CONFIG, compatibility={"platforms": ["darwin", "linux"], "claude_desktop": ">=9"}).faults == ()


def test_folders_and_separators_are_filled_in():
    value = value_of(
        {
            "command": "node",
            "args": ["${HOME}/x", "${DESKTOP}", "${DOCUMENTS}", "${DOWNLOADS}", "a${/}b${pathSeparator}c"],
            "env": {"JUST_TEXT": "cost: $5 ${"},
        }
    )
    folders = ["Desktop", "Documents", "Downloads"]
    assert value["args"] == ["${userHome}/x", *(f"${{userHome}}/{name}" for name in folders), "a/b/c"]
    assert value["env"] == {"JUST_TEXT": "cost: $5 $${"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${AWS_SECRET_ACCESS_KEY}", "holds ${AWS_SECRET_ACCESS_KEY}, which a bundle cannot ask for"),
        ("x${env:TOKEN}", "holds ${...}, which a bundle cannot ask for"),
        ("${TOKEN:-x}", "holds ${...}, which a bundle cannot ask for"),
        ("${user_config.other}", "holds ${user_config.other}, which user_config does not define"),
        ("$TOKEN", "is a $ and a name, which a bundle cannot ask for"),
        ("$${__dirname}", "holds $ before ${, which is not known here"),
    ],
)
def test_a_bundle_cannot_name_the_environment_of_the_operator(text: str, why: str):
    entry = entry_of({"command": "node", "args": [text]}, user_config={"key": {"type": "string"}})
    assert entry.faults == (f"manifest.server.mcp_config.args[0] {why}",)
    entry = entry_of({"command": "node", "env": {"KEY": text}}, user_config={"key": {"type": "string"}})
    assert entry.faults == (f"manifest.server.mcp_config.env.KEY {why}",)


def test_user_config_becomes_inputs():
    user_config = {
        "api_key": {
            "type": "string",
            "title": "API Key",
            "description": "of the service",
            "sensitive": True,
            "required": True,
            "default": "",
        },
        "folders": {"type": "directory", "title": "Folders", "multiple": True, "default": ["${HOME}/Desktop", "/srv"]},
        "size": {"type": "number", "title": "Size", "default": 10, "min": 1, "max": 100},
        "is_careful": {"type": "boolean", "title": "Careful", "default": True},
    }
    config = {
        "command": "node",
        "args": ["${user_config.folders}", "--size=${user_config.size}"],
        "env": {"KEY": "${user_config.api_key}"},
    }
    found = read(manifest({"type": "node", "mcp_config": config}, user_config=user_config))
    assert found.entries[0].faults == ()
    assert found.entries[0].value == config | {"cwd": "."}
    assert found.inputs == (
        Input(id="api_key", description="API Key: of the service", is_secret=True),
        Input(
            id="folders",
            description="Folders",
            is_required=False,
            is_multiple=True,
            default='["${userHome}/Desktop", "/srv"]',
        ),
        Input(
            id="size", description="Size", is_required=False, default="10", is_number=True, minimum=1.0, maximum=100.0
        ),
        Input(id="is_careful", description="Careful", is_required=False, default="true", choices=("true", "false")),
    )


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("text", "manifest.user_config.key must be an object, not a string"),
        ({"type": "colour"}, "manifest.user_config.key.type must be one of string, number, boolean, directory, file"),
        ({"default": {"a": 1}}, "manifest.user_config.key.default must be a text, a number, true, false or a list"),
        ({"default": ["a", "b"]}, 'manifest.user_config.key.default is a list, and "multiple" is not true'),
        ({"default": "${SECRET}"}, "manifest.user_config.key.default holds ${SECRET}, which a bundle cannot ask for"),
        ({"min": "1"}, "manifest.user_config.key.min must be a number, not a string"),
    ],
)
def test_a_wrong_option_is_named(option: object, fault: str):
    (found,) = entry_of(CONFIG, user_config={"key": option}).faults
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ({"type": "rust"}, "manifest.server.type must be one of node, python, binary, uv"),
        ({"type": "node"}, "manifest.server.entry_point is missing"),
        ({"type": "node", "mcp_config": {}}, "manifest.server.mcp_config.command is missing"),
        ({"type": "node", "mcp_config": []}, "manifest.server.mcp_config must be an object, not a list"),
    ],
)
def test_a_wrong_server_is_named(server: dict[str, object], fault: str):
    assert fault in read(manifest(server)).entries[0].faults


def test_versions_to_come_are_not_guessed_at():
    (fault,) = entry_of(CONFIG, manifest_version="2.0").faults
    assert fault == "manifest.manifest_version is not known here; versions 0.x and 1.x are"


def test_what_the_machine_must_have():
    document = manifest(compatibility={"runtimes": {"node": ">=18", "python": 3}})
    assert read_needs(document).runtimes == {"node": ">=18"}
    assert read_needs(manifest()).runtimes == {}
