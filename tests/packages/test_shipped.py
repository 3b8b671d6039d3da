"""The package that FluidMCP ships is the one of the documents."""

import json
import sys
from pathlib import Path

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.packages.resolve import SHIPPED_DIRECTORY, load_packages, resolve

DOCUMENTED_AUTH = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_url": "https://oauth2.googleapis.com/token",
    "scopes": ["https://www.googleapis.com/auth/gmail.readonly"],
    "client_id_env": "GOOGLE_CLIENT_ID",
    "client_secret_env": "GOOGLE_CLIENT_SECRET",
    "env_var_name": "GMAIL_ACCESS_TOKEN",
}


@pytest.mark.promise(87)
@pytest.mark.parametrize("spec", ["test/gmail-mock@1.0.0", "gmail-mock"])
def test_gmail_mock_is_shipped_with_the_documented_auth_block(spec: str, tmp_path: Path) -> None:
    metadata = SHIPPED_DIRECTORY / "test" / "gmail-mock" / "1.0.0" / "metadata.json"
    loaded = load_packages(resolve(spec, working_directory=tmp_path, environ={}))

    assert json.loads(metadata.read_text())["mcpServers"]["gmail-mock"]["auth"] == DOCUMENTED_AUTH
    (entry,) = loaded.entries
    assert (entry.name, entry.command, entry.args) == ("gmail-mock", sys.executable, ("-m", "fluidmcp.demo.server"))
    assert isinstance(entry.auth, AuthBlock)
    assert entry.auth.env_var_name == "GMAIL_ACCESS_TOKEN"
