"""Command lines, and which of their words are secrets."""

import pytest

from fluidmcp.packages.importing.command_words import mask_args

GITHUB = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("command", "args", "shown"),
    [
        ("npx", ["-y", "server", "--api-key", "hunter2"], "-y server --api-key ***"),
        ("npx", ["--api-key=hunter2", "--port", "80"], "--api-key=*** --port 80"),
        ("npx", ["--api-key", "${KEY}", "--key=${env:K}"], "--api-key ${KEY} --key=${env:K}"),
        ("npx", ["--api-key", "${KEY:-hunter2}", "--token=${K:-hunter2}"], "--api-key *** --token=***"),
        ("npx", ["--header", "Authorization: Bearer ${auth.access_token}"], None),
        ("npx", ["--header", "Authorization: Bearer hunter2"], "--header Authorization: Bearer ***"),
        ("npx", [GITHUB, "${", "$${a}", "https://ada:hunter2@x"], "*** ${ $${a} https://ada:***@x"),
        ("sh", ["-c", "TOKEN=hunter2 exec server --api-key $KEY"], "-c TOKEN=*** exec server --api-key $KEY"),
    ],
)
def test_what_is_shown_of_arguments_holds_no_secret(command: str, args: list[str], shown: str | None):
    assert " ".join(mask_args(command, args)) == (" ".join(args) if shown is None else shown)
