"""Files with servers: what is read of them, what is refused alone, and what is said of those that cannot be read."""

import json
from pathlib import Path

import pytest

from fluidmcp.cli.serving.checks import find_launch_faults
from fluidmcp.cli.serving.sources import add_packages
from fluidmcp.config.entries import ServerEntry, ServersFile
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.formats.shapes import Input
from fluidmcp.packages.resolve import LoadedServer, LoadedServers
from fluidmcp.packages.servers_file import ReadingOptions, parse_servers_file


def parse(document: object, options: ReadingOptions | None = None, *, path: str = "/srv/config.json") -> ServersFile:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_servers_file(text, path=Path(path), directory=Path("/work"), options=options)


def refuse_file(text: bytes) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return caught.value


def refuse_entry(entry: object, options: ReadingOptions | None = None, *, inputs: object = None) -> str:
    (refused,) = parse({"mcpServers": {"a": entry}, "inputs": inputs}, options).refused
    return refused.error.why


def loaded_server(entry: ServerEntry) -> LoadedServer:
    return LoadedServer(entry=entry)


def test_a_package_owns_its_folder_and_a_file_does_not_own_the_working_directory():
    text = b'{"mcpServers": {"a": {"command": "x", "paths": {"read": ["data"]}}}}'
    path = Path("/packages/ann/mail/1.0.0/metadata.json")
    (own,) = parse_servers_file(text, path=path).entries
    assert (own.directory, own.owns_directory, own.paths.read) == (path.parent, True, (f"{path.parent}/data",))
    (shared,) = parse_servers_file(text, path=path, directory=Path("/work")).entries
    assert (shared.directory, shared.owns_directory, shared.paths.read) == (Path("/work"), False, ("/work/data",))


def test_files_of_other_programs_are_read_as_they_are():
    read = parse(
        {
            "globalShortcut": "",
            "mcpServers": {
                "Brave Search": {
                    "type": "stdio",
                    "command": "npx",
                    "args": ["x"],
                    "disabled": False,
                    "autoApprove": [],
                },
                "old": {"command": "x", "disabled": True},
            },
        }
    )
    assert [(entry.name, entry.written_name) for entry in read.entries] == [("brave-search", "Brave Search")]
    assert read.disabled == ("old",)


