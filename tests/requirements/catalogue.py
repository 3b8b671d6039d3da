"""The promises and threats that tests carry as marks, read from the data files here and shown as pages of docs/."""

import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
COLLECT_TIMEOUT_SECONDS = 120

TestsById = dict[str, list[str]]
"""`{"112": ["tests/…::test_…"]}`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A part of the work; once it is `finished`, each of its rows needs a test."""

    title: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One row of promises.toml or threats.toml. `id` is "26" or "B17"; `not_testable` says why no test can show it."""

    id: str
    area: str
    text: str
    answer: str = ""
    not_testable: str = ""


class Promise(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    area: str
    says: str
    not_testable: str = ""


class Threat(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    area: str
    attack: str
    answer: str


def load_areas() -> dict[str, Area]:
    return msgspec.convert(_load("areas.toml"), dict[str, Area])


def load_promises() -> list[Requirement]:
    rows = msgspec.convert(_load("promises.toml")["promises"], list[Promise])
    return [Requirement(id=str(p.number), area=p.area, text=p.says, not_testable=p.not_testable) for p in rows]


def load_threats() -> list[Requirement]:
    rows = msgspec.convert(_load("threats.toml")["threats"], list[Threat])
    return [Requirement(id=t.id, area=t.area, text=t.attack, answer=t.answer) for t in rows]


def without_test(rows: list[Requirement], areas: dict[str, Area], tests: TestsById) -> list[str]:
    """The ids of finished work that no test carries."""
    return [row.id for row in rows if areas[row.area].finished and not row.not_testable and not tests.get(row.id)]


def unknown_marks(rows: list[Requirement], tests: TestsById) -> list[str]:
    """The ids that tests carry and no row has."""
    return sorted(set(tests) - {row.id for row in rows})


def collect_marks() -> dict[str, TestsById]:
    """Collect the whole suite in a process of its own; `{"promise": …, "threat": …}`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "marks.json"
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--marks-to"]
        subprocess.run(
            [*command, str(target)], cwd=ROOT, check=True, capture_output=True, timeout=COLLECT_TIMEOUT_SECONDS
        )
        return msgspec.json.decode(target.read_bytes(), type=dict[str, TestsById])


def render_promises(tests: TestsById) -> str:
    """The text of docs/promises.md."""
    head = (
        "# What is promised, and the tests that show it\n\n"
        "Every statement that the guides make to a user: 1-64 gateway-wide OAuth, 65-126 the login per package.\n"
        "Made by `scripts/update-docs` from `tests/requirements/promises.toml` and the marks of the tests.\n"
    )
    return head + "".join(_sections(load_promises(), tests, columns="| # | promise | shown by |\n|---|---|---|\n"))


def render_threats(tests: TestsById) -> str:
    """The text of docs/threats.md."""
    head = (
        "# Attacks, and the answer that each gets\n\n"
        "V: bearer tokens. B: the login per package. C: the login on the user's machine. D: found by a review of the\n"
        "design. E: hostile servers. AS is the provider's authorization server, RT a refresh token.\n"
        "Made by `scripts/update-docs` from `tests/requirements/threats.toml` and the marks of the tests.\n"
    )
    columns = "| id | attack | answer | shown by |\n|---|---|---|---|\n"
    return head + "".join(_sections(load_threats(), tests, columns=columns))


def write_docs(tests: dict[str, TestsById], folder: Path = ROOT / "docs") -> None:
    (folder / "promises.md").write_text(render_promises(tests["promise"]), encoding="utf-8")
    (folder / "threats.md").write_text(render_threats(tests["threat"]), encoding="utf-8")


def _sections(rows: list[Requirement], tests: TestsById, *, columns: str) -> list[str]:
    sections: list[str] = []
    for key, area in load_areas().items():
        mine = [row for row in rows if row.area == key]
        if mine:
            later = "" if area.finished else "\nNot built yet.\n"
            lines = [_line(row, tests.get(row.id, [])) for row in mine]
            sections.append(f"\n## {area.title}\n{later}\n{columns}" + "".join(lines))
    return sections


def _line(row: Requirement, tests: list[str]) -> str:
    shown_by = ", ".join(_link(test) for test in sorted(tests)) or row.not_testable or "-"
    cells = [row.id, row.text, row.answer, shown_by] if row.answer else [row.id, row.text, shown_by]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name}](../{file})"


def _load(name: str) -> dict[str, object]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    write_docs(collect_marks())
