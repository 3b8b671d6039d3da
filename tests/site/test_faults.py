"""What must not be in the documentation ends the build of its site."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.site.building import build_site, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def add(repository: Path, text: str) -> None:
    page = repository / "docs" / "page.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


def test_a_sound_repository_becomes_a_site(repository: Path, tmp_path: Path):
    add(repository, "[code](../src/code.py), [folder](../src), [the root](../README.md)")
    done = build_site(tmp_path / "site", root=repository)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "site" / "docs" / "page.html").read_text(encoding="utf-8")
    assert 'href="../README.html"' in page
    assert "code.py" not in page
    side_bar = re.sub(r"\s+", " ", page.partition('class="sidebar-tree"')[2].partition("</div>")[0])
    assert re.findall(r'caption-text">([^<]+)<', side_bar) == ["Read"]
    assert re.findall(r'href="([^"]*)">([^<]+)</a>', side_bar) == [("#", "A page"), ("../README.html", "The root")]
    assert ">code<" in page.replace('<span class="pre">', "").replace("</span>", "")


FAULTS: Final = {
    "[x](nothing.md)": "'nothing.md'",
    "[x](../README.md#nothing)": "local id not found in doc 'README': 'nothing'",
    "[x](#not-here)": "'not-here'",
    "[x](../src/nothing.py)": "'../src/nothing.py'",
    "[x](../nowhere)": "'../nowhere'",
    "[x](../..)": "'../..'",
    "![x](nothing.png)": "image file not readable: docs/nothing.png",
}


@pytest.mark.parametrize("fault", ["[x](nothing.md)", "[x](../README.md#nothing)"])
def test_one_dead_link_or_anchor_ends_the_build(fault: str, repository: Path, tmp_path: Path):
    add(repository, fault)
    done = build_site(tmp_path / "site", root=repository)
    assert done.returncode == 1
    assert FAULTS[fault] in done.stderr
    assert done.stderr.count("WARNING") == 1, done.stderr


def test_everything_that_leads_nowhere_is_named(repository: Path, tmp_path: Path):
    for fault in FAULTS:
        add(repository, fault)
    (repository / "docs" / "lost.md").write_text("# Lost\n", encoding="utf-8")
    done = build_site(tmp_path / "site", root=repository)
    assert done.returncode == 1
    assert [complaint for complaint in FAULTS.values() if complaint not in done.stderr] == []
    assert "lost.md: WARNING: document isn't included in any toctree" in done.stderr
    assert done.stderr.count("WARNING") == len(FAULTS) + 1, done.stderr


def test_a_folder_of_somebody_else_is_not_written_over(repository: Path, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear", encoding="utf-8")
    done = build_site(tmp_path / "home", root=repository)
    assert done.returncode == 1
    assert "choose another folder" in done.stderr
    assert (tmp_path / "home" / "letter.txt").read_text(encoding="utf-8") == "dear"
