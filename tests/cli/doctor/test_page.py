"""docs/doctor.md names each diagnosis that there is, and no other."""

import ast
import re
from collections.abc import Iterator

from tests.cli.doctor.test_seeded_faults import CERTIFICATES, FAULTS
from tests.parts import ROOT

WALK = ROOT / "src" / "fluidmcp" / "cli" / "doctor" / "walk"
FORMS = {"well_known", "login_document"}
"""Beginnings of codes that go on with what is wrong."""
ENDINGS = ("missing", "replaced", "redirected", "unknown")
OTHERS = {"authorization_code", "authorization_endpoint", "invalid_client"}
"""Words in other tuples."""
CODE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+|unreachable|blocked|refused|clock")
PARTS = ("scheme", "host", "port", "path")


def codes_of_the_page() -> set[str]:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    table = page[page.index("## What it names") :]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {code for cell in cells for code in re.findall(r"`([a-z_0-9]+)`", cell)}


def codes_of_the_source() -> set[str]:
    found = {f"{form}_{ending}" for form in FORMS for ending in ENDINGS} | {f"public_url_{part}" for part in PARTS}
    for path in WALK.rglob("*.py"):
        found.update(_constants(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _constants(tree: ast.Module) -> Iterator[str]:
    """First arguments of the functions that make a diagnosis, `code=`, and first items of tuples of three texts."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            values = [one.value for one in node.keywords if one.arg == "code"]
            values = [choice for value in values for choice in _choices(value)]
            values += node.args[:1] if name.startswith(("_found", "_of_")) else []
        elif isinstance(node, ast.Tuple) and len(node.elts) in (2, 3):
            values = node.elts[:1]
        for value in values:
            if isinstance(value, ast.Constant) and CODE.fullmatch(str(value.value)):
                yield str(value.value)


def _choices(value: ast.expr) -> list[ast.expr]:
    return [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]


def test_the_page_names_each_code_and_no_other() -> None:
    assert codes_of_the_page() == codes_of_the_source() - OTHERS


def test_every_seeded_fault_stands_on_the_page() -> None:
    seeded = {fault.code for fault in FAULTS} | set(CERTIFICATES) | {"clock", "not_public"}
    assert seeded <= codes_of_the_page()
    assert len(seeded) >= 20
