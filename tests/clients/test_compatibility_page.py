"""docs/compatibility.md is made of its data file."""

from tests.clients import compatibility


def test_the_page_of_compatibility_is_up_to_date():
    shown = compatibility.PAGE.read_text(encoding="utf-8")
    made = compatibility.render_page(compatibility.load_compatibility())
    assert shown == made, "docs/compatibility.md is old: run scripts/update-docs"
