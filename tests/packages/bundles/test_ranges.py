import pytest

from fluidmcp.packages.bundles.ranges import is_met


@pytest.mark.parametrize(
    ("wanted", "version", "answer"),
    [
        (">=16.0.0", "v24.1.0", True),
        (">=16.0.0", "v14.21.3", False),
        (">=18 <21", "20.9.9", True),
        (">=18 <21", "21.0.0", False),
        (">= 18", "18.0.0", True),
        ("^18.17.0 || >=20.5.0", "18.20.1", True),
        ("^18.17.0 || >=20.5.0", "19.0.0", False),
        ("^0.2.3", "0.2.9", True),
        ("^0.2.3", "0.3.0", False),
        ("~1.2", "1.2.9", True),
        ("~1.2", "1.3.0", False),
        ("18.x", "18.5.0", True),
        ("18.x", "19.0.0", False),
        (">18", "18.9.0", False),
        (">18", "19.0.0", True),
        ("<=18", "18.9.0", True),
        ("16 - 18", "18.9.0", True),
        ("16 - 18", "19.0.0", False),
        ("24.1.0", "24.1.0", True),
        ("*", "1.0.0", True),
        ("whatever it takes", "1.0.0", True),
        (">=16", "no version", True),
    ],
)
def test_ranges_of_node(wanted: str, version: str, answer: bool):
    assert is_met("node", wanted, version) is answer


@pytest.mark.parametrize(
    ("wanted", "version", "answer"),
    [
        (">=3.8,<4.0", "3.11.7", True),
        (">=3.12", "3.11.7", False),
        ("~=3.11.0", "3.11.7", True),
        (">=3.10 <3.14", "3.11.7", True),
        ("^3.12", "3.11.7", False),
        ("3.12", "3.11.7", False),
        (">=3.8", "not one", True),
    ],
)
def test_ranges_of_python(wanted: str, version: str, answer: bool):
    assert is_met("python", wanted, version) is answer
