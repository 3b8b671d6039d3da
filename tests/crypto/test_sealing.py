"""Sealing: what was sealed opens for the same purpose and context, and nothing else opens at all."""

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import GatewaySettings, load_settings
from fluidmcp.crypto import sealing
from fluidmcp.crypto.sealing import MAX_PLAINTEXT_BYTES, MAX_SEALED_CHARS, PREFIX, Sealer
from fluidmcp.errors import ConfigurationError

KEY_A = base64.b64encode(bytes(range(32))).decode()
KEY_B = base64.b64encode(bytes(range(32, 64))).decode()
SEALER = Sealer([Secret(KEY_A)])
SEALED = SEALER.seal("state", ("mail", "ada"), b"the plaintext")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

any_text = st.text(st.characters() | st.sampled_from("\ud800\udc80\udfff"), max_size=20)
"""Lone surrogates among it: JSON can hold them."""
contexts = st.lists(any_text | st.binary(max_size=20), max_size=4)


@given(purpose=st.text(max_size=20), context=contexts, plaintext=st.binary(max_size=500))
def test_what_was_sealed_opens_for_the_same_purpose_and_context(
    purpose: str, context: Sequence[str | bytes], plaintext: bytes
):
    sealed = SEALER.seal(purpose, context, plaintext)
    assert SEALER.open(purpose, context, sealed) == plaintext
    assert sealed.startswith(PREFIX)
    assert set(sealed.removeprefix(PREFIX)) <= set(ALPHABET)
    assert plaintext not in base64.urlsafe_b64decode(sealed.removeprefix(PREFIX) + "==") or len(plaintext) < 8


def encode(items: Sequence[str | bytes]) -> list[bytes]:
    return [item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item for item in items]


@given(sealed_for=contexts, opened_for=contexts)
def test_it_opens_for_no_other_context(sealed_for: Sequence[str | bytes], opened_for: Sequence[str | bytes]):
    opened = SEALER.open("state", opened_for, SEALER.seal("state", sealed_for, b"x"))
    assert (opened == b"x") == (encode(sealed_for) == encode(opened_for))


@pytest.mark.parametrize(
    "context",
    [("abc",), ("a", "bc"), ("abc", ""), ("", "abc"), ("ab",), ("c", "ab"), (), ("ab", "c", "")]
    # The lengths that stand in front of each piece, forged inside of one.
    + [(b"ab" + (1).to_bytes(8, "big") + b"c",)],
)
def test_pieces_of_a_context_do_not_run_into_one_another(context: tuple[str | bytes, ...]):
    sealed = SEALER.seal("state", ("ab", "c"), b"x")
    assert SEALER.open("state", ("ab", "c"), sealed) == b"x"
    assert SEALER.open("state", context, sealed) is None


def test_it_opens_for_no_other_purpose():
    assert SEALER.open("token", ("mail", "ada"), SEALED) is None
    assert SEALER.open("", ("state", "mail", "ada"), SEALED) is None
    assert SEALER.open("state", ("mail", "ada"), SEALED) == b"the plaintext"


@given(position=st.integers(0, len(SEALED) - 1), character=st.characters() | st.sampled_from(ALPHABET))
def test_a_changed_character_anywhere_does_not_open(position: int, character: str):
    changed = SEALED[:position] + character + SEALED[position + 1 :]
    opened = SEALER.open("state", ("mail", "ada"), changed)
    assert opened == (b"the plaintext" if changed == SEALED else None)


@pytest.mark.parametrize("size", range(4))
def test_every_character_counts_whatever_the_length_of_the_text(size: int):
    """In base64 the last character can hold bits that belong to no byte."""
    sealed = SEALER.seal("state", (), b"x" * size)
    opening = [last for last in ALPHABET if SEALER.open("state", (), sealed[:-1] + last) is not None]
    assert opening == [sealed[-1]]


@given(length=st.integers(0, len(SEALED) - 1), more=st.text(min_size=1, max_size=5))
def test_a_shortened_or_lengthened_text_does_not_open(length: int, more: str):
    assert SEALER.open("state", ("mail", "ada"), SEALED[:length]) is None
    assert SEALER.open("state", ("mail", "ada"), SEALED + more) is None


@given(text=any_text | any_text.map(PREFIX.__add__) | st.text(ALPHABET, max_size=200).map(PREFIX.__add__))
def test_no_text_from_outside_opens_or_raises(text: str):
    assert SEALER.open("state", ("mail", "ada"), text) is None


