"""The pieces of `scripts/release` that need no build: the changelog, the bill's check, attestations, interpreters."""

import sys
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from fluidmcp.errors import UserError
from tests.release import interpreters, trial
from tests.release.artefacts import File, check_private, compare_files
from tests.release.attestations import ENDING, attest, check_attestation
from tests.release.bill import check_bill, drop_foreign_addresses
from tests.release.clones import ROOT
from tests.release.project import find_changes, read_project
from tests.release.release import release

PLACE = "https://" + "pypi" + ".org/project/click/"


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("## [1.2.0] - 2026-01-31\n\n- A.\n\n## [1.1.0] - 2025-01-31\n\n- B.\n", "- A."),
        ("## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n### Added\n\n- A.\n", "### Added\n\n- A."),
        ("## [1.2.0] - 2026-01-31\n\n## [1.1.0] - 2025-01-31\n\n- B.\n", ""),
        ("## [1.2.0] - soon\n\n- A.\n", ""),
        ("## [Unreleased]\n\n- A.\n", ""),
        ("## [1x2.0] - 2026-01-31\n\n- A.\n", ""),
    ],
)
def test_a_version_is_described_by_a_dated_section_with_at_least_one_line(changelog: str, said: str):
    assert find_changes("1.2.0", changelog) == said


FILES: Final = {
    "a.py": File(b"a", is_executable=False),
    "b": File(b"b", is_executable=True),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a.py": None}, "a.py is missing"),
        ({"RECORD": None}, "RECORD is missing"),
        ({"tests/conftest.py": File(b"", is_executable=False)}, "tests/conftest.py does not belong there"),
        ({"a.py": File(b"other", is_executable=False)}, "a.py is not what the commit has"),
        ({"b": File(b"b", is_executable=False)}, "b is not what the commit has"),
    ],
)
def test_an_archive_that_is_not_what_git_has_is_refused(change: dict[str, File | None], said: str):
    sound = {**FILES, "RECORD": File(b"", is_executable=False)}
    compare_files(Path("x.whl"), sound, FILES, ["RECORD"])
    held = {name: file for name, file in (sound | change).items() if file is not None}
    with pytest.raises(UserError) as refused:
        compare_files(Path("x.whl"), held, FILES, ["RECORD"])
    assert said in refused.value.why


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("src/.env", b""),
        ("deploy/server.pem", b""),
        ("home/tokens.json", b"{}"),
        ("a.py", b"-----BEGIN " + b"PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE"),
    ],
)
def test_what_looks_private_is_refused(name: str, content: bytes):
    check_private(Path("x.whl"), FILES)
    with pytest.raises(UserError, match="looks private"):
        check_private(Path("x.whl"), {name: File(content, is_executable=False)})


def test_what_lies_in_the_folder_already_is_not_sent_along(tmp_path: Path):
    (tmp_path / "fluidmcp_gateway-0.0.1.tar.gz").write_text("old")
    done = CliRunner().invoke(release, ["--to", str(tmp_path)])
    assert done.exit_code == 1
    assert "is not empty" in done.output


def make_bill() -> dict[str, Any]:
    def component(name: str) -> dict[str, Any]:
        return {
            "type": "library",
            "bom-ref": name,
            "name": name,
            "version": "1.0",
            "purl": f"pkg:pypi/{name}@1.0",
            "licenses": [{"license": {"id": "MIT"}}],
            "externalReferences": [{"type": "website", "url": "https://people.example/"}],
        }

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": component("fluidmcp-gateway")},
        "components": [component(name) for name in ("click", "cryptography", "fastapi", "uvicorn")],
    }


def test_a_complete_bill_is_accepted():
    check_bill(read_project(ROOT), make_bill())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"licenses": []}, "click has no licenses"),
        ({"version": ""}, "click has no version"),
        ({"name": "else"}, "click is not in it"),
        ({"name": "fluidmcp-gateway"}, "is listed as a part of itself"),
        ({"externalReferences": [{"type": "website", "url": PLACE}]}, "it names pypi"),
        ({"externalReferences": [{"type": "website", "url": "file:///root/x.whl"}]}, "it names file:"),
        ({"flavour": "sweet"}, "it does not keep the schema"),
    ],
)
def test_a_bill_is_refused_where_it_lacks_or_tells_too_much(change: dict[str, Any], said: str):
    bill = make_bill()
    bill["components"][0].update(change)
    with pytest.raises(UserError) as refused:
        check_bill(read_project(ROOT), bill)
    assert said in refused.value.why


def test_addresses_of_registries_and_of_this_machine_are_dropped_and_others_stay():
    references = [{"url": url} for url in (PLACE, "file:///root/x.whl", "https://people.example/")]
    changed = drop_foreign_addresses({"components": [{"name": "click", "externalReferences": references}]})
    assert changed == {"components": [{"name": "click", "externalReferences": [references[2]]}]}


def test_a_file_without_an_attestation_or_with_one_of_something_else_is_told(tmp_path: Path):
    wheel = tmp_path / "fluidmcp_gateway-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    for text in (None, "", "{}", '{"version": 1, "envelope": {}, "verification_material": {}}'):
        if text is not None:
            wheel.with_name(wheel.name + ENDING).write_text(text)
        with pytest.raises(UserError, match="does not attest"):
            check_attestation(wheel)


def test_a_ci_that_does_not_give_its_identity_gets_no_attestations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    assert attest([tmp_path / "x.whl"]).startswith("No attestations: the identity of this CI cannot be asked for")


async def test_no_browser_opens_at_whoever_makes_a_release(tmp_path: Path):
    with pytest.raises(UserError) as refused:
        await trial.try_demo(["sh", "-c", 'echo "$@"', "sh"], tmp_path)
    assert "--no-browser --port" in refused.value.why


def test_an_interpreter_is_found_by_its_version_and_one_that_is_not_here_is_named():
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert interpreters.ask_version(Path(sys.executable)) == version
    assert interpreters.ask_version(Path("/bin/false")) is None
    assert interpreters.find_python("3.99") is None
    with pytest.raises(UserError, match="Python 3.99 cannot be found"):
        interpreters.find_all(["3.99"])