def test_one_bad_entry_does_not_refuse_the_others():
    read = parse({"mcpServers": {"good": {"command": "x"}, "bad": {"command": 1}, "far": {"url": "https://a.example"}}})
    assert [entry.name for entry in read.entries] == ["good"]
    assert [refused.name for refused in read.refused] == ["bad", "far"]
    assert "mcpServers.bad.command must be a string, not a number" in read.refused[0].error.why


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (b'{"mcpServers": {"A b": {"command": "x"}, "a-b": {"command": "y"}}}', 'Two packages have the name "a-b".'),
        (b'{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "has the key a twice in one object."),
        (b"mcpServers:\n  a: {command: x}\n  a: {command: y}\n", "has the key a twice in one object."),
    ],
)
def test_two_packages_of_one_name_are_an_error(document: bytes, what: str):
    assert what in refuse_file(document).what


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{\n  "mcpServers": {,}\n}', "Line 2, column 18"),
        (b'{\n  // why\n  "mcpServers": {"a" 1}\n}', "Line 3, column 22"),
        (b"", "Line 1, column 1"),
        (b"[]", "It is a list, not an object."),
        (b'{"mcpServers": 1}', "mcpServers is a number, not an object."),
        (b'{"other": {}}', "mcpServers is missing"),
        (b'{"mcpServers": {"a": NaN}}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "Byte 8 is not UTF-8."),
        (b"mcpServers:\n  a:\n\t- x\n", "Line 3, column 1"),
        (b"mcpServers: !!python/object:os.system {}\n", "Line 1, column 13"),
        (
            b"a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
            b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
            b"f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
            "more than 100000 values",
        ),
        (b"[mcp_servers.a]\ncommand = \n", "line 2, column 11"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(text: bytes, why: str):
    assert why in refuse_file(text).why


def test_a_byte_order_mark_comments_and_trailing_commas_do_no_harm():
    text = b"""\xef\xbb\xbf// mine
    {"mcpServers": {/* one */ "a": {"command": "x", "args": ["http://b//c", "/*", ",]",],},},}"""
    (entry,) = parse(text).entries
    assert (entry.name, entry.args) == ("a", ("http://b//c", "/*", ",]"))


@pytest.mark.parametrize("place", ["command", "args", "env", "cwd"])
def test_a_variable_that_is_missing_is_named_with_its_field(place: str):
    entry: dict[str, object] = {"command": "x", "args": [], "env": {}}
    entry[place] = {"args": ["a", "${NOPE}"], "env": {"A": "b ${NOPE}"}}.get(place, "${NOPE}")
    field = {"args": "args[1]", "env": "env.A"}.get(place, place)
    assert f"mcpServers.a.{field} needs the variable NOPE" in refuse_entry(entry)


@pytest.mark.threat("E13")
@pytest.mark.parametrize(
    "text",
    ["${FMCP_SEAL_KEYS}", "${env:FMCP_SEAL_KEYS}", "$FMCP_SEAL_KEYS", "${fmcp_seal_keys:-x}", "${{secrets.FMCP_X}}"],
)
@pytest.mark.parametrize("place", ["command", "cwd", "url", "envFile"])
def test_e13_a_file_cannot_have_what_is_the_gateways_own(text: str, place: str):
    options = ReadingOptions(environ={"FMCP_SEAL_KEYS": "kept", "FMCP_X": "kept"})
    why = refuse_entry({"command": "x", place: text}, options)
    assert f"mcpServers.a.{place} holds" in why and "belong to the gateway alone" in why
    assert "kept" not in why


@pytest.mark.threat("E13")
def test_e13_an_env_file_outside_of_the_folder_needs_to_be_allowed(tmp_path: Path):
    inside, outside = tmp_path / "project", tmp_path / "id_rsa"
    inside.mkdir()
    outside.write_text("KEY=stolen\n")
    (inside / "link").symlink_to(outside)
    path = inside / ".cursor" / "mcp.json"

    def read(name: str, *allowed: Path) -> ServersFile:
        text = json.dumps({"mcpServers": {"a": {"command": "x", "envFile": name}}}).encode()
        options = ReadingOptions(allowed_env_files=frozenset(map(str, allowed)))
        return parse_servers_file(text, path=path, directory=tmp_path, options=options)

    for name in ("../id_rsa", str(outside), "link"):
        (refused,) = read(name).refused
        assert "mcpServers.a.envFile cannot be used" in refused.error.why
        assert "--allow-env-file" in refused.error.why and "stolen" not in str(refused.error)
        (entry,) = read(name, outside).entries
        assert dict(entry.env)["KEY"].value == "stolen"
    (inside / ".env").write_text("# mine\nexport A='b c'\nB=\"d\\ne\"\nC=\n")
    (entry,) = read("${workspaceFolder}/.env").entries
    assert {name: variable.value for name, variable in entry.env} == {"A": "b c", "B": "d\ne", "C": ""}
    (inside / ".env").write_text("FMCP_SEAL_KEYS=x\n")
    assert "belong to the gateway alone" in read(".env").refused[0].error.why
    (inside / ".env").write_text("A=b\nno line\n")
    assert "Line 2 is not NAME=VALUE" in read(".env").refused[0].error.why


def test_what_stands_for_a_value_is_filled_in_and_not_shown():
    options = ReadingOptions(environ={"API_TOKEN": "s3cret-value", "REGION": "eu"}, home="/home/op")
    value = {
        "command": "${userHome}/bin/x",
        "args": ["--region=${env:REGION}", "--token", "${API_TOKEN}", "${workspaceFolder}", "${NONE:-a b}", "$${x}"],
        "env": {"A": "Bearer ${API_TOKEN}"},
    }
    (entry,) = parse({"mcpServers": {"a": value}}, options, path="/srv/p/.vscode/mcp.json").entries
    assert entry.command == "/home/op/bin/x"
    assert entry.args == ("--region=eu", "--token", "s3cret-value", "/srv/p", "a b", "${x}")
    assert entry.written_args == tuple(value["args"])
    assert [secret.reveal() for secret in entry.hidden] == ["s3cret-value"]
    assert dict(entry.env)["A"].value == "Bearer s3cret-value"


@pytest.mark.threat("B37")
@pytest.mark.parametrize("place", ["command", "cwd", "envFile", "package"])
def test_b37_no_message_shows_what_was_filled_in(place: str, tmp_path: Path):
    """Whatever a file puts a secret into: tables and errors are what people paste into issues."""
    options = ReadingOptions(environ={"API_KEY": "Sup3r-Secret"})
    value = {place: "/x/${API_KEY}/y", **({} if place in ("command", "package") else {"command": "no-such-program"})}
    text = json.dumps({"mcpServers": {"a": value}}).encode()
    parsed = parse_servers_file(text, path=tmp_path / "c.json", directory=tmp_path, options=options)
    loaded = LoadedServers(servers=tuple(map(loaded_server, parsed.entries)), refused=parsed.refused)
    loaded = add_packages(loaded, options)
    errors = [refused.error for refused in loaded.refused]
    errors += find_launch_faults(loaded.entries, {"PATH": "/usr/bin:/bin"}).values()
    assert len(errors) == 1
    assert "Sup3r" not in f"{errors[0].what} {errors[0].why} {errors[0].hint} {errors[0]}"
    assert "***" in f"{errors[0].what} {errors[0].why}"
    assert all("Sup3r" not in (entry.written_command or entry.command) for entry in loaded.entries)


@pytest.mark.parametrize("name", ["API_KEY", "DB_PASS", "DATABASE_URL", "PASSPHRASE", "SESSION"])
@pytest.mark.parametrize("environ", [{}, {"REGION": "eu"}])
def test_what_a_secret_is_without_its_variable_is_not_shown_either(name: str, environ: dict[str, str]):
    value = {"command": "x", "args": [f"${{{name}:-sk-1-${{REGION:-us}}}}", f"${{{name}:-}}", "${HOST:-there}"]}
    (entry,) = parse({"mcpServers": {"a": value}}, ReadingOptions(environ=environ, home="/")).entries
    assert [secret.reveal() for secret in entry.hidden] == [entry.args[0]]


def test_a_variable_that_the_entry_gives_to_its_server_is_the_servers_to_fill_in():
    """As `mcp-remote` does, which is told to in many files."""
    value = {"command": "npx", "args": ["mcp-remote", "--header", "Authorization:${HEADER}"], "env": {"HEADER": "x y"}}
    (entry,) = parse({"mcpServers": {"a": value}}).entries
    assert entry.args[-1] == "Authorization:${HEADER}"
    (entry,) = parse({"mcpServers": {"a": value}}, ReadingOptions(environ={"HEADER": "of-the-operator"})).entries
    assert entry.args[-1] == "Authorization:of-the-operator"


def test_what_was_filled_in_is_not_looked_at_again():
    environ = {"A": "${B}", "B": "of-another", "C": "{env:B}", "D": "$B"}
    local = {"type": "local", "command": ["x", "{env:A} ${C} {env:D}"]}
    (entry,) = parse({"mcp": {"a": local}}, ReadingOptions(environ=environ)).entries
    assert entry.args == ("${B} {env:B} $B",)
    crush = {"type": "stdio", "command": "x", "args": ["$A ${C} $D ${NONE:-$A}"]}
    (entry,) = parse({"mcp": {"a": crush}}, ReadingOptions(environ=environ)).entries
    assert entry.args == ("${B} {env:B} $B ${B}",)


def test_a_script_is_left_to_its_shell_which_gets_the_variables():
    script = 'for f in a; do x "${f}" "${TOKEN}" ${OWN} ${NONE:-b} "${workspaceFolder}"; done'
    value = {"command": "/bin/sh", "args": ["-ec", script, "${TOKEN}"], "env": {"OWN": "1"}}
    (entry,) = parse({"mcpServers": {"a": value}}, ReadingOptions(environ={"TOKEN": "a'; rm b"})).entries
    assert entry.args == ("-ec", script.replace("${workspaceFolder}", "/srv"), "a'; rm b")
    assert {name: variable.value for name, variable in entry.env} == {"OWN": "1", "TOKEN": "a'; rm b"}
    assert "mcpServers.a.args[1] needs the variable TOKEN" in refuse_entry(value)
    assert "belong to the gateway alone" in refuse_entry({"command": "sh", "args": ["-c", "echo ${FMCP_SEAL_KEYS}"]})


INPUTS = [
    {"id": "api-key", "type": "promptString", "password": True, "description": "Key"},
    {"id": "region", "type": "pickString", "options": ["eu", {"label": "US", "value": "us"}], "default": "eu"},
    {"id": "cmd", "type": "command", "command": "x"},
]


def test_an_input_is_answered_by_a_variable_a_person_or_its_default():
    asked: list[str] = []

    def ask(item: Input) -> str:
        asked.append(item.id)
        return "us" if item.choices else "typed"

    def read(options: ReadingOptions) -> list[str | None]:
        env = {"A": "${input:api-key}", "B": "${input:region}", "C": "${input:api-key}"}
        document = {"servers": {"a": {"command": "x", "env": env}}, "inputs": INPUTS}
        (entry,) = parse(document, options).entries
        assert [secret.reveal() for secret in entry.hidden] == [entry.env[0][1].value]
        return [variable.value for _, variable in entry.env]

    assert read(ReadingOptions(environ={"FMCP_INPUT_API_KEY": "given"})) == ["given", "eu", "given"]
    assert read(ReadingOptions(ask=ask)) == ["typed", "us", "typed"]
    assert asked == ["api-key", "region"]


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        ("${input:api-key}", {}, "needs the input api-key; export FMCP_INPUT_API_KEY=... before the start, or start"),
        (
            "${input:region}",
            {"FMCP_INPUT_REGION": "mars"},
            "needs the input region (FMCP_INPUT_REGION), which must be one of eu, us",
        ),
        ("${input:cmd}", {}, "which only an editor can run"),
        ("${input:none}", {}, "refers to the input none, which the file does not define"),
        ("${command:x.y}", {}, "holds ${command:x.y}, which is not known here"),
        ("${auth.access_token}", {}, "holds ${auth.access_token}, but the entry has no auth"),
        ("${open", {}, "holds ${ without its }"),
    ],
)
def test_what_has_no_value_refuses_the_entry_and_says_why(text: str, environ: dict[str, str], why: str):
    assert why in refuse_entry({"command": "x", "args": [text]}, ReadingOptions(environ=environ), inputs=INPUTS)


def test_secrets_that_stand_in_arguments_are_hidden_from_what_the_server_writes() -> None:
    args = ["s.py", "--api-key", "hunter2hunter2", "--url=https://me:swordfish99@db.example/", "--token", "${TOKEN}"]
    options = ReadingOptions(environ={"TOKEN": "from-the-environment"})
    (entry,) = parse({"mcpServers": {"a": {"command": "python3", "args": args}}}, options).entries
    assert {secret.reveal() for secret in entry.hidden} == {"hunter2hunter2", "swordfish99", "from-the-environment"}
