"""docs/servers.md is what the catalogue and the tests of its servers say, and its entries can be read."""

import json
import re

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.logins.read import list_logins
from fluidmcp.packages.catalogue.describe import list_exports
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from tests.entries import read_entry
from tests.packages.catalogue.known import KEYS, KNOWN, LINES, OPEN
from tests.requirements.server_docs import NOT_TRIED, PAGE, ROOT, describe_proof, load_seen, render_page

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_that_of_the_catalogue_and_of_what_was_seen():
    assert render_page(load_seen()) == TEXT, "run scripts/update-docs"


def find_section(text: str, name: str) -> str:
    section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None
    return section[1]


@pytest.mark.parametrize("name", KNOWN_SERVERS)
def test_each_server_has_a_section_whose_entry_can_be_read(name: str):
    section = find_section(TEXT, name)
    (block,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    server = KNOWN_SERVERS[name]
    assert json.loads(block) == {"mcpServers": {name: server.entry}}
    auth = read_entry(name, server.entry, environ=dict.fromkeys(server.asks, "1")).auth
    blocks = [block for _, block in list_logins(auth) if isinstance(block, AuthBlock)]
    variables = {name for block in blocks for name in (block.client_id_env, block.client_secret_env) if name}
    assert {*variables, *server.asks} == {export.name for export in list_exports(server)}
    assert all(f"export {export.name}=" in section for export in list_exports(server))


SEEN = {
    "lines": {
        "package": "npm:@somebody/mcp-lines@1.4.3",
        "proof": "call",
        "tools": 3,
        "tool": "list",
        "credential": {
            "GET x/a": ["authorization: Bearer TOKEN"],
            "GET x/b": ["authorization: Bearer TOKEN", "body: token=T"],
        },
    },
    "keys": {"package": "npm:mcp-keys@2.0.0", "proof": "tools", "tools": 7},
    "pages": {"package": "pypi:mcp-pages==0.0.1", "proof": "tools", "tools": 7},
}


def test_what_was_seen_of_a_server_is_told_of_that_version_alone():
    assert (
        describe_proof(LINES, SEEN)
        == "call of `list`, seen at the API as `Authorization: Bearer TOKEN` and `token=T` in the body"
    )
    assert describe_proof(KEYS, SEEN) == "start: 7 tools listed"
    assert [describe_proof(KNOWN["pages"], SEEN), describe_proof(OPEN, SEEN)] == [NOT_TRIED, NOT_TRIED]


def test_a_section_has_what_the_server_needs_and_nothing_else():
    page = render_page(SEEN, KNOWN)
    lines, keys = find_section(page, "lines"), find_section(page, "keys")
    assert "Register `http://localhost:8099/lines/auth/callback` with [Linear](providers/presets.md#linear)" in lines
    assert 'export LINES_SITE="..."' in lines and "- It surprises.\n" in lines
    assert "Register" not in keys and "```bash" not in keys
    assert "At `http://localhost:8099/keys/auth/login` each person types: API key, Site name.\n" in keys
    assert f"`open-server --stdio`, {NOT_TRIED}.\n" in find_section(page, "open")
    assert "\n\n\n" not in page


def test_the_login_page_leads_from_a_readme_to_an_entry_that_can_be_read():
    page = (ROOT / "docs" / "package-login.md").read_text(encoding="utf-8")
    readme, ours = re.findall(
        r"```json\n(.*?)```", find_section(page, "From the README of a server to an entry"), re.DOTALL
    )
    before, after = (json.loads(text)["mcpServers"]["tracker"] for text in (readme, ours))
    entry = read_entry("tracker", after)
    assert entry.auth is not None and entry.personal_variables == {"TRACKER_TOKEN"}
    assert before["env"].keys() == {*after["env"], *entry.personal_variables}
    assert f"npm:{before['args'][1]}@1.2.3" == after["package"] and before["args"][2:] == after["args"]
    assert f"fluidmcp install {after['package']}\n" in page
    assert "fluidmcp providers linear --package tracker" in page
