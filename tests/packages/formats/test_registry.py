import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from fluidmcp.packages.formats.registry import read_registry_file
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile

NPM = {
    "registryType": "npm",
    "identifier": "@scope/weather",
    "version": "1.2.3",
    "transport": {"type": "stdio"},
}
OCI = {"registryType": "oci", "identifier": "ghcr.io/somebody/weather:1.2.3", "transport": {"type": "stdio"}}


def server(*packages: Mapping[str, object], **members: object) -> dict[str, Any]:
    return {"name": "io.github.somebody/weather", "description": "", "packages": list(packages), **members}


def read(document: Mapping[str, object]) -> ReadFile:
    found = read_registry_file(document)
    assert found is not None
    return found


def entry_of(*packages: Mapping[str, object]) -> ReadEntry:
    return read(server(*packages)).entries[0]


def value_of(*packages: Mapping[str, object]) -> dict[str, Any]:
    entry = entry_of(*packages)
    assert entry.faults == ()
    return cast("dict[str, Any]", entry.value)


def args_of(*arguments: Mapping[str, object]) -> tuple[list[str], tuple[Input, ...]]:
    found = read(server(NPM | {"packageArguments": list(arguments)}))
    assert found.entries[0].faults == ()
    return cast("dict[str, Any]", found.entries[0].value).get("args", []), found.inputs


def faults_of(package: Mapping[str, object]) -> tuple[str, ...]:
    return entry_of(package).faults


@pytest.mark.parametrize(
    ("package", "value"),
    [
        (NPM, {"package": "npm:@scope/weather@1.2.3"}),
        (NPM | {"version": "latest"}, {"package": "npm:@scope/weather"}),
        (
            {"registryType": "pypi", "identifier": "weather-mcp", "version": "0.5", "runtimeHint": "uvx"},
            {"package": "pypi:weather-mcp==0.5"},
        ),
        (OCI, {"command": "docker", "args": ["run", "-i", "--rm", "ghcr.io/somebody/weather:1.2.3"]}),
        (
            {"registryType": "nuget", "identifier": "Some.Weather", "version": "1.0"},
            {"command": "dnx", "args": ["Some.Weather@1.0", "--yes"]},
        ),
    ],
)
def test_each_kind_of_package_has_its_way_to_start(package: Mapping[str, object], value: dict[str, object]):
    assert entry_of(package) == ReadEntry(name="weather", path="server.packages[0]", value=value)


def test_the_names_before_autumn_2025_are_known():
    older = {
        "registry_type": "npm",
        "registry_base_url": "https://registry.npm.example",
        "identifier": "weather",
        "version": "1.0.2",
        "runtime_hint": "npx",
        "package_arguments": [
            {"type": "named", "name": "--dir", "value": "{my_dir}", "variables": {"my_dir": {"is_required": True}}}
        ],
        "environment_variables": [{"name": "API_KEY", "is_required": True, "is_secret": True, "description": "A key"}],
    }
    found = read(server(older, version_detail={"version": "1.0.2"}))
    assert found.entries[0].value == {
        "package": "npm:weather@1.0.2",
        "args": ["--dir", "${input:my_dir}"],
        "env": {"API_KEY": {"required": True, "description": "A key"}},
    }
    assert found.inputs == (Input(id="my_dir"),)
    oldest = {"registry_name": "docker", "name": "somebody/weather", "version": "1.0"}
    assert value_of(oldest)["args"] == ["run", "-i", "--rm", "somebody/weather:1.0"]


def test_an_answer_of_the_registry_is_unwrapped():
    wrapped = {"server": server(NPM), "_meta": {"io.example/official": {"status": "active"}}}
    assert read(wrapped) == read(server(NPM))


@pytest.mark.parametrize(
    "document",
    [
        {"mcpServers": {}},
        {"servers": {"weather": {"command": "x"}}, "inputs": []},
        {"name": "weather", "command": "x"},
        {"server": {"type": "node"}, "manifest_version": "0.3", "name": "x"},
        {"packages": [NPM]},
    ],
)
def test_other_documents_are_not_a_server_json(document: dict[str, object]):
    assert read_registry_file(document) is None


