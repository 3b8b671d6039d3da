"""Texts that real programs end with. Names and addresses are changed, the words are theirs."""

import pytest

from fluidmcp.cli.serving.diagnosis import Verdict, choose_line, diagnose

FAULTS: dict[str, tuple[int | None, str]] = {
    "python -m": (1, "/usr/bin/python3: No module named mcp_server_mial"),
    "python import": (
        1,
        """\
Traceback (most recent call last):
  File "/opt/token_server/main.py", line 3, in <module>
    import mcp
ModuleNotFoundError: No module named 'mcp'""",
    ),
    "python from import": (1, "ImportError: cannot import name 'FastMCP' from 'mcp.server' (/opt/mcp/__init__.py)"),
    "python file": (2, "python3: can't open file '/srv/server.py': [Errno 2] No such file or directory"),
    "python flag": (2, "unknown option --stdio\nusage: python3 [option] ... [-c cmd | -m mod | file | -] [arg] ..."),
    "python syntax": (1, '  File "/srv/server.py", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax'),
    "python data file": (1, "FileNotFoundError: [Errno 2] No such file or directory: 'settings.yaml'"),
    "argparse": (2, "usage: srv [-h] [--token TOKEN]\nsrv: error: unrecognized arguments: --stdio"),
    "argparse choice": (2, "srv: error: argument --transport: invalid choice: 'stdin' (choose from stdio, sse)"),
    "argparse missing": (2, "usage: srv [-h] --root ROOT\nsrv: error: the following arguments are required: --root"),
    "click": (2, "Usage: srv [OPTIONS]\nTry 'srv --help' for help.\n\nError: No such option '--stdio'."),
    "click argument": (2, "Usage: srv [OPTIONS] PATH\nTry 'srv --help' for help.\n\nError: Missing argument 'PATH'."),
    "node module": (
        1,
        """\
node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module '/srv/auth/token.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.20.2""",
    ),
    "node package": (
        1,
        "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'oauth' imported from /srv/index.mjs\n"
        "    at packageResolve (node:internal/modules/esm/resolve:873:9) {\n  code: 'ERR_MODULE_NOT_FOUND'\n}",
    ),
    "node flag": (9, "node: bad option: --experimental-stdio"),
    "node syntax": (1, "/srv/s.js:1\nconst x = ;\n          ^\n\nSyntaxError: Unexpected token ';'"),
    "node esm": (1, "SyntaxError: Cannot use import statement outside a module"),
    "commander": (1, "error: unknown option '--stdio'"),
    "yargs": (1, "Options:\n  --token  the API token  [string]\n\nUnknown argument: stdio"),
    "cobra": (1, "Error: unknown flag: --stdio\nUsage:\n  srv [flags]\n\nFlags:\n  --token string   API token"),
    "go flag": (2, "flag provided but not defined: -stdio\nUsage of srv:\n  -token string\n    \tthe token"),
    "clap": (2, "error: unexpected argument '--stdio' found\n\nUsage: srv [OPTIONS] --token <TOKEN>"),
    "npx of a wrong name": (
        1,
        """\
npm error code E404
npm error 404 Not Found - GET https://registry.example/@mail%2fserver
npm error 404
npm error 404  The requested resource '@mail/server@*' could not be found or you do not have permission to access it.
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-11-27T23_07_28_581Z-debug-0.log""",
    ),
    "npx of a private package": (1, "npm error code E401\nnpm error Unable to authenticate, your authentication token"),
    "npx without a program": (1, "npm error could not determine executable to run"),
    "old npx": (1, "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found for mail-server@9.9.9."),
    "npm without a package": (254, "npm error code ENOENT\nnpm error syscall open\nnpm error path /srv/package.json"),
    "npx finds no shell command": (127, "sh: 1: mail-server: not found"),
    "bash": (127, "bash: line 1: mail-server: command not found"),
    "env": (127, "/usr/bin/env: 'node': No such file or directory"),
    "not executable": (126, "sh: 1: exec: ./server: Permission denied"),
    "127 in silence": (127, ""),
    "uvx of a wrong name": (
        1,
        "  × No solution found when resolving tool dependencies:\n"
        "  ╰─▶ Because mail-token-server was not found in the package registry and you require mail-token-server,\n"
        "      we can conclude that your requirements are unsatisfiable.",
    ),
    "uv offline": (
        1,
        "error: No solution found when resolving tool dependencies\n  cause: Because x was not found in the cache",
    ),
    "uvx of a wrong program": (1, "An executable named `mail` is not provided by package `mail-server`."),
    "uv run": (2, "error: Failed to spawn: `mail-server`\n  Caused by: No such file or directory (os error 2)"),
    "uv folder": (2, "error: No such file or directory (os error 2)"),
    "uv flag": (2, "error: unexpected argument '--form' found\n\nUsage: uv tool run [OPTIONS] [COMMAND]"),
    "docker": (125, "docker: Error response from daemon: pull access denied for mail, may require 'docker login'."),
    "shared library": (
        127,
        "mail: error while loading shared libraries: libssl.so.1.1: cannot open",
    ),
    "java": (1, "Error: Unable to access jarfile server.jar"),
}
LOGINS: dict[str, tuple[int | None, str]] = {
    "plain": (1, "Error: NOTION_TOKEN is required"),
    "node": (
        1,
        '/srv/t.js:1\nthrow new Error("NOTION_TOKEN is required")\n^\n\nError: NOTION_TOKEN is required\n'
        "    at Object.<anonymous> (/srv/t.js:1:7)\n\nNode.js v20.20.2",
    ),
    "python environment": (1, "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'NOTION_TOKEN'"),
    "words": (1, "Meta access token is required. Set NOTION_TOKEN environment variable."),
    "no name": (1, "Fatal: not authenticated. Run `mail login` first."),
    "sign in": (None, "To sign in, use a web browser to open the page https://mail.example/device and enter the code"),
    "status": (1, "Request failed with status code 401"),
    "unauthorized": (1, "HTTPError: 401 Client Error: Unauthorized for url: https://api.example/me"),
    "pydantic": (
        1,
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\nnotion_token\n"
        "  Field required [type=missing, input_value={}, input_type=dict]",
    ),
    "warnings before": (
        1,
        "npm warn deprecated token@1.0.0: no longer supported\n(node:12) Warning: To load an ES module\n"
        "Missing required environment variable: NOTION_TOKEN",
    ),
    "module that is only wished for": (1, "ImportError: no torch, going on without\nError: please log in"),
    "argument that the environment replaces": (
        2,
        "Usage: srv [OPTIONS]\n\nError: Missing option '--token' (env var: 'NOTION_TOKEN').",
    ),
}
UNCLEAR: dict[str, tuple[int | None, str]] = {
    "silence": (1, ""),
    "hangs in silence": (None, ""),
    "loading": (None, "loading model..."),
    "killed": (-9, "starting"),
    "argument for a credential": (
        2,
        "usage: srv [-h] --token TOKEN\nsrv: error: the following arguments are required: --token",
    ),
    "required option": (1, "error: required option '-t, --token <token>' not specified"),
    "file of a credential": (1, "FileNotFoundError: [Errno 2] No such file or directory: 'credentials.json'"),
    "another variable": (1, "Error: GITHUB_PERSONAL_ACCESS_TOKEN not set"),
    "other reason": (1, "TypeError: Cannot read properties of undefined (reading 'map')"),
    "json": (1, "SyntaxError: Unexpected token < in JSON at position 0"),
    "address": (1, "connect ECONNREFUSED https://login.example/oauth/token"),
    "number of a line": (1, "panic: main.go:401: something broke on line 403"),
}


