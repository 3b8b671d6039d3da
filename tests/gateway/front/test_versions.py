"""The front is used with exactly the versions of uvicorn that can be installed beside it."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fluidmcp.gateway.front.front import TESTED_UVICORN

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_tested_versions_of_uvicorn_are_those_that_can_be_installed() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    (required,) = [one for text in project["dependencies"] if (one := Requirement(text)).name == "uvicorn"]
    first, end = (".".join(map(str, version)) for version in TESTED_UVICORN)
    assert required.specifier == SpecifierSet(f">={first},<{end}")