def test_the_first_package_that_can_run_here_is_taken():
    remote = NPM | {"transport": {"type": "streamable-http", "url": "http://localhost:8080/mcp"}}
    address = {"registryType": "mcpb", "identifier": "https://example.com/x.mcpb", "fileSha256": "0" * 64}
    entry = entry_of(remote, {"registryType": "cargo", "identifier": "weather"}, address, OCI, NPM)
    assert (entry.path, entry.faults) == ("server.packages[3]", ())
    assert entry_of(remote, address).faults == (
        "server.packages[0].transport is not stdio: the server speaks HTTP at an address of its own, "
        "which cannot be run yet",
        "server.packages[1].identifier is a bundle: download it, compare its SHA-256 with fileSha256, "
        "and run: fluidmcp run FILE.mcpb --install",
    )


def test_remote_servers_are_refused_by_name():
    remotes = [{"type": "streamable-http", "url": "https://weather.example/mcp"}]
    (entry,) = read({"name": "io.example/weather", "remotes": remotes}).entries
    assert entry.faults == ("server.remotes are all there is, and remote servers cannot be run yet",)
    assert entry_of().faults == ("server.packages is empty",)
    assert read(server(NPM, remotes=remotes)).entries[0].faults == ()


def test_arguments_with_a_value_are_written_as_they_are():
    args, inputs = args_of(
        {"type": "positional", "value": "serve"},
        {"type": "named", "name": "--mode", "value": "local"},
        {"type": "named", "name": "--level=", "value": "3"},
        {"type": "named", "name": "--stdio"},
        {"type": "positional", "value": "cost ${HOME} $HOME {unknown}"},
    )
    assert args == ["serve", "--mode", "local", "--level=3", "--stdio", "cost $${HOME} $HOME {unknown}"]
    assert inputs == ()


def test_arguments_without_a_value_are_asked_for():
    args, inputs = args_of(
        {"type": "positional", "valueHint": "folder", "description": "To read", "isRequired": True, "isRepeated": True},
        {"type": "named", "name": "--port", "description": "Port", "format": "number", "isRequired": True},
        {"type": "named", "name": "--units", "default": "metric", "choices": ["metric", "imperial"]},
        {"type": "named", "name": "--token", "description": "Not needed", "isSecret": True},
        {"type": "positional", "valueHint": "rest"},
    )
    assert args == ["${input:folder}", "--port", "${input:port}", "--units", "${input:units}"]
    assert inputs == (
        Input(id="folder", description="To read", is_multiple=True),
        Input(id="port", description="Port", is_number=True),
        Input(id="units", is_required=False, default="metric", choices=("metric", "imperial")),
    )


def test_variables_are_filled_into_values():
    args, inputs = args_of(
        {
            "type": "named",
            "name": "--mount",
            "value": "type={type},src={source},dst={target},x={other}",
            "variables": {
                "type": {"value": "bind"},
                "source": {"description": "On the host", "format": "filepath", "isSecret": True},
                "target": {"default": "/project"},
            },
        },
    )
    assert args == ["--mount", "type=bind,src=${input:source},dst=${input:target},x={other}"]
    assert inputs == (
        Input(id="source", description="On the host", is_secret=True),
        Input(id="target", default="/project"),
    )


def test_two_inputs_of_one_name_stay_two():
    args, inputs = args_of(
        {"type": "positional", "isRequired": True, "description": "First"},
        {"type": "positional", "isRequired": True, "description": "Second"},
        {"type": "positional", "value": "{argument}", "variables": {"argument": {"description": "First"}}},
    )
    assert args == ["${input:argument}", "${input:argument_2}", "${input:argument}"]
    assert [asked.description for asked in inputs] == ["First", "Second"]


def test_variables_of_the_environment():
    variables = [
        {"name": "FIXED", "value": "is ${this}", "description": "Fixed"},
        {"name": "LEVEL", "default": "info", "choices": ["info", "debug"], "description": "Level"},
        {"name": "ODD", "default": "{}"},
        {"name": "KEY", "isRequired": True, "isSecret": True, "description": "Your key"},
        {"name": "EXTRA"},
        {"name": "URL", "value": "https://{host}/", "variables": {"host": {"isRequired": True}}},
    ]
    found = read(server(NPM | {"environmentVariables": variables}))
    assert cast("dict[str, Any]", found.entries[0].value)["env"] == {
        "FIXED": {"value": "is $${this}", "description": "Fixed"},
        "LEVEL": {"value": "${LEVEL:-info}", "description": "Level; one of info, debug"},
        "ODD": {"value": "{}"},
        "KEY": {"required": True, "description": "Your key"},
        "EXTRA": {"required": False},
        "URL": {"value": "https://${input:host}/"},
    }
    assert found.inputs == (Input(id="host"),)


