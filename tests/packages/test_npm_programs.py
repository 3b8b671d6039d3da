"""The program of an npm package, for whatever stands under `bin`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.packages.npm_programs import choose_program


@pytest.mark.parametrize(
    ("package", "bins", "program"),
    [
        ("server", "index.js", "server"),
        ("@scope/server", "index.js", "server"),
        ("@scope/server", {"other": "index.js"}, "other"),
        ("server", {"one": "index.js", "two": "index.js"}, "one"),
        ("@scope/server", {"other": "a.js", "server": "b.js"}, "server"),
        ("server", {"one": "a.js", "two": "b.js"}, None),
        ("@scope/server", {"@scope/server": "a.js", "two": "b.js"}, None),
        ("server", {}, None),
        ("server", None, None),
        ("server", ["server"], None),
        ("server", 3, None),
    ],
)
def test_the_program_of_an_npm_package_is_chosen_as_npx_does(package: str, bins: object, program: str | None):
    assert choose_program(package, bins) == program


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(package=st.text(max_size=12), bins=json_values)
def test_any_bin_of_a_package_json_is_read_without_a_failure(package: str, bins: object):
    program = choose_program(package, bins)
    if isinstance(bins, dict) and program is not None:
        assert program in bins
    elif not isinstance(bins, str):
        assert program is None
