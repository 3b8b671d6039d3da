"""Bundles under the lock: installed once, replaced only on demand, and told what they need."""

import shutil
import sys
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError, InstallError, UnknownPackageError
from fluidmcp.packages.resolve import find_packages
from fluidmcp.packages.sources.install import InstallOptions, InstallPlace, install_package, uninstall_package
from fluidmcp.packages.sources.installed import find_changed, resolve_spec
from fluidmcp.packages.sources.lock import LockedPackage, read_lock
from tests.packages.bundles.zips import MANIFEST, bundle, listing, signed

INDEX = ("server/index.js", b"// it rains")
PYTHON = {"type": "python", "entry_point": "main.py"}


class Stage:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "weather.mcpb"
        self.directory = folder / "packages"
        self.steps: list[str] = []

    @property
    def place(self) -> InstallPlace:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return InstallPlace(directory=self.directory, environ={"PATH": path}, report=self.steps.append)

    def install(self, content: bytes, options: InstallOptions | None = None) -> tuple[LockedPackage, bool]:
        self.file.write_bytes(content)
        return install_package(str(self.file), self.place, options or InstallOptions())

    def changed(self) -> dict[str, ConfigurationError]:
        return find_changed(find_packages(self.directory), directory=self.directory)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_bundle_is_installed_once_and_found_by_its_file_and_its_name(stage: Stage):
    package, is_new = stage.install(bundle(INDEX))
    assert is_new
    assert package.spec == "mcpb:weather-report@1.2.0"
    assert stage.install(bundle(INDEX)) == (package, False)
    for text in (str(stage.file), "mcpb:weather-report", "mcpb:weather-report@1.2.0"):
        found = resolve_spec(text, directory=stage.directory)
        assert found.spec == "mcpb/weather-report@1.2.0"
        assert found.metadata.is_file()
    assert stage.changed() == {}


def test_a_bundle_that_is_not_installed_says_how(stage: Stage):
    stage.file.write_bytes(bundle(INDEX))
    with pytest.raises(UnknownPackageError) as caught:
        resolve_spec(str(stage.file), directory=stage.directory)
    assert caught.value.hint == f"Run: fluidmcp install {stage.file}   (or add --install to run)"
    with pytest.raises(UnknownPackageError) as caught:
        resolve_spec("mcpb:weather-report", directory=stage.directory)
    assert caught.value.hint == "Run: fluidmcp install FILE.mcpb"
    with pytest.raises(ConfigurationError, match="cannot be fetched"):
        install_package("mcpb:weather-report", stage.place, InstallOptions())


@pytest.mark.threat("E14")
def test_another_bundle_of_the_same_version_is_taken_only_on_demand(stage: Stage):
    stage.install(bundle(INDEX))
    other = bundle(("server/index.js", b"// it pours"))
    with pytest.raises(ConfigurationError) as caught:
        stage.install(other)
    assert caught.value.why == "The file has other contents under the same version."
    assert caught.value.hint.endswith("fluidmcp install FILE.mcpb --force")
    index = stage.directory / "mcpb/weather-report/1.2.0/server/index.js"
    assert index.read_bytes() == INDEX[1]
    stage.install(other, InstallOptions(force=True))
    assert index.read_bytes() == b"// it pours"
    assert stage.changed() == {}


@pytest.mark.threat("E14")
def test_a_bundle_that_was_changed_does_not_run_until_it_is_installed_again(stage: Stage):
    stage.install(bundle(INDEX))
    index = stage.directory / "mcpb/weather-report/1.2.0/server/index.js"
    index.write_text("// evil")
    error = stage.changed()["mcpb/weather-report@1.2.0"]
    assert error.why == "'server/index.js' was changed."
    assert error.hint.endswith("fluidmcp install FILE.mcpb")
    assert stage.install(bundle(INDEX))[1]
    assert stage.changed() == {}
    shutil.copytree(index.parent.parent, stage.directory / "mcpb/other/1.0")
    assert "in no lock" in stage.changed()["mcpb/other@1.0"].what


@pytest.mark.threat("E14")
def test_a_hostile_bundle_leaves_nothing_behind(stage: Stage):
    with pytest.raises(ConfigurationError):
        stage.install(bundle(INDEX, ("../evil", b"")))
    assert listing(stage.directory) == [".installing"]
    assert not list(stage.directory.glob("*/"))


def test_a_bundle_is_uninstalled_like_any_package(stage: Stage):
    stage.install(bundle(INDEX))
    (removed,) = uninstall_package("weather-report", stage.place)
    assert removed.spec == "mcpb:weather-report@1.2.0"
    assert listing(stage.directory) == [".installing", "fluidmcp.lock"]
    assert read_lock(stage.directory).packages == {}


@pytest.mark.parametrize("option", ["allow_scripts", "python", "entry"])
def test_options_for_packages_of_registries_are_refused(stage: Stage, option: str):
    options = {
        "allow_scripts": InstallOptions(allow_scripts=True),
        "python": InstallOptions(python="3.12"),
        "entry": InstallOptions(entry="x"),
    }
    with pytest.raises(ConfigurationError, match="cannot be installed like this"):
        stage.install(bundle(INDEX), options[option])


def test_whoever_installs_it_hears_what_is_missing(stage: Stage):
    needs = {"compatibility": {"runtimes": {"python": ">=3.99"}}, "server": PYTHON}
    package, _ = stage.install(signed(bundle(("main.py", b""), manifest=MANIFEST | needs)))
    assert package.requires == "python >=3.99"
    unpacking, signature, python = stage.steps
    assert unpacking == "Unpacking weather.mcpb"
    assert signature == "Warning: the signature of the bundle was not verified; it is installed as if it had none."
    assert python.startswith("Warning: the bundle asks for python >=3.99, and here is 3.")
    met = needs | {"compatibility": {"runtimes": {"python": ">=3.8"}}, "version": "2"}
    stage.steps.clear()
    stage.install(bundle(("main.py", b""), manifest=MANIFEST | met))
    assert stage.steps == ["Unpacking weather.mcpb"]


def test_a_directory_that_cannot_take_it_is_a_failure_that_is_told(stage: Stage):
    stage.directory.mkdir()
    (stage.directory / ".staging").write_text("not a folder")
    with pytest.raises(InstallError, match=r"weather\.mcpb could not be installed"):
        stage.install(bundle(INDEX))


@pytest.mark.threat("E14")
def test_code_that_was_added_beside_the_program_of_a_bundle_is_noticed(stage: Stage):
    package, _ = stage.install(bundle(INDEX))
    added = package.find_folder(stage.directory) / "server" / "json.py"
    added.write_bytes(b"# taken for the library's")
    assert [error.why for error in stage.changed().values()] == ["'server/json.py' was added."]
    added.unlink()
    assert stage.changed() == {}
