"""Which package is meant, where it is found, and what is said when it is not."""

import json
import os
import sys
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError, UnknownPackageError
from fluidmcp.packages.resolve import FoundPackage, is_servers_file, load_file, load_packages, resolve


def install(directory: Path, spec: str, *, command: str = "python", name: str | None = None) -> Path:
    path, _, version = spec.partition("@")
    folder = directory / path / version
    folder.mkdir(parents=True)
    servers = {name or path.partition("/")[2]: {"command": command}}
    (folder / "metadata.json").write_text(json.dumps({"mcpServers": servers}))
    return folder


def find(tmp_path: Path, target: str, **environ: str) -> list[str]:
    found = resolve(target, working_directory=tmp_path, environ=environ, shipped_directory=tmp_path / "shipped")
    return [package.spec for package in found]


@pytest.mark.promise(20, 87)
def test_every_form_of_a_spec_finds_its_package(tmp_path: Path):
    installed = tmp_path / ".fmcp-packages"
    for version in ("1.9.0", "1.10.0", "1.10.0rc1"):
        install(installed, f"ann/mail@{version}")
    assert find(tmp_path, "mail") == ["ann/mail@1.10.0"]
    assert find(tmp_path, "ann/mail") == ["ann/mail@1.10.0"]
    assert find(tmp_path, "mail@1.9.0") == ["ann/mail@1.9.0"]
    assert find(tmp_path, "ann/mail@1.9.0") == ["ann/mail@1.9.0"]


def test_an_installed_package_comes_before_a_shipped_one(tmp_path: Path):
    mine = install(tmp_path / ".fmcp-packages", "test/demo@1.0.0")
    install(tmp_path / "shipped", "test/demo@1.0.0")
    install(tmp_path / "shipped", "test/demo@2.0.0")
    install(tmp_path / "shipped", "other/demo@3.0.0")
    found = resolve("demo@1.0.0", working_directory=tmp_path, environ={}, shipped_directory=tmp_path / "shipped")
    assert found[0].metadata.parent == mine
    assert find(tmp_path, "demo") == ["test/demo@2.0.0"]


def test_the_installation_directory_can_be_elsewhere(tmp_path: Path):
    install(tmp_path / "elsewhere", "ann/mail@1.0.0")
    install(tmp_path / ".fmcp-packages", "ann/other@1.0.0")
    assert find(tmp_path, "mail", MCP_INSTALLATION_DIR=str(tmp_path / "elsewhere")) == ["ann/mail@1.0.0"]
    assert find(tmp_path, "mail", MCP_INSTALLATION_DIR="elsewhere") == ["ann/mail@1.0.0"]
    assert find(tmp_path, "mail", MCP_INSTALLATION_DIR="~/elsewhere", HOME=str(tmp_path)) == ["ann/mail@1.0.0"]
    with pytest.raises(UnknownPackageError):
        find(tmp_path, "other", MCP_INSTALLATION_DIR=str(tmp_path / "elsewhere"))


def test_all_means_the_highest_version_of_every_installed_package(tmp_path: Path):
    install(tmp_path / "shipped", "test/demo@1.0.0")
    assert find(tmp_path, "all") == ["test/demo@1.0.0"]
    for spec in ("ann/mail@1.9.0", "ann/mail@1.10.0", "bob/mail@1.0.0", "bob/files@2.0.0"):
        install(tmp_path / ".fmcp-packages", spec)
    assert find(tmp_path, "all") == ["ann/mail@1.10.0", "bob/files@2.0.0", "bob/mail@1.0.0"]


def test_all_of_nothing_says_where_it_looked(tmp_path: Path):
    with pytest.raises(UnknownPackageError) as caught:
        find(tmp_path, "all")
    assert str(tmp_path / ".fmcp-packages") in caught.value.why


def test_a_name_of_two_authors_lists_both(tmp_path: Path):
    for spec in ("ann/mail@1.0.0", "bob/mail@2.0.0"):
        install(tmp_path / ".fmcp-packages", spec)
    with pytest.raises(ConfigurationError) as caught:
        find(tmp_path, "mail")
    assert "ann/mail and bob/mail" in caught.value.why
    assert find(tmp_path, "bob/mail") == ["bob/mail@2.0.0"]


def test_an_unknown_package_gets_the_nearest_name_and_what_there_is(tmp_path: Path):
    install(tmp_path / ".fmcp-packages", "ann/gmail-mock@1.0.0")
    with pytest.raises(UnknownPackageError) as caught:
        find(tmp_path, "gmial-mok")
    assert caught.value.what == 'There is no package "gmial-mok".'
    assert "ann/gmail-mock@1.0.0" in caught.value.why
    assert "Did you mean" in caught.value.hint and "gmail-mock" in caught.value.hint


