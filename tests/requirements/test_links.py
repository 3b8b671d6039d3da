"""Links between the Markdown files lead to a file that is there, and to a heading that it has."""

from pathlib import Path
from typing import Final

import pytest

from tests.requirements.links import find_dead_links

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("docs", "deploy", "scripts", "src", "benchmarks", "website")


def test_no_document_has_a_dead_link():
    pages = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    assert len(pages) > 40
    assert find_dead_links(ROOT, pages) == []


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [
        ("[x](other.md)", False),
        ("[x](other.md#the-first-heading)", False),
        ("[x](other.md#the-first-heading-1)", False),
        ("[x](other.md#run---start-server)", False),
        ("[x](#here)", False),
        ("[x](other.txt)", False),
        ("![x](other.txt)", False),
        ("[x](https://example.com/nothing#at-all)", False),
        ("`[x](nothing.md)`", False),
        ("[x](nothing.md)", True),
        ("![x](nothing.png)", True),
        ("[x](other.md#the-second-heading)", True),
        ("[x](other.md#in-code)", True),
        ("[x](#there)", True),
        ("[x](other.txt#line)", True),
        ("[x](/other.md)", True),
        ("| a |\n|---|\n| [x](nothing.md) |", True),
    ],
)
def test_a_dead_link_is_found(link: str, is_dead: bool, tmp_path: Path):
    other = "# The first heading\n\n# The first heading\n\n## `run`, --start-server\n\n```\n# in code\n```\n"
    (tmp_path / "other.md").write_text(other, encoding="utf-8")
    (tmp_path / "other.txt").touch()
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{link}\n", encoding="utf-8")
    assert bool(find_dead_links(tmp_path, [page])) is is_dead


def test_a_link_out_of_the_repository_is_dead(tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.md").touch()
    (inside / "page.md").write_text("[x](../secret.md)", encoding="utf-8")
    assert find_dead_links(inside, [inside / "page.md"]) == ["page.md: ../secret.md"]
