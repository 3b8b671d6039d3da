"""Placeholders in our own spelling mean what they meant before."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.filling.expand import BareNames, Expander, ExpansionError
from fluidmcp.packages.importing.texts import OWN, Literal, Spelling, join_text, split_text

ENVIRON = {"A": "one", "TOKEN": "two", "EMPTY": "", "userHome": "three"}
PIECES = st.sampled_from(
    ["$", "{", "}", "${", "$${", "$A", "${A}", "${env:TOKEN}", "{env:A}", "${NONE:-d}", "${NONE:-${A}}", "${EMPTY-x}"]
    + ["${{ secrets.TOKEN }}", "${userHome}", "${env:userHome}", "${/}", "${workspaceFolder}", "x", " ", ":-", "TOKEN"]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def expand(text: str, *, bare_names: BareNames = "whole", braces: bool = False) -> str:
    expander = Expander(
        environ=ENVIRON, workspace="/srv", home="/home/ada", bare_names=bare_names, braces_name_variables=braces
    )
    return expander.expand(text)


@given(TEXTS, st.sampled_from(["none", "whole", "anywhere"]), st.booleans())
def test_a_text_means_the_same_in_our_own_spelling(text: str, bare_names: BareNames, braces: bool):
    braces = braces and bare_names == "none"
    try:
        meant = expand(text, bare_names=bare_names, braces=braces)
    except ExpansionError:
        return
    try:
        written = join_text(split_text(text, Spelling(bare_names=bare_names, braces_name_variables=braces)))
    except ExpansionError:
        # `{env:NAME}` inside of `${...}` is put together before it is read, which cannot be written otherwise.
        assert braces
        return
    if not (braces and "{env:" in text and "$" in text):
        assert expand(written) == meant


@given(st.text(alphabet=st.sampled_from("${}AB:-_ x"), max_size=12))
def test_text_that_means_itself_stays_what_it_is(text: str):
    assert expand(join_text([Literal(text)])) == text
    assert "".join(expand(join_text([part])) for part in split_text(join_text([Literal(text)]), OWN)) == text


@pytest.mark.parametrize(
    ("text", "spelling", "written"),
    [
        ("${env:A}", Spelling(), "${A}"),
        ("{env:A}", Spelling(braces_name_variables=True), "${A}"),
        ("${{ secrets.my-key }}", Spelling(), "${MY_KEY}"),
        ("$A", Spelling(bare_names="whole"), "${A}"),
        ("a $A b", Spelling(bare_names="whole"), "a $A b"),
        ("a $A b", Spelling(bare_names="anywhere"), "a ${A} b"),
        ("${env:A:-$${x}}", Spelling(), "${A:-$${x}}"),
        ("${input:old}", Spelling(input_ids={"old": "new"}), "${input:new}"),
        ("${user_config.old}", Spelling(), "${input:old}"),
        ("${workspaceFolder}/x", Spelling(workspace=(Literal("/p$"),)), "/p$/x"),
        ("${workspaceFolder}${A}", Spelling(workspace=(Literal("/p$"),)), "/p${LITERAL_DOLLAR:-$}${A}"),
    ],
)
def test_each_spelling(text: str, spelling: Spelling, written: str):
    assert join_text(split_text(text, spelling)) == written


def test_a_variable_named_like_a_word_of_ours_keeps_its_kind():
    for name, default in itertools.product(("userHome", "workspaceFolder"), ("", ":-d")):
        text = f"${{env:{name}{default}}}"
        assert expand(join_text(split_text(text, Spelling()))) == expand(text) if name in ENVIRON or default else True
