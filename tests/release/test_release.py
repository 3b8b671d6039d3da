"""`scripts/release` on a copy of this tree with a made-up version: what it makes, and what it refuses."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.errors import UserError
from tests.architecture.rules import FOREIGN_WORDS
from tests.release import interpreters, trial
from tests.release.artefacts import build_twice, read_wheel
from tests.release.clones import LIMIT_SECONDS, VERSION, Clone, make_clone
from tests.release.project import check_ready, read_project
from tests.timing import patience

STEM = f"fluidmcp_gateway-{VERSION}"
MADE = {f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz", f"{STEM}.cdx.json", "SHA256SUMS"}


@dataclass(frozen=True, slots=True)
class Made:
    folder: Path
    stdout: str
    python: str


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_clone(tmp_path_factory.mktemp("release"))


@pytest.fixture
def clone(shared: Clone) -> Clone:
    shared.restore()
    return shared


@pytest.fixture(scope="module")
def pythons(shared: Clone) -> dict[str, Path]:
    """Those of this machine that the classifiers name; one at least."""
    found = {version: interpreters.find_python(version) for version in read_project(shared.root).pythons}
    here = {version: path for version, path in found.items() if path is not None}
    assert here, "not even the Python of the tests was found"
    return here


@pytest.fixture(scope="module")
def made(shared: Clone, pythons: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A release, tried with the first of the Pythons."""
    shared.restore()
    target = tmp_path_factory.mktemp("made") / "dist"
    version, path = next(iter(pythons.items()))
    with patience(2 * LIMIT_SECONDS):
        done = shared.release("--attest", "--to", target, "--python", path)
    assert done.code == 0, done.stderr
    return Made(target, done.stdout, version)


def test_a_release_is_wheel_sdist_bill_and_checksums_of_the_one_version(made: Made):
    assert {path.name for path in made.folder.iterdir()} == MADE
    lines = (made.folder / "SHA256SUMS").read_text().splitlines()
    sums = {line.split("  ")[1]: line.split("  ")[0] for line in lines}
    assert sums.keys() == MADE - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((made.folder / name).read_bytes()).hexdigest() == digest


def test_a_release_was_built_twice_and_its_demo_used(made: Made):
    assert "Built twice, with the same bytes" in made.stdout
    assert f"Python {made.python}: version, login and a call in the demo, installed and through uvx." in made.stdout
    assert "Not tried with Python" in made.stdout


async def test_the_wheel_works_with_the_other_pythons_of_this_machine(
    made: Made, shared: Clone, pythons: dict[str, Path], tmp_path: Path
):
    shared.restore()
    project = read_project(shared.root)
    for version, path in pythons.items():
        if version != made.python:
            python = trial.install(project, made.folder / project.wheel_name, path, tmp_path / version)
            trial.check_commands(project, python, tmp_path)
            await trial.try_demo([python.with_name("fluidmcp"), "demo"], tmp_path)


def test_without_an_identity_there_are_no_attestations_and_one_line_says_why(made: Made):
    (line,) = [line for line in made.stdout.splitlines() if "ttestation" in line]
    assert line.startswith("No attestations: ")


def test_the_wheel_holds_the_packages_and_what_they_read_and_nothing_else(made: Made):
    names = set(read_wheel(made.folder / f"{STEM}-py3-none-any.whl"))
    assert {name.partition("/")[0] for name in names} == {"fluidmcp", "fluidai_mcp", f"{STEM}.dist-info"}
    assert {"fluidmcp/py.typed", "fluidmcp/pages/templates/consent.html", "fluidmcp/pages/static/page/page.js"} < names
    assert f"{STEM}.dist-info/licenses/LICENSE" in names


def test_the_bill_names_every_dependency_with_version_and_licence_and_no_registry(made: Made):
    text = (made.folder / f"{STEM}.cdx.json").read_text()
    bill: dict[str, Any] = json.loads(text)
    subject = bill["metadata"]["component"]
    assert (bill["bomFormat"], subject["name"], subject["version"]) == ("CycloneDX", "fluidmcp-gateway", VERSION)
    wheel = (made.folder / f"{STEM}-py3-none-any.whl").read_bytes()
    assert subject["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}]
    components: dict[str, Any] = {each["name"]: each for each in bill["components"]}
    assert {"fastapi", "cryptography", "uvicorn", "mcp"} < components.keys()
    assert not {"pytest", "twine", "redis"} & components.keys()
    assert all(each["version"] and each["licenses"] for each in components.values())
    assert not [word for word in (*FOREIGN_WORDS, "file:") if word in text]


def leave_out_the_section(clone: Clone) -> None:
    clone.replace("CHANGELOG.md", f"## [{VERSION}] - 2026-11-28\n", "")
    clone.commit()


def leave_something_uncommitted(clone: Clone) -> None:
    clone.write("src/fluidmcp/forgotten.py", "")


def leave_templates_out(clone: Clone) -> None:
    wheel = "[tool.hatch.build.targets.wheel]\n"
    clone.replace("pyproject.toml", wheel, f'{wheel}exclude = ["*.html"]\n')
    clone.commit()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (leave_out_the_section, f"CHANGELOG.md has no section for {VERSION}."),
        (leave_something_uncommitted, "src/fluidmcp/forgotten.py"),
        (leave_templates_out, "fluidmcp/demo/templates/base.html is missing"),
    ],
)
def test_the_script_refuses_and_leaves_nothing_where(clone: Clone, spoil: Callable[[Clone], None], said: str):
    spoil(clone)
    done = clone.release("--python", interpreters.BIN / "python")
    assert done.code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone.root / "dist").exists()


def change_a_file(clone: Clone) -> None:
    clone.write("README.md", "# Something else\n")


def tag_the_version(clone: Clone) -> None:
    clone.git("tag", f"v{VERSION}")


def forget_the_chart(clone: Clone) -> None:
    clone.replace("deploy/helm/fluidmcp/Chart.yaml", f"appVersion: {VERSION}", "appVersion: 7.8.8")
    clone.commit()


def write_no_version(clone: Clone) -> None:
    clone.replace("src/fluidmcp/__init__.py", VERSION, f"v{VERSION}")
    clone.commit()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_a_file, "The tree is not clean"),
        (tag_the_version, f"There is a tag v{VERSION} already."),
        (forget_the_chart, "Chart.yaml has another appVersion"),
        (write_no_version, "has no version that can be published"),
    ],
)
def test_nothing_is_built_where(clone: Clone, spoil: Callable[[Clone], None], said: str):
    check_ready(read_project(clone.root))
    spoil(clone)
    with pytest.raises(UserError) as refused:
        check_ready(read_project(clone.root))
    assert said in refused.value.what


def test_a_build_that_depends_on_where_it_runs_is_noticed(clone: Clone, tmp_path: Path):
    section = "[tool.hatch.version]\n"
    clone.replace("pyproject.toml", section, f"[tool.hatch.build.hooks.custom]\n\n{section}")
    clone.replace("pyproject.toml", '"/LICENSE", ', '"/LICENSE", "/hatch_build.py", ')
    clone.write(
        "hatch_build.py",
        "import time\nfrom pathlib import Path\n"
        "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n"
        "class Hook(BuildHookInterface):\n"
        "    def initialize(self, version, build_data):\n"
        "        Path(self.root, 'src/fluidmcp/zone.txt').write_text(time.tzname[0])\n",
    )
    clone.commit()
    with pytest.raises(UserError, match=r"Two builds of .* differ"):
        build_twice(read_project(clone.root), tmp_path)