def parameters(cases: dict[str, tuple[int | None, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("exit_code", "text"), cases.values(), ids=cases.keys())


def verdict(exit_code: int | None, text: str) -> Verdict:
    return diagnose(exit_code, text.splitlines(), variables={"NOTION_TOKEN"})


@parameters(FAULTS)
def test_what_no_login_mends_is_a_fault(exit_code: int | None, text: str) -> None:
    assert verdict(exit_code, text) == "fault"


@parameters(LOGINS)
def test_who_asks_for_a_credential_needs_the_person(exit_code: int | None, text: str) -> None:
    assert verdict(exit_code, text) == "login"


@parameters(UNCLEAR)
def test_everything_else_is_unclear(exit_code: int | None, text: str) -> None:
    assert verdict(exit_code, text) == "unclear"


def test_where_no_variable_is_known_any_credential_will_do() -> None:
    assert diagnose(1, ["Error: GITHUB_PERSONAL_ACCESS_TOKEN not set"]) == "login"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LOGINS["node"][1], "Error: NOTION_TOKEN is required"),
        (LOGINS["python environment"][1], "KeyError: 'NOTION_TOKEN'"),
        ("starting\nloading model...", "loading model..."),
        ("  at frame", ""),
        ("", ""),
    ],
)
def test_one_line_says_most(text: str, line: str) -> None:
    assert choose_line(text.splitlines()) == line


def test_a_file_that_is_not_there_may_come_with_the_login():
    lines = ["Error: ENOENT: no such file or directory, open '/tmp/h/.tool/login.json'"]
    assert diagnose(1, lines, variables={"A_TOKEN"}) == "fault"
    assert diagnose(1, lines, brings_more=True) == "unclear"