def test_a_container_gets_its_variables_and_arguments():
    package = OCI | {
        "identifier": "somebody/weather",
        "version": "2.0",
        "registryBaseUrl": "https://ghcr.io",
        "runtimeHint": "podman",
        "runtimeArguments": [
            {"type": "positional", "value": "run"},
            {"type": "named", "name": "-i"},
            {"type": "named", "name": "--network", "value": "host"},
        ],
        "packageArguments": [{"type": "positional", "value": "/project"}],
        "environmentVariables": [{"name": "KEY", "isRequired": True}],
    }
    image = "ghcr.io/somebody/weather:2.0"
    assert value_of(package) == {
        "command": "podman",
        "args": ["run", "-i", "--rm", "-e", "KEY", "--network", "host", image, "/project"],
        "env": {"KEY": {"required": True}},
    }


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({"identifier": "a/b", "version": "1", "registryBaseUrl": "https://docker.io"}, "a/b:1"),
        ({"identifier": "a/b:2", "version": "1"}, "a/b:2"),
        ({"identifier": "a/b@sha256:00", "version": "1"}, "a/b@sha256:00"),
        ({"identifier": "localhost:5000/b", "version": "1"}, "localhost:5000/b:1"),
        ({"identifier": "ghcr.io/a/b", "version": "1", "registryBaseUrl": "https://ghcr.io"}, "ghcr.io/a/b:1"),
    ],
)
def test_an_image_is_named_with_its_registry_and_version(changes: dict[str, object], image: str):
    assert value_of(OCI | changes)["args"][-1] == image


def test_arguments_of_a_runner_that_change_nothing_are_left_out():
    words = ["-y", "@scope/weather@1.2.3"]
    plain = [{"type": "positional", "value": word} for word in words]
    assert value_of(NPM | {"runtimeHint": "npx", "runtimeArguments": plain}) == {"package": "npm:@scope/weather@1.2.3"}
    others = [{"type": "named", "name": "--registry", "value": "https://evil.example"}]
    assert faults_of(NPM | {"runtimeArguments": others}) == (
        "server.packages[0].runtimeArguments holds --registry, which is not known for npm",
        "server.packages[0].runtimeArguments holds an argument, which is not known for npm",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"identifier": "--evil"}, "identifier begins like an option"),
        ({"identifier": ""}, "identifier is missing"),
        ({"registryType": "cargo"}, "registryType must be one of npm, pypi, oci, nuget, mcpb"),
        (
            {"registryBaseUrl": "https://npm.evil.example"},
            "registryBaseUrl is another registry; name it in the settings",
        ),
        ({"runtimeHint": "bunx"}, "runtimeHint is not known for npm; npx is"),
        ({"packageArguments": {"type": "named"}}, "packageArguments must be a list, not an object"),
        ({"packageArguments": ["x"]}, "packageArguments[0] must be an object, not a string"),
        ({"packageArguments": [{"type": "other"}]}, 'packageArguments[0].type must be "positional" or "named"'),
        ({"packageArguments": [{"type": "named"}]}, "packageArguments[0].name is missing"),
        ({"environmentVariables": [{"value": "x"}]}, "environmentVariables[0].name is missing"),
    ],
)
def test_what_cannot_be_honoured_is_named(changes: dict[str, object], fault: str):
    (found,) = faults_of(NPM | changes)
    assert found.startswith(f"server.packages[0].{fault}")


def test_what_is_read_is_not_changed():
    document = server(
        NPM | {"packageArguments": [{"type": "positional", "value": "{x}", "variables": {"x": {"value": "y"}}}]}
    )
    before = json.dumps(document)
    read(document)
    assert json.dumps(document) == before
