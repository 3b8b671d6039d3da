"""Known servers in words."""

import json
import re
from dataclasses import replace

from fluidmcp.config.reading import list_texts
from fluidmcp.packages.catalogue.describe import (
    describe_credential,
    describe_needs,
    entry_to_copy,
    has_redirect,
    install_command,
    list_exports,
    list_remarks,
    list_right_variables,
    name_provider,
    show_provider,
)
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from fluidmcp.packages.importing.credentials import find_secrets
from tests.entries import read_entry
from tests.packages.catalogue.known import KEYS, LINES, OPEN, PAGES

ALL = (LINES, PAGES, KEYS, OPEN)


def test_what_the_operator_exports_is_the_client_and_what_the_server_asks_for():
    assert [export.line for export in list_exports(LINES)] == [
        'export LINEAR_CLIENT_ID="your-client-id"',
        'export LINEAR_CLIENT_SECRET="your-client-secret"  # leave it out for a client without a secret',
        'export LINES_SITE="..."  # the name of your site',
    ]
    assert [describe_needs(server) for server in ALL] == [
        "LINEAR_CLIENT_ID, [LINEAR_CLIENT_SECRET], LINES_SITE",
        "-",
        "-",
        "-",
    ]


def test_an_entry_whose_login_is_at_no_provider_has_nothing_to_register():
    assert [show_provider(server) for server in ALL] == ["linear", "notion", "keys", "-"]
    assert [has_redirect(server) for server in ALL] == [True, True, False, False]


def test_a_provider_without_a_preset_is_called_by_its_host():
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": "https://api.example.com/authorize",
        "token_url": "https://api.example.com/token",
        "token_endpoint_auth_method": "basic",
        "client_id_env": "EX_CLIENT_ID",
        "client_secret_env": "EX_CLIENT_SECRET",
        "env_var_name": "EX_TOKEN",
    }
    server = KnownServer(name="ex", title="Ex", entry={"package": "npm:ex@1.0.0", "auth": auth})
    assert (show_provider(server), name_provider(server), name_provider(LINES)) == (*["api.example.com"] * 2, "Linear")
    assert describe_needs(server) == "EX_CLIENT_ID, EX_CLIENT_SECRET"
    assert describe_credential(server) == "`EX_TOKEN`"


def test_how_the_credential_goes_in_is_told_for_each_form():
    assert [describe_credential(server) for server in ALL] == [
        "`LINES_OAUTH_TOKEN`",
        "`PAGES_HEADERS (JSON)`, `PAGES_AUTH=Bearer ${auth.access_token}`, `PAGES_TOKEN`, the file `~/.pages.json`, "
        "a file that `PAGES_FILE` names, an argument",
        "API key: `KEYS_API_KEY`, an argument; Site name: `KEYS_URL=https://${keys.site_name}.example.com`",
        "-",
    ]
    assert list_right_variables(PAGES) == ("PAGES_HEADERS", "PAGES_AUTH", "PAGES_TOKEN")


def test_the_command_that_installs_it_is_one_for_a_shell():
    assert [install_command(server) for server in ALL] == [
        "fluidmcp install npm:@somebody/mcp-lines@1.4.3",
        "fluidmcp install 'pypi:mcp-pages[all]==0.3.1' --python 3.12",
        "fluidmcp install npm:mcp-keys@2.0.0",
        None,
    ]


def test_remarks_tell_the_wrong_variables_the_address_of_its_api_and_what_surprises():
    assert list_remarks(LINES) == (
        "A person's token in LINES_API_KEY or LINES_KEY goes out without Bearer.",
        "Where its API has another address, put that into env as LINES_URL.",
        "It surprises.",
    )
    assert list_remarks(replace(LINES, asks={"LINES_URL": "its address"}))[1:] == ("It surprises.",)
    (note,) = list_remarks(replace(LINES, wrong_variables={}, notes=("The address of yours: LINES_URL.",)))
    assert note == "The address of yours: LINES_URL."


def test_each_entry_of_the_catalogue_can_be_copied_and_holds_no_secret():
    for server in KNOWN_SERVERS.values():
        text = entry_to_copy(server, name="mine")
        entry = json.loads(text)["mcpServers"]["mine"]
        assert entry == server.entry
        asked = {name: "1" for name in server.asks}
        assert read_entry("mine", entry, environ=asked).name == "mine"
        plain = [re.sub(r"\$\{[^{}]*\}", "", value) for value in list_texts(entry)]
        assert not [value for value in plain if any(find_secrets(value))]
