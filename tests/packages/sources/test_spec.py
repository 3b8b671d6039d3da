"""Names of packages of registries: what is read, and what never reaches npm or uv."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.entries import parse_package_name
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.sources.spec import SourceSpec, make_slug, parse_source_spec


@pytest.mark.parametrize(
    ("text", "spec", "slug"),
    [
        ("npm:server", SourceSpec(source="npm", name="server"), "server"),
        ("npm:@scope/name@1.2.3", SourceSpec(source="npm", name="@scope/name", version="1.2.3"), "scope-name"),
        ("npm:@scope/name", SourceSpec(source="npm", name="@scope/name"), "scope-name"),
        ("npm:a.b_c~d@1.0.0-rc.1+x", SourceSpec(source="npm", name="a.b_c~d", version="1.0.0-rc.1+x"), "a.b_c-d"),
        ("npm:server@next", SourceSpec(source="npm", name="server", version="next"), "server"),
        ("npm:server@1.2", SourceSpec(source="npm", name="server", version="1.2"), "server"),
        ("npm:server@latest", SourceSpec(source="npm", name="server"), "server"),
        ("npm:mcp", SourceSpec(source="npm", name="mcp"), "mcp-server"),
        ("pypi:server", SourceSpec(source="pypi", name="server"), "server"),
        ("pypi:My_Server==1.2", SourceSpec(source="pypi", name="my-server", version="1.2"), "my-server"),
        ("pypi:server@1.2.post1", SourceSpec(source="pypi", name="server", version="1.2.post1"), "server"),
        ("pypi:server==1.0-beta", SourceSpec(source="pypi", name="server", version="1.0b0"), "server"),
        ("pypi:server@latest", SourceSpec(source="pypi", name="server"), "server"),
        (
            "pypi:server[B_b, a]==1!2.0+cpu",
            SourceSpec(source="pypi", name="server", version="1!2.0+cpu", extras=("a", "b-b")),
            "server",
        ),
    ],
)
def test_a_name_of_a_registry_is_read(text: str, spec: SourceSpec, slug: str):
    assert parse_source_spec(text) == spec
    assert parse_source_spec(str(spec)) == spec
    assert spec.slug == slug == parse_package_name(slug, source="test")


@pytest.mark.threat("E14")
@pytest.mark.parametrize(
    "rest",
    ["", " ", "-g", "--global", ".", "..", "../x", "./x", "/x", "~/x", "x/y", "x/y/z", "@x", "@/x", "@x/", "@x/../y"]
    + ["git+ssh://git@host/x", "https://host/x.tgz", "file:x", "github:a/b", "npm:x", "x@npm:y", "x@file:y", "x@.."]
    + ["x@https://host/x", "x@a/b", "x@git@host:a/b", "x@", "x@-g", "x@--global", "x.tgz", "x@1.tar.gz", "x@y.tgz"]
    + ["x y", "x\n", "x\0", "x;y", "x&&y", "$(id)", "x@$(id)", "x@>=1", "x@*", "x@1||2", "x@^1.2", "ä", "x" * 300]
    + ["x@@1", ".x", "_x", "x@1 2", "x==1", "x[y"],
)
def test_what_is_no_name_reaches_neither_npm_nor_uv(rest: str):
    for text in (f"npm:{rest}", f"pypi:{rest}"):
        if text in ("pypi:x==1", "npm:x.tgz", "pypi:x.tgz"):
            continue
        with pytest.raises(ConfigurationError) as caught:
            parse_source_spec(text)
        assert caught.value.what.isprintable() and caught.value.hint


@pytest.mark.parametrize("text", ["npm:x.tgz", "npm:x==1", "npm:X", "pypi:x[-y]", "pypi:x[y", "pypi:x==1.*", "pip:x"])
def test_what_one_registry_allows_the_other_does_not(text: str):
    with pytest.raises(ConfigurationError):
        parse_source_spec(text)


@given(st.text(max_size=40), st.sampled_from(["npm:", "pypi:"]))
def test_any_text_is_read_or_refused_and_what_is_read_is_one_plain_word(text: str, source: str):
    try:
        spec = parse_source_spec(source + text)
    except ConfigurationError:
        return
    for word in (spec.name, spec.version, *spec.extras):
        assert not word.startswith(("-", ".", "/")) and ".." not in word.split("/") and ":" not in word
        assert word.isascii() and not any(char.isspace() for char in word)
    assert make_slug(spec.name) and "/" not in spec.slug
