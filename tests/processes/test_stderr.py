import logging

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.processes.stderr import MAX_LINE_CHARACTERS, StderrTail

TOKEN = "ya29.a0-canary/tok+en=="


def tail(*chunks: bytes, secrets: tuple[str, ...] = (TOKEN,)) -> tuple[str, ...]:
    kept = StderrTail("mail", tuple(Secret(text) for text in secrets))
    for chunk in chunks:
        kept.feed(chunk)
    kept.end()
    return kept.lines()


def test_the_last_twenty_lines_are_kept_and_cut() -> None:
    lines = tail(b"".join(b"%d " % number + b"x" * 600 + b"\n" for number in range(30)))
    assert [line.split()[0] for line in lines] == [str(number) for number in range(10, 30)]
    assert {len(line) for line in lines} == {MAX_LINE_CHARACTERS}


def test_a_line_may_come_in_pieces_and_end_without_a_newline() -> None:
    assert tail(b"on", b"e\r\ntw", b"o") == ("one", "two")


def feed_on(*chunks: bytes) -> tuple[str, ...]:
    """The lines while more may come."""
    kept = StderrTail("mail", (Secret(TOKEN),))
    for chunk in chunks:
        kept.feed(chunk)
    return kept.lines()


def test_a_line_that_goes_on_is_shown() -> None:
    assert feed_on(b"loading\nYour name?") == ("loading", "Your name?")
    assert feed_on(*[b"%d\n" % number for number in range(20)], b"and")[-2:] == ("19", "and")
    assert len(feed_on(*[b"%d\n" % number for number in range(20)], b"and")) == 20


@pytest.mark.parametrize("size", [1, 4, len(TOKEN) - 1, len(TOKEN)])
def test_a_line_that_goes_on_shows_no_part_of_a_secret(size: int) -> None:
    assert feed_on(b"it is " + TOKEN[:size].encode()) in (("it is",), ("it is ***",))


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        "ya29.a0-canary%2Ftok%2Ben%3D%3D",
        '{"token": "ya29.a0-canary/tok+en=="}',
        "\x1b[1mya29.a0-\x1b[0mcanary/tok+en==",
        "ya29.a0-\x00canary/tok+en==",
    ],
)
def test_a_secret_is_masked_however_it_is_written(text: str) -> None:
    (line,) = tail(text.encode() + b"\n")
    assert "canary" not in line
    assert "***" in line


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN KEY-----\ncanary0001\ncanary0002\n-----END KEY-----"
    assert "canary" not in " ".join(tail(key.encode(), secrets=(key,)))


@pytest.mark.parametrize("before", [490, 8 * 1024 - 5, 8 * 1024 + 5])
def test_no_cut_leaves_a_part_of_a_secret(before: int) -> None:
    for line in tail(b"." * before + TOKEN.encode() + b"!" * 9000 + b"\n"):
        assert "ya29" not in line


def test_a_part_of_a_secret_behind_masked_ones_is_cut_off() -> None:
    long = "canary-" * 400
    for line in tail(long.encode() * 10 + b"\n", secrets=(long,)):
        assert "canary" not in line


def test_a_long_line_costs_no_memory() -> None:
    assert [len(line) for line in tail(*[b"x" * 65536] * 200, b"\nend\n")] == [MAX_LINE_CHARACTERS, 3]


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert tail("\x1b]0;title\x07a\x1b[31mb\u202ec\x85d\te".encode()) == ("abcd e",)


def test_the_log_at_debug_is_redacted_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tail(b"token is " + TOKEN.encode() + b"\n")
    assert "token is ***" in caplog.text
    assert "canary" not in caplog.text
