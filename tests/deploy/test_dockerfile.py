"""deploy/Dockerfile, read by hadolint and by us; tests/containers builds it."""

import tomllib
from typing import Any, Final

import pytest

from tests import parts
from tests.deploy.shipped import DEPLOY, read_dockerfile, read_image_environment
from tests.deploy.tools import run_tool

PROJECT: Final[dict[str, Any]] = tomllib.loads((parts.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions(stage: str, name: str) -> list[str]:
    return [i.words for i in read_dockerfile() if (i.stage, i.name) == (stage, name)]


@pytest.mark.needs("deploy-tools")
def test_hadolint_has_nothing_to_say() -> None:
    assert run_tool("hadolint", "--no-color", DEPLOY / "Dockerfile") == (0, "")


@pytest.mark.needs("deploy-tools")
def test_hadolint_would_say_it() -> None:
    code, told = run_tool("hadolint", "--no-color", "-", stdin="FROM python\nCMD fluidmcp\n")
    assert (code, "DL3006" in told, "DL3025" in told) == (1, True, True)


def test_nobody_is_root_and_signals_reach_the_gateway() -> None:
    assert instructions("base", "USER") == ["10001:10001"]
    assert instructions("base", "ENTRYPOINT") == ['["/opt/fluidmcp/bin/fluidmcp"]']
    assert instructions("base", "STOPSIGNAL") == ["SIGTERM"]
    later = [i for i in read_dockerfile() if i.stage.startswith("gateway")]
    assert {i.name for i in later} == {"FROM", "COPY"}, "each of the two is the base with one folder"


def test_all_that_is_written_lies_in_the_two_volumes() -> None:
    assert instructions("base", "VOLUME") == ['["/var/lib/fluidmcp", "/tmp"]']
    folders = {k: v for k, v in read_image_environment().items() if v.startswith("/") and k != "PATH"}
    assert set(folders) >= {"HOME", "MCP_INSTALLATION_DIR", "npm_config_cache", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR"}
    assert all((value + "/").startswith("/var/lib/fluidmcp/") for value in folders.values())


def test_versions_are_those_that_the_tests_run_with() -> None:
    [image] = [i.words for i in read_dockerfile() if i.name == "ARG"]
    assert image.startswith("PYTHON_IMAGE=python:3.11-slim")
    pins = dict(pin.split("==") for pin in PROJECT["tool"]["uv"]["constraint-dependencies"])
    assert f"uv=={pins['uv']}" in instructions("build", "RUN")[0]
    for stage, extras in (("build", ["redis"]), ("build-with-runtimes", ["redis", "node", "uv"])):
        words = instructions(stage, "RUN")[-1].split()
        assert [words[n + 1] for n, word in enumerate(words) if word == "--extra"] == extras


def test_nothing_but_sources_reaches_the_build() -> None:
    lines = (parts.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    copied = [words.split()[:-1] for words in instructions("build", "COPY")]
    assert let_in == {word for words in copied for word in words}
