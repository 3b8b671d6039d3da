"""Which Python fits, and which one to install where none does."""

import pytest

from fluidmcp.packages.sources.interpreters import accepts, read_refusal, suggest_version

UV_SAYS = """error: No solution found when resolving dependencies
  cause: Because the current Python version (3.11.7) does not satisfy Python>=3.12,<3.14 and x==1 depends
         on Python>=3.12,<3.14, we can conclude that x==1 cannot be used.
"""


@pytest.mark.parametrize(
    ("output", "accepted"),
    [
        (UV_SAYS, ">=3.12,<3.14"),
        ("the current Python version (3.11.7) does not\n   satisfy Python>=3.12 and x", ">=3.12"),
        ("does not satisfy Python==3.10.* and", "==3.10.*"),
        ("x==9 was not found in the package registry", ""),
        ("", ""),
    ],
)
def test_what_a_package_accepts_is_read_from_what_uv_says(output: str, accepted: str):
    assert read_refusal(output) == accepted


@pytest.mark.parametrize(
    ("accepted", "version"),
    [(">=3.12,<3.14", "3.12"), (">=3.12.4", "3.12"), ("==3.10.*", "3.10"), ("~=3.13", "3.13"), (">=3.99", "")]
    + [("<3", ""), ("nonsense", "")],
)
def test_the_lowest_python_that_fits_is_suggested(accepted: str, version: str):
    assert suggest_version(accepted) == version


def test_an_upper_bound_counts():
    assert accepts(">=3.12,<3.14", "3.13.1")
    assert not accepts(">=3.12,<3.14", "3.14.0")
    assert accepts("nonsense", "3.11.0") and accepts(">=3.9", "")