def test_the_largest_plaintext_opens_and_a_larger_one_is_not_sealed():
    largest = SEALER.seal("state", (), b"x" * MAX_PLAINTEXT_BYTES)
    assert len(largest) == MAX_SEALED_CHARS
    assert SEALER.open("state", (), largest) == b"x" * MAX_PLAINTEXT_BYTES
    with pytest.raises(ValueError):
        SEALER.seal("state", (), b"x" * (MAX_PLAINTEXT_BYTES + 1))


def test_a_text_beyond_the_limit_does_not_open_even_if_it_is_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sealing, "MAX_PLAINTEXT_BYTES", MAX_PLAINTEXT_BYTES + 1)
    assert SEALER.open("state", (), SEALER.seal("state", (), b"x" * (MAX_PLAINTEXT_BYTES + 1))) is None


def test_two_seals_of_the_same_differ():
    assert SEALER.seal("state", (), b"x") != SEALER.seal("state", (), b"x")


def test_the_first_key_seals_and_all_open():
    old, new = Sealer([Secret(KEY_A)]), Sealer([Secret(KEY_B)])
    rotated = Sealer([Secret(KEY_B), Secret(KEY_A)])
    assert rotated.open("state", (), old.seal("state", (), b"x")) == b"x"
    sealed = rotated.seal("state", (), b"x")
    assert new.open("state", (), sealed) == b"x"
    assert old.open("state", (), sealed) is None


def test_a_removed_key_opens_nothing_any_more():
    sealed = Sealer([Secret(KEY_A)]).seal("state", (), b"x")
    assert Sealer([Secret(KEY_B)]).open("state", (), sealed) is None


def test_without_keys_each_sealer_makes_its_own():
    one, other = Sealer(), Sealer()
    sealed = one.seal("state", (), b"x")
    assert one.open("state", (), sealed) == b"x"
    assert other.open("state", (), sealed) is None


def test_a_key_id_that_is_ours_does_not_make_a_text_of_another_key_open():
    """The id stands in the clear, so anybody can copy it."""
    foreign = base64.urlsafe_b64decode(Sealer().seal("state", (), b"x").removeprefix(PREFIX) + "==")
    ours = base64.urlsafe_b64decode(SEALER.seal("state", (), b"x").removeprefix(PREFIX) + "==")
    forged = base64.urlsafe_b64encode(ours[:8] + foreign[8:]).decode().rstrip("=")
    assert SEALER.open("state", (), PREFIX + forged) is None


@pytest.mark.parametrize(
    "key", ["", "short", "canary!canary", base64.b64encode(b"canary" * 5).decode(), KEY_A + KEY_A, "canary\udc80é"]
)
def test_a_key_that_is_not_32_bytes_in_base64_is_refused_and_not_repeated(key: str):
    with pytest.raises(ConfigurationError) as caught:
        Sealer([Secret(KEY_B), Secret(key)])
    error = caught.value
    said = f"{error.what} {error.why} {error.hint} {error.__cause__!r}"
    assert error.__suppress_context__
    assert not key or key not in said


def test_a_sealer_does_not_print_its_keys():
    sealer = Sealer([Secret(KEY_A)])
    assert repr(sealer) == str(sealer) == "Sealer(1 keys)"


def test_keys_come_in_either_alphabet_of_base64_padded_or_not():
    raw = bytes([0xFB, 0xFF] * 16)
    standard, url_safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    assert standard != url_safe
    sealed = Sealer([Secret(standard)]).seal("state", (), b"x")
    for spelling in (standard.rstrip("="), url_safe, url_safe.rstrip("=")):
        assert Sealer([Secret(spelling)]).open("state", (), sealed) == b"x"


def test_keys_come_from_the_environment_in_their_order():
    keys = load_settings({"FMCP_SEAL_KEYS": f" {KEY_A}, {KEY_B} "}).seal_keys
    assert [key.reveal() for key in keys] == [KEY_A, KEY_B]
    assert KEY_A not in repr(load_settings({"FMCP_SEAL_KEYS": KEY_A}))


@pytest.mark.parametrize("environ", [{}, {"FMCP_SEAL_KEYS": ""}, {"FMCP_SEAL_KEYS": " "}])
def test_without_the_variable_there_are_no_keys(environ: dict[str, str]):
    assert load_settings(environ).seal_keys == GatewaySettings().seal_keys == ()


@pytest.mark.parametrize("text", ["canary", f"{KEY_A},canary", ",", f"{KEY_A} {KEY_B}", ",".join([KEY_A] * 17)])
def test_a_wrong_variable_is_told_with_all_other_faults_and_not_repeated(text: str):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_SEAL_KEYS": text, "FMCP_MAX_PROCESSES": "0"})
    why = caught.value.why
    assert "FMCP_SEAL_KEYS must be" in why
    assert "FMCP_MAX_PROCESSES" in why
    assert "canary" not in why
    assert KEY_A not in why
