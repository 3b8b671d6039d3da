"""Command lines of npx, npm, uvx and uv: what they would run, what they are asked, and when nothing is guessed."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluidmcp.processes.launch.runners import RunnerCall, name_runner, parse_runner

SAY_PATH = ("-c", 'printf "%s" "$PATH"')
UNKNOWN = ("--no-such-option", "--eval=x", "-z", "-yq", "--package-lock", "--=", "-")
"""Options of which nobody knows whether they take a value."""


def npx(*packages: str, before: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> tuple[str, ...]:
    return (*before, *flags, "--yes", *(f"--package={package}" for package in packages), *SAY_PATH)


def uvx(source: str, *options: str, before: tuple[str, ...] = ()) -> tuple[str, ...]:
    return (*before, *options, "--from", source, "sh", *SAY_PATH)


@pytest.mark.parametrize(
    ("args", "question", "package", "rest"),
    [
        ("-y X", npx("X", flags=("-y",)), "X", ""),
        ("X@1.2.3 --flag a", npx("X@1.2.3"), "X", "--flag a"),
        ("X", npx("X"), "X", ""),
        ("-- X -y", npx("X"), "X", "-y"),
        ("--quiet @scope/name@next a", npx("@scope/name@next", flags=("--quiet",)), "@scope/name", "a"),
        ("X a -- b", npx("X"), "X", "a -- b"),
        ("X@^1.2.0", npx("X@^1.2.0"), "X", ""),
    ],
)
def test_npx_runs_the_program_of_a_package(args: str, question: tuple[str, ...], package: str, rest: str):
    expected = RunnerCall(question=question, args=tuple(rest.split()), package=package)
    assert parse_runner("npx", args.split()) == expected


@pytest.mark.parametrize(
    ("args", "question", "rest"),
    [
        ("-p X bin args", npx("X"), "args"),
        ("--package X bin", npx("X"), ""),
        ("--package=X -- bin", npx("X"), ""),
        ("--package=X -- bin --package=Y", npx("X"), "--package=Y"),
        ("-y -p X@1 --package=@s/Y -q bin -p 3", npx("X@1", "@s/Y", flags=("-y", "-q")), "-p 3"),
    ],
)
def test_npx_runs_a_named_program_of_named_packages(args: str, question: tuple[str, ...], rest: str):
    expected = RunnerCall(question=question, args=tuple(rest.split()), program="bin")
    assert parse_runner("npx", args.split()) == expected


@pytest.mark.parametrize(
    ("args", "rest"),
    [
        ("exec -- X", ""),
        ("exec -- X --flag", "--flag"),
        ("x -- X -- --flag", "-- --flag"),
        # The first `--` ends npm's own options, wherever it stands, and is not handed on.
        ("exec X -- --flag", "--flag"),
        ("x X a -- --flag -- b", "a --flag -- b"),
    ],
)
def test_npm_exec_hands_on_what_follows_the_two_dashes(args: str, rest: str):
    words = args.split()
    expected = RunnerCall(question=npx("X", before=(words[0],)), args=tuple(rest.split()), package="X")
    assert parse_runner("npm", words) == expected


@pytest.mark.parametrize(
    "args",
    ["exec X", "exec X --flag", "x X", "exec X --flag -- a", "exec -- ", "run -- X", "install -- X", "", "-- exec X"],
)
def test_npm_without_the_two_dashes_may_mean_anything(args: str):
    assert parse_runner("npm", args.split()) is None


@pytest.mark.parametrize(
    ("args", "question", "program", "rest"),
    [
        ("X", uvx("X"), "X", ""),
        ("X==1 --flag a", uvx("X==1"), "X", "--flag a"),
        ("X@latest", uvx("X@latest"), "X", ""),
        ("X[extra] -v", uvx("X[extra]"), "X", "-v"),
        ("X[a,b]>=2", uvx("X[a,b]>=2"), "X", ""),
        ("my-server.v2_x", uvx("my-server.v2_x"), "my-server.v2_x", ""),
        ("--from S C", uvx("S"), "C", ""),
        ("--from=S C --from T", uvx("S"), "C", "--from T"),
        ("--from git+https://a.example/b@main C a", uvx("git+https://a.example/b@main"), "C", "a"),
        ("--from ./wheels/s.whl C", uvx("./wheels/s.whl"), "C", ""),
        ("--with Y X", uvx("X", "--with", "Y"), "X", ""),
        ("--with=Y --with Z --from=S C", uvx("S", "--with", "Y", "--with", "Z"), "C", ""),
        ("-p 3.12 X -p 8000", uvx("X", "-p", "3.12"), "X", "-p 8000"),
        ("--python=3.12 X", uvx("X", "--python", "3.12"), "X", ""),
        ("-q --isolated --offline X", uvx("X", "-q", "--isolated", "--offline"), "X", ""),
        ("--with -y X", uvx("X", "--with", "-y"), "X", ""),
    ],
)
@pytest.mark.parametrize(("command", "before"), [("uvx", ()), ("uv", ("tool", "run"))])
def test_uvx_runs_a_program_of_a_package(
    command: str, before: tuple[str, ...], args: str, question: tuple[str, ...], program: str, rest: str
):
    expected = RunnerCall(question=(*before, *question), args=tuple(rest.split()), program=program)
    assert parse_runner(command, (*before, *args.split())) == expected


@pytest.mark.parametrize("command", ["/usr/bin/npx", "./npx", "../bin/npx", "/opt/node 24/bin/npx"])
def test_a_runner_may_be_named_by_its_path(command: str):
    assert parse_runner(command, ["X"]) == parse_runner("npx", ["X"]) is not None


@pytest.mark.parametrize("command", ["", "node", "python", "npx.sh", "npx/", "NPX", "uv", "pipx", "bunx", "my-npx"])
def test_other_commands_are_no_runners(command: str):
    assert parse_runner(command, ["X"]) is None
    assert parse_runner(command, ["-y", "X", "--flag"]) is None


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("npx", ""),
        ("npx", "-y"),
        ("npx", "--"),
        ("npx", "-p"),
        ("npx", "-p X"),
        ("npx", "--package= bin"),
        ("npx", "--package=X"),
        ("npx", "X -- a"),
        ("npx", "-c env"),
        ("npx", "--no X"),
        ("npx", "--cache /x X"),
        # Where the package comes from decides its name: a repository, an address, a folder, an archive, an alias.
        ("npx", "github:a/b"),
        ("npx", "a/b"),
        ("npx", "git+https://a.example/b.git"),
        ("npx", "https://a.example/b.tgz"),
        ("npx", "."),
        ("npx", ".."),
        ("npx", "./b"),
        ("npx", "/srv/b"),
        ("npx", "b.tar"),
        ("npx", "b.tgz"),
        ("npx", "b.tar.gz"),
        ("npx", "c@npm:b@1"),
        ("npx", "c@file:b"),
        ("npx", "@scope"),
        ("npx", "-p ./b bin"),
        ("npx", "-p X -p https://a.example/b.tgz bin"),
        ("uvx", ""),
        ("uvx", "-q"),
        ("uvx", "--from"),
        ("uvx", "--from S"),
        ("uvx", "--with"),
        ("uvx", "-- X"),
        ("uvx", "./x"),
        ("uvx", "/srv/x"),
        ("uvx", "git+https://a.example/x"),
        ("uvx", "--from S ./c"),
        ("uvx", "--env-file .env X"),
        # The program would start in another directory.
        ("uvx", "--directory /srv X"),
        ("uv", ""),
        ("uv", "tool"),
        ("uv", "run X"),
        ("uv", "tool install X"),
        ("uv", "-q tool run X"),
    ],
)
def test_what_is_not_understood_for_certain_is_left_to_the_tool_itself(command: str, args: str):
    assert parse_runner(command, args.split()) is None


words = st.one_of(
    st.sampled_from(
        "-- -y --yes -p --package --package=X -q -c --from --from=S --with --with=Y -p=3 --python --offline X X@1 "
        "@s/X a/b . ./x X[e] X==1 bin exec x tool run --flag - -z".split()
    ),
    st.text(max_size=6),
)
runner = st.sampled_from(["npx", "npm", "uvx", "uv", "/usr/bin/npx", "sh"])


@example(command="npx", args=["--package=X", ""])
@given(command=st.one_of(runner, st.text(max_size=8)), args=st.lists(words, max_size=8))
def test_any_command_line_is_read_without_a_failure_and_nothing_of_it_is_made_up(command: str, args: list[str]):
    call = parse_runner(command, args)
    if call is None:
        return
    assert call.question[-2:] == SAY_PATH, "a question is put, and nothing is run"
    assert bool(call.program) != bool(call.package)
    assert is_in_order(call.args, args)
    added = {"--yes", "--from", "sh", *SAY_PATH}
    asked = [word.removeprefix("--package=") for word in call.question if word not in added]
    assert all(any(word in arg for arg in args) for word in (*asked, call.program, call.package))


def is_in_order(some: Sequence[str], words: Sequence[str]) -> bool:
    """Whether `some` are what is left of `words` when others are taken out."""
    left = iter(words)
    return all(word in left for word in some)


@given(
    command=st.sampled_from([("npx",), ("npm", "exec"), ("uvx",), ("uv", "tool", "run")]),
    unknown=st.sampled_from(UNKNOWN),
    more=st.lists(words, max_size=4),
)
def test_an_unknown_option_before_the_package_makes_all_of_it_unknown(
    command: tuple[str, ...], unknown: str, more: list[str]
):
    assert parse_runner(command[0], (*command[1:], unknown, *more)) is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("npx -y X", "npx"),
        ("/usr/local/bin/npx -y X", "npx"),
        ("npm exec -- X", "npm exec"),
        ("npm start", ""),
        ("uvx X", "uvx"),
        ("uv tool run X", "uv tool run"),
        ("uv run server.py", "uv run"),
        ("uv pip install X", ""),
        ("bunx X", "bunx"),
        ("pipx run X", "pipx run"),
        ("docker run -i X", "docker run"),
        ("docker", ""),
        ("python npx", ""),
    ],
)
def test_what_downloads_at_the_first_start_is_known_by_its_command(line: str, name: str) -> None:
    command, *args = line.split()
    assert name_runner(command, args) == name