def test_an_unknown_version_gets_the_versions_there_are(tmp_path: Path):
    for version in ("1.9.0", "1.10.0"):
        install(tmp_path / ".fmcp-packages", f"ann/mail@{version}")
    with pytest.raises(UnknownPackageError) as caught:
        find(tmp_path, "mail@3.0.0")
    assert "1.10.0 and 1.9.0" in caught.value.why
    assert "ann/mail@1.10.0" in caught.value.hint


def test_stray_files_and_folders_are_no_packages(tmp_path: Path):
    installed = tmp_path / ".fmcp-packages"
    install(installed, "ann/mail@1.0.0")
    (installed / "ann" / "mail" / "2.0.0").mkdir()
    (installed / "ann" / "note.txt").write_text("x")
    (installed / ".git" / "mail" / "3.0.0").mkdir(parents=True)
    (installed / ".git" / "mail" / "3.0.0" / "metadata.json").write_text("{}")
    assert find(tmp_path, "all") == ["ann/mail@1.0.0"]


def test_a_server_runs_in_the_folder_of_its_metadata_and_one_of_a_file_where_the_caller_is(tmp_path: Path):
    folder = install(tmp_path / ".fmcp-packages", "ann/mail@1.0.0")
    found = resolve("mail", working_directory=tmp_path, environ={}, shipped_directory=tmp_path / "shipped")
    loaded = load_packages(found)
    assert loaded.entries[0].directory == folder
    assert loaded.servers[0].version == "1.0.0"
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "config.json").write_text('{"mcpServers": {"a": {"command": "python"}}}')
    assert load_file("sub/config.json", working_directory=tmp_path).entries[0].directory == tmp_path


def test_only_a_shipped_server_gets_the_interpreter_of_fluidmcp(tmp_path: Path):
    folder = install(tmp_path, "test/demo@1.0.0")
    metadata = folder / "metadata.json"
    for is_shipped, command in ((True, sys.executable), (False, "python")):
        package = FoundPackage(author="test", name="demo", version="1.0.0", metadata=metadata, is_shipped=is_shipped)
        assert load_packages([package]).entries[0].command == command


def test_only_a_shipped_file_may_be_a_hard_link_as_uv_installs_it(tmp_path: Path):
    metadata = install(tmp_path, "test/demo@1.0.0") / "metadata.json"
    os.link(metadata, tmp_path / "in the cache of uv")
    for is_shipped, loaded in ((True, 1), (False, 0)):
        package = FoundPackage(author="test", name="demo", version="1.0.0", metadata=metadata, is_shipped=is_shipped)
        assert len(load_packages([package]).entries) == loaded


def test_a_metadata_file_can_hold_several_servers(tmp_path: Path):
    folder = install(tmp_path / ".fmcp-packages", "ann/mail@1.0.0")
    servers = {"one": {"command": "x"}, "two": {"command": "y"}}
    (folder / "metadata.json").write_text(json.dumps({"mcpServers": servers}))
    found = resolve("mail", working_directory=tmp_path, environ={})
    assert [entry.name for entry in load_packages(found).entries] == ["one", "two"]


def test_one_broken_metadata_file_does_not_stop_the_other_packages(tmp_path: Path):
    install(tmp_path / ".fmcp-packages", "ann/mail@1.0.0")
    (install(tmp_path / ".fmcp-packages", "bob/broken@1.0.0") / "metadata.json").write_text("{")
    loaded = load_packages(resolve("all", working_directory=tmp_path, environ={}))
    assert [entry.name for entry in loaded.entries] == ["mail"]
    assert [refused.name for refused in loaded.refused] == ["bob/broken@1.0.0"]


def test_two_packages_of_one_name_cannot_run_together(tmp_path: Path):
    for spec in ("ann/mail@1.0.0", "bob/post@1.0.0"):
        install(tmp_path / ".fmcp-packages", spec, name="same")
    with pytest.raises(ConfigurationError, match='Two packages have the name "same"') as caught:
        load_packages(resolve("all", working_directory=tmp_path, environ={}))
    assert "ann/mail" in caught.value.why and "bob/post" in caught.value.why


@pytest.mark.promise(87)
def test_the_documented_package_is_shipped(tmp_path: Path):
    found = resolve("test/gmail-mock@1.0.0", working_directory=tmp_path, environ={})
    loaded = load_packages(found)
    assert [entry.name for entry in loaded.entries] == ["gmail-mock"]
    assert loaded.entries[0].command == sys.executable


def test_a_json_name_or_the_flag_means_a_file():
    assert is_servers_file("config.json")
    assert is_servers_file("servers", file=True)
    assert not is_servers_file("servers")


@pytest.mark.parametrize("name", ["weather.mcpb", "Weather.MCPB", "weather.dxt"])
def test_a_bundle_is_no_file_of_servers_however_its_ending_is_written(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"")
    assert not is_servers_file(f"./{name}", working_directory=tmp_path)


@pytest.mark.parametrize(("target", "why"), [("missing.json", "no such file"), (".", "directory")])
def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, target: str, why: str):
    with pytest.raises(ConfigurationError) as caught:
        load_file(target, working_directory=tmp_path)
    assert why in caught.value.why
