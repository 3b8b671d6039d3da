"""What docs/providers says of presets is what the table says, and its entries can be read."""

import json
import re

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.providers.table import PRESETS
from tests.entries import read_entry
from tests.requirements.provider_docs import FOLDER, render_page, render_readme

PAGE = (FOLDER / "presets.md").read_text(encoding="utf-8")


def test_the_pages_are_those_of_the_table():
    assert render_page() == PAGE, "run scripts/update-docs"
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert render_readme(readme) == readme, "run scripts/update-docs"


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_has_a_section_whose_entry_can_be_read(name: str):
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None
    (block,) = re.findall(r"```json\n(.*?)```", section[1], re.DOTALL)
    ((package, entry),) = json.loads(block)["mcpServers"].items()
    auth = read_entry(package, entry).auth
    assert isinstance(auth, AuthBlock) and auth.provider == name
    assert f"export {auth.client_id_env}=" in section[1]
    assert f"export {auth.client_secret_env}=" in section[1]
