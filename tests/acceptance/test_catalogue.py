"""The catalogue at the real executable: a server looked up, added, looked at, and a wrong variable told everywhere."""

import json
import re
import stat
import sys
from pathlib import Path
from typing import Any, Final

from tests.acceptance.harness import run_fluidmcp, start_fluidmcp

Json = dict[str, Any]

REDIRECT_URI: Final = "https://mcp.example.com/linear/auth/callback"
PUBLIC: Final = {"FMCP_PUBLIC_URL": "https://mcp.example.com"}
WARNING: Final = re.compile(r"mcpServers\.mine\.auth\.env_var_name.*LINEAR_API_TOKEN.*LINEAR_OAUTH_ACCESS_TOKEN")
SERVER: Final = Path(__file__).parent.parent / "servers" / "stdlib_server.py"


def read(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


async def test_a_server_of_the_list_is_shown_added_and_found_good_but_for_what_is_to_be_installed(tmp_path: Path):
    listed = await run_fluidmcp("catalogue", cwd=tmp_path)
    assert listed.code == 0
    (row,) = [line for line in listed.stdout.splitlines() if line.startswith("linear ")]
    assert "npm:@tacticlaunch/mcp-linear@" in row and "LINEAR_CLIENT_ID" in row

    shown = await run_fluidmcp("catalogue", "linear", cwd=tmp_path, env=PUBLIC)
    assert shown.code == 0
    assert REDIRECT_URI in shown.stdout and "fluidmcp providers linear" in shown.stdout
    entry = json.loads(shown.stdout[shown.stdout.index("\n  {\n") : shown.stdout.index("\n  }\n") + 4])
    assert not list(tmp_path.iterdir())

    added = await run_fluidmcp("add", "linear", cwd=tmp_path, env=PUBLIC)
    assert added.code == 0, added.stderr
    file = tmp_path / "fluidmcp.json"
    assert read(file) == {"$schema": "http://localhost:8099/schema/config.json", **entry}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    package = entry["mcpServers"]["linear"]["package"]
    for line in (
        REDIRECT_URI,
        'export LINEAR_CLIENT_ID="your-client-id"',
        f"fluidmcp install {package}",
        "fluidmcp run fluidmcp.json --start-server",
    ):
        assert line in added.stdout, added.stdout

    checked = await run_fluidmcp("validate", "fluidmcp.json", cwd=tmp_path)
    assert f"Run: fluidmcp install {package}" in checked.stderr
    assert "Warning" not in checked.stderr


async def test_a_second_one_is_added_beside_what_is_there_and_one_that_is_there_is_an_error(tmp_path: Path):
    file = tmp_path / "fluidmcp.json"
    before = (
        '{\n    "mcpServers": {\n        "a": {"command": "x", "args": ["1",   "2"]}\n    },\n    "x-mine": 1.0\n}\n'
    )
    file.write_text(before, encoding="utf-8")
    file.chmod(0o640)
    (tmp_path / "link.json").symlink_to("fluidmcp.json")
    done = await run_fluidmcp("add", "github", "--as", "mine", "-o", "link.json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    after = file.read_text(encoding="utf-8")
    assert list(read(file)["mcpServers"]) == ["a", "mine"]
    # All that was there stands there, letter by letter.
    start, end = after.index(',\n        "mine"'), after.index("\n    },\n")
    assert after[:start] + after[end:] == before
    assert (tmp_path / "link.json").is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "http://localhost:8099/mine/auth/callback" in done.stdout

    again = await run_fluidmcp("add", "linear", "--as", "mine", cwd=tmp_path)
    assert again.code == 2
    assert "has an entry mine already" in again.stderr and "--as" in again.stderr
    assert file.read_text(encoding="utf-8") == after
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fluidmcp.json", "link.json"]

    unknown = await run_fluidmcp("add", "linaer", cwd=tmp_path)
    assert unknown.code == 2 and "Did you mean linear?" in unknown.stderr


async def test_a_token_in_the_wrong_variable_is_told_by_validate_doctor_and_run(tmp_path: Path):
    """What the catalogue knows of a server counts for an entry that somebody wrote by hand, too."""
    program = tmp_path / "node_modules" / "@tacticlaunch" / "mcp-linear" / "index.py"
    program.parent.mkdir(parents=True)
    program.write_bytes(SERVER.read_bytes())
    auth = {"provider": "linear", "client_id": "ours", "client_secret_env": None, "env_var_name": "LINEAR_API_TOKEN"}
    good = {"command": sys.executable, "args": ["-I", str(program)]}
    entries = {"mine": {**good, "auth": auth}, "other": good}
    (tmp_path / "wrong.json").write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")

    checked = await run_fluidmcp("validate", "wrong.json", cwd=tmp_path)
    assert checked.code == 0, checked.stderr
    assert WARNING.search(checked.stderr) and checked.stderr.count("Warning: ") == 1

    # Before the package is installed, too.
    packaged = {"mcpServers": {"mine": {"package": "npm:@tacticlaunch/mcp-linear", "auth": auth}}}
    (tmp_path / "package.json").write_text(json.dumps(packaged), encoding="utf-8")
    refused = await run_fluidmcp("validate", "package.json", cwd=tmp_path)
    assert refused.code == 2 and WARNING.search(refused.stderr)

    # The provider's addresses lead nowhere here; the warning comes before they are asked.
    nowhere = {**auth, "authorization_url": "http://127.0.0.1:9/a", "token_url": "http://127.0.0.1:9/t"}
    document = {"mcpServers": {"mine": {**good, "auth": {**nowhere, "issuer": None}}}}
    (tmp_path / "local.json").write_text(json.dumps(document), encoding="utf-8")
    examined = await run_fluidmcp("doctor", "local.json", cwd=tmp_path)
    (line,) = [line for line in examined.stdout.splitlines() if line.startswith("warning  variable:")]
    assert WARNING.search(line)

    looked = await run_fluidmcp("run", "wrong.json", cwd=tmp_path)
    assert looked.code == 0, looked.stderr
    assert len(WARNING.findall(looked.stderr)) == 1
    async with start_fluidmcp("run", "wrong.json", "--start-server", cwd=tmp_path) as gateway:
        await gateway.stderr.wait_for("LINEAR_OAUTH_ACCESS_TOKEN")
        assert gateway.stderr.text.count("LINEAR_API_TOKEN") == 1
