"""Texts that were written to keep the reader busy, or to break what comes behind it (threat E14's kind of stranger)."""

import time

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.formats.documents import decode_document

_LIMIT_SECONDS = 30.0
"""Each took minutes, or for ever."""


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1,' + "/**/" * 5000 + '"b": 2}',
        '{"a": 1,' + "/" * 50_000 + '\n"b": 2}',
        '{"a": [1' + ",\n// c // d" * 5000 + "\n2]}",
        "[mcp_servers.x]\n" + ".".join(["a"] * 50_000) + " = 1\n",
        "[mcp_servers.x]\n" + " . ".join(['"a"', "'b'"] * 25_000) + " = 1\n",
        "mcpServers: [" + "1," * 1_000_000 + "]\n",
    ],
    ids=["block comments", "slashes", "line comments", "TOML key", "TOML key in quotes", "YAML list"],
)
def test_the_time_to_read_a_file_grows_with_its_size_and_not_faster(text: str) -> None:
    begun = time.monotonic()
    try:
        decode_document(text.encode(), source="hostile")
    except ConfigurationError:
        pass
    assert time.monotonic() - begun < _LIMIT_SECONDS


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\uDFFF": 1}', 'a: "\\ud800"\n', 'a: "\\U0000d800"\n'])
def test_half_a_character_is_refused_with_its_file(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        decode_document(text.encode(), source="hostile")
    assert "half of a character" in refused.value.why


def test_a_whole_character_in_two_halves_and_a_dotted_text_are_read() -> None:
    assert decode_document(b'{"a": "\\ud83d\\ude00"}', source="x") == {"a": "\U0001f600"}
    assert decode_document(b'[mcp_servers.x]\nurl = "a.b.c.d"\n', source="x")["mcp_servers"]
    assert decode_document(b'{"a": [1, /* c */ // d\n], "b": "/**/,]"}', source="x") == {"a": [1], "b": "/**/,]"}
