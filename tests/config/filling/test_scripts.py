"""Scripts of shells: no value becomes code, and the shell gets what it needs. Real shells run them."""

import subprocess
from typing import Final

import pytest

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.filling.scripts import fill_script, find_script
from tests.timing import limit_of_processor_time

HOSTILE: Final = "a'b\"c $(echo pwned) `echo pwned` ; echo pwned #"


def fill(script: str, environ: dict[str, str], own_names: frozenset[str] = frozenset()) -> tuple[str, dict[str, str]]:
    expander = Expander(
        environ=environ, workspace="/srv/it's $(echo pwned)", home="/home/ada", folder="/srv", ask=lambda _: HOSTILE
    )
    expander.own_names = own_names
    filled, needed = fill_script(script, expander, own_names=own_names)
    return filled, dict(needed)


def run(script: str, env: dict[str, str]) -> str:
    done = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("command", "args", "place"),
    [
        ("sh", ["-c", "X"], 1),
        ("/bin/sh", ["-c", "X", "a"], 1),
        ("sh", ["-ce", "X"], 1),
        ("bash", ["-lc", "X"], 1),
        ("bash", ["-c", "-e", "X"], 2),
        ("bash", ["-euo", "pipefail", "-c", "X"], 3),
        ("bash", ["--rcfile", "f", "-c", "--", "X"], 4),
        ("env", ["sh", "-c", "X"], 2),
        ("/usr/bin/env", ["-u", "A", "B=c", "bash", "-lc", "X"], 5),
        ("nohup", ["env", "sh", "-c", "X"], 3),
        ("sh", ["run.sh", "-c", "X"], None),
        ("sh", ["--norc", "X"], None),
        ("sh", ["-c"], None),
        ("node", ["-c", "X"], None),
        ("env", ["node", "-c", "X"], None),
        ("env", ["A=b"], None),
    ],
)
def test_where_the_script_stands(command: str, args: list[str], place: int | None):
    assert find_script(command, args) == place


@pytest.mark.parametrize("word", ["${env:X}", "${input:my-id}", "${workspaceFolder}", "${env:NONE:-a'b $(echo pwned)}"])
@pytest.mark.parametrize(
    "frame", ['printf %s "{}"', "printf %s '{}'", "printf %s \"$(printf %s '{}')\"", "printf %s $'{}' # it's\n"]
)
def test_no_value_becomes_code(word: str, frame: str):
    if frame.startswith("printf %s $'"):
        frame = "# it's a remark\n" + frame.replace("$'", "'")
    script, needed = fill(frame.replace("{}", word), {"X": HOSTILE})
    value = {"${workspaceFolder}": "/srv/it's $(echo pwned)", "${env:NONE:-a'b $(echo pwned)}": "a'b $(echo pwned)"}
    assert run(script, {"PATH": "/usr/bin:/bin", **needed}) == value.get(word, HOSTILE)
    assert HOSTILE not in script and "pwned" not in script


@pytest.mark.parametrize(
    ("script", "filled", "needed"),
    [
        ("x ${env:A} $A", "x ${A} $A", {"A": "1"}),
        ("x '${env:A}'", "x ''\"${A}\"''", {"A": "1"}),
        ("x $'${env:A}'", "x $''\"${A}\"$''", {"A": "1"}),
        # The entry and the shell mean something else by the name.
        ("x ${env:OWN}", "x ${ENV_OWN}", {"ENV_OWN": "2"}),
        ("x ${env:PATH}", "x ${ENV_PATH}", {"ENV_PATH": "/p"}),
        ("A=5; x ${env:A}", "A=5; x ${ENV_A}", {"ENV_A": "1"}),
        ("x ${userHome}/y", "x /home/ada/y", {}),
        ("x # ${env:NONE}\ny", "x # ${env:NONE}\ny", {}),
    ],
)
def test_what_a_shell_does_not_know_becomes_a_variable_of_it(script: str, filled: str, needed: dict[str, str]):
    environ = {"A": "1", "OWN": "2", "PATH": "/p"}
    assert fill(script, environ, frozenset({"OWN"})) == (filled, needed)


@pytest.mark.parametrize("script", ["x ${env:FMCP_SEAL_KEYS}", "x ${FMCP_SEAL_KEYS}", "x ${env:FMCP_A:-b}"])
def test_the_gateways_own_variables_are_not_handed_over(script: str):
    for own_names in (frozenset[str](), frozenset({"FMCP_SEAL_KEYS"})):
        with pytest.raises(ExpansionError, match="belong to the gateway alone"):
            fill(script, {"FMCP_SEAL_KEYS": "x", "FMCP_A": "x"}, own_names)


@pytest.mark.parametrize(
    "script", ["A=1; x ${A}", "for A in 1; do x ${A}; done", "read -r A; x ${A}", "while getopts ab A; do x ${A}; done"]
)
def test_what_the_script_sets_is_not_asked_for(script: str):
    assert fill(script, {}) == (script, {})


def test_a_long_script_takes_time_by_its_length_only():
    script = "read " * 20_000 + "getopts " * 20_000 + "${HOME} " * 20_000 + "'\"$(#" * 20_000
    with limit_of_processor_time(5):
        fill(script, {})
