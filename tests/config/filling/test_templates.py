"""Whatever a person's value holds: in its place it is exactly that value."""

import base64
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.filling.expand import Expander
from fluidmcp.config.filling.templates import (
    Credentials,
    ExpansionError,
    FillError,
    JsonText,
    Number,
    Placeholder,
    Template,
    list_secrets,
)

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)
BREAKERS = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u2028", "\u2029"} - {"\t"}
ONE_LINE = st.text(st.characters(codec="utf-8", exclude_characters="".join(BREAKERS)), min_size=1)
HOSTILE = ("${auth.access_token}", '"}', "%0a", "$(id)", "; rm -rf ~", "'\"`", "\\u0022", "</script>", "${HOME}")
ADA = Credentials(
    values={
        "auth.access_token": "tok/en+1=",
        "auth.scope": "mail.read",
        "auth.expires_at": "1700000000",
        "auth.expires_at_ms": "1700000000500",
        "auth.client_id": "c",
        "person.sub": "ada",
    },
    secret=frozenset({"auth.access_token"}),
)


def read(text: str, **environ: str) -> Template:
    return Expander(environ=environ, workspace="/w", home="/h").expand_template(text)


def person(value: str) -> Credentials:
    return Credentials(
        values={"auth.access_token": value, "person.sub": "x" + value}, secret=frozenset({"auth.access_token"})
    )


@pytest.mark.threat("E12")
@given(TEXTS | st.sampled_from(HOSTILE))
def test_json_parses_to_exactly_the_value(value: str) -> None:
    leaf = read("Bearer ${auth.access_token}")
    content = JsonText({"headers": [{"Authorization": leaf}, None, 1.5, True], "plain": read("a")})
    expected = {"headers": [{"Authorization": f"Bearer {value}"}, None, 1.5, True], "plain": "a"}
    assert json.loads(content.fill(person(value))) == expected


@pytest.mark.threat("E12")
@given(TEXTS | st.sampled_from(HOSTILE))
def test_filters_turn_back_into_exactly_the_value(value: str) -> None:
    quoted = read('{"a": ${auth.access_token|json}}').fill(person(value))
    assert json.loads(quoted) == {"a": value}
    address = read("postgresql://${auth.access_token|url}:x@host/db").fill(person(value))
    assert unquote(address.removeprefix("postgresql://").removesuffix(":x@host/db")) == value
    assert not set(address.removeprefix("postgresql://").removesuffix(":x@host/db")) & set(":/@?#&=+ ;'\"\r\n\0")
    encoded = read("${auth.access_token|base64}").fill(person(value))
    assert base64.b64decode(encoded).decode() == value
    twice = read("${auth.access_token|base64|url}").fill(person(value))
    assert base64.b64decode(unquote(twice)).decode() == value


@pytest.mark.threat("E12")
@given(ONE_LINE | st.sampled_from(HOSTILE))
def test_a_value_is_taken_literally(value: str) -> None:
    assert read("Bearer ${auth.access_token};$${x").fill(person(value)) == f"Bearer {value};${{x"


@pytest.mark.threat("B19")
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x0bb", "a\x85b", "a\u2028b", "a\x1b[0m"])
def test_a_value_breaks_no_line(value: str) -> None:
    with pytest.raises(FillError) as caught:
        read("Bearer ${auth.access_token}").fill(person(value))
    assert value not in str(caught.value)
    assert "${auth.access_token}" in str(caught.value)
    assert read("${auth.access_token|url}").fill(person(value)) != value


@pytest.mark.threat("E12")
@pytest.mark.parametrize("value", ["${auth.access_token}", "${person.sub|json}", "${X}", "$${"])
def test_what_an_operator_s_value_holds_stays_text(value: str) -> None:
    template = read("${X}-${X:-d}-${env:X}-${auth.access_token}", X=value)
    assert template.fill(ADA) == f"{value}-{value}-{value}-{ADA.values['auth.access_token']}"
    braces = Expander(environ={"X": value}, workspace="/w", home="/h", braces_name_variables=True)
    assert braces.expand_template("{env:X}") == Template((value,))


def test_every_name_has_its_value() -> None:
    text = "${auth.scope} ${auth.expires_at} ${auth.expires_at_ms} ${auth.client_id} ${person.sub}"
    assert read(text).fill(ADA) == "mail.read 1700000000 1700000000500 c ada"
    assert read("$${auth.access_token}") == Template(("${", "auth.access_token}"))


@pytest.mark.parametrize(
    "name", ["auth.scope", "auth.expires_at", "auth.expires_at_ms", "auth.client_id", "person.sub"]
)
def test_what_is_not_known_is_named(name: str) -> None:
    unknown = Credentials(values={"auth.access_token": "t"})
    with pytest.raises(FillError, match=f"needs ..{name.replace('.', '[.]')}., which the provider did not tell"):
        read(f"${{{name}}}").fill(unknown)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${auth.refresh_token}", "which no server is ever given"),
        ("${auth.client_secret}", "which no server is ever given"),
        ("${auth.google.refresh_token|json}", "which no server is ever given"),
        ("${auth.extra.refresh_token}", "which no server is ever given"),
        ("${auth.a.extra.client_secret}", "which no server is ever given"),
        ("${auth.extra.access_token}", "write ${auth.access_token}"),
        ("${auth.jira.extra.id_token}", "write ${auth.jira.id_token}"),
        ("${auth.extra.}", "is not known here"),
        ("${auth.extra.a.b}", "is not known here"),
        ("${keys.API}", "names no key"),
        ("${auth.acces_token}", "is not known here; known are ${auth.access_token}"),
        ("${person.name}", "is not known here"),
        ("${auth.access_token|sh}", "the filters are json, url, base64"),
        ("${auth.access_token|}", "the filters are json, url, base64"),
        ("${auth.access_token|json|json|json|json|json}", "more than 4 filters"),
        ("${TOKEN:-${auth.access_token}}", "cannot be the default of another one"),
        ("${auth.access_token", "without its }"),
    ],
)
def test_what_cannot_be_filled_in_is_told_when_it_is_read(text: str, why: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        read(text)
    assert why in str(caught.value)


def test_a_number_is_one_only_where_it_is_asked_for() -> None:
    number = Number(Placeholder("auth.expires_at_ms"))
    content = JsonText({"expiry_date": number, "shown": read("${auth.expires_at_ms}")})
    assert content.fill(ADA) == '{"expiry_date":1700000000500,"shown":"1700000000500"}'


def test_the_forms_of_the_token_are_known() -> None:
    contents = (read("Bearer ${auth.access_token|base64|url}"), read("${person.sub}"), read("${auth.access_token|url}"))
    assert list_secrets(contents, ADA) == {"tok/en+1=", "dG9rL2VuKzE9", "tok%2Fen%2B1%3D"}
    # Many a server makes that form of it by itself.
    assert list_secrets((), ADA) == {"tok/en+1=", "dG9rL2VuKzE9"}
