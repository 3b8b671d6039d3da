"""What a tool answered: texts on stdout, everything else into files, and nothing of it reaches the terminal raw."""

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.cli.calls.answers import print_answer, print_json
from fluidmcp.errors import ConfigurationError, UserError

PNG = b"\x89PNG\r\n\x1a\n"
IMAGE = {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}
FILE = {"type": "resource", "resource": {"uri": "x:y", "blob": base64.b64encode(b"abc").decode(), "mimeType": "a/b"}}


def answer(*parts: dict[str, Any], **more: Any) -> dict[str, object]:
    return {"content": list(parts), **more}


def test_texts_keep_lines_and_tabs_and_lose_what_steers_a_terminal(capsys: pytest.CaptureFixture[str]):
    hostile = "a\tb\r\n\x1b]52;c;AAAA\x07\x1b[2Jc\x9b31m\u202e"
    parts = (
        {"type": "text", "text": hostile},
        {"type": "resource_link", "name": "n\x1b[0m", "uri": "https://a.example/"},
        {"type": "resource", "resource": {"uri": "x:y", "text": "inside"}},
        {"type": "unheard of", "text": "\x1b[0m"},
    )

    print_answer(answer(*parts), tool="t", output=None)

    out = capsys.readouterr().out
    assert out.splitlines()[0] == "a\tb"
    assert "inside" in out
    assert "https://a.example/" in out
    assert all(char.isprintable() or char in "\t\n" for char in out)


def test_what_has_no_text_shows_its_structure(capsys: pytest.CaptureFixture[str]):
    print_answer(answer(structuredContent={"a": "\x9bé"}), tool="t", output=None)

    assert capsys.readouterr().out == '{\n  "a": "\\u009b\\u00e9"\n}\n'


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]):
    print_json({"a": "\x1b\u202e\x7f"})

    assert capsys.readouterr().out == '{\n  "a": "\\u001b\\u202e\x7f"\n}\n'.replace("\x7f", "\\u007f")


def test_an_image_is_named_or_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    print_answer(answer(IMAGE), tool="t", output=None)
    assert "[image, image/png, 8 bytes: --output PATH saves it]" in capsys.readouterr().err

    path = tmp_path / "a.png"
    print_answer(answer(IMAGE), tool="t", output=str(path))

    assert path.read_bytes() == PNG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="is there already"):
        print_answer(answer(IMAGE), tool="t", output=str(path))
    assert capsys.readouterr().out == ""


def test_several_go_into_a_folder_under_names_of_ours(tmp_path: Path):
    with pytest.raises(UserError, match="has 2 files"):
        print_answer(answer(IMAGE, FILE), tool="../x", output=str(tmp_path / "a"))

    print_answer(answer(IMAGE, FILE), tool="../x", output=str(tmp_path))

    assert sorted(os.listdir(tmp_path)) == ["---x-1.png", "---x-2.bin"]
    assert (tmp_path / "---x-2.bin").read_bytes() == b"abc"


def test_nothing_to_save_is_said():
    with pytest.raises(UserError, match="nothing to save"):
        print_answer(answer({"type": "text", "text": "x"}), tool="t", output="a")
