"""What is printed cannot steer the terminal, and a reader that went away does not end the program."""

import subprocess
import sys

import pytest

from fluidmcp.cli.output import print_coloured, print_error, print_line, print_table
from fluidmcp.errors import ConfigurationError


def test_an_error_is_three_lines_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]):
    print_error(ConfigurationError("what\nelse", why="why\x1b[2J", hint="do\r"), detail=["last \x07 line"])
    assert capsys.readouterr().err.splitlines() == [
        "Error: what\\nelse",
        "  Why: why\\x1b[2J",
        "  Do: do\\r",
        "  | last \\x07 line",
    ]


def test_empty_parts_are_left_out_and_the_subject_is_named(capsys: pytest.CaptureFixture[str]):
    print_error(ConfigurationError("It failed."), subject="mail")
    print_error(ConfigurationError("The server mail failed."), subject="mail")
    assert capsys.readouterr().err.splitlines() == ["Error: mail: It failed.", "Error: The server mail failed."]


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]):
    print_table(("A", "BB"), [("long one", "x"), ("s", "y\n")])
    assert capsys.readouterr().out == "A         BB\nlong one  x\ns         y\\n\n"


def test_colours_are_ours_and_nothing_else_steers(capsys: pytest.CaptureFixture[str]):
    print_coloured("bad\x1b[2J", " text\x1b[2J", "red")
    print_coloured("good", " text", None)
    print_table(("A", "B"), [("bad", "x\x1b"), ("s", "bad")], colours={"bad": "red"})
    red, end = "\x1b[31m", "\x1b[0m"
    assert capsys.readouterr().out.splitlines() == [
        f"{red}bad\\x1b[2J{end} text\\x1b[2J",
        "good text",
        "A    B",
        f"{red}bad{end}  x\\x1b",
        f"s    {red}bad  {end}",
    ]


def test_text_that_the_terminal_cannot_show_is_escaped(capsysbinary: pytest.CaptureFixture[bytes]):
    print_line("caf\u00e9 \ud800")
    assert capsysbinary.readouterr().out == "caf\u00e9 \\ud800\n".encode()


def test_a_reader_that_went_away_does_not_end_the_program():
    code = (
        "import sys\n"
        "from fluidmcp.cli.output import print_line\n"
        "sys.stdin.readline()\n"
        "print_line('one'); print_line('two')\n"
        "sys.stderr.write('still here')"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b"still here"
    assert process.returncode == 0
