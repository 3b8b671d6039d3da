"""Does a version of Node or Python fulfil what a manifest asks for? Pure.

Node's are ranges of semantic versions as npm writes them; Python's are version specifiers (PEP 440). A range that is
not understood is held to be fulfilled: it is advice of the bundle's author, and no reason to stop anybody.
"""

import re
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_Numbers = tuple[int, int, int]

_VERSION: Final = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9}|[xX*]))?(?:\.(\d{1,9}|[xX*]))?(?:[-+].*)?", re.ASCII)
_HYPHEN: Final = re.compile(r"(\S+)\s+-\s+(\S+)", re.ASCII)
_COMPARATOR: Final = re.compile(r"\s*(>=|<=|>|<|=|\^|~)?\s*(\S+)", re.ASCII)
_EVER: Final[_Numbers] = (10**9, 0, 0)


def is_met(runtime: str, wanted: str, version: str) -> bool:
    """Whether `version` of `runtime` (`node` or `python`) is in the range `wanted`."""
    if runtime == "python":
        try:
            return SpecifierSet(wanted).contains(Version(version), prereleases=True)
        except InvalidSpecifier:
            pass  # some write Python's as npm does
        except InvalidVersion:
            return True
    found = _read(version)
    alternatives = [_read_range(part) for part in wanted.split("||")]
    if found is None or any(alternative is None for alternative in alternatives):
        return True
    return any(low <= found[0] < high for low, high in filter(None, alternatives))


def _read_range(text: str) -> tuple[_Numbers, _Numbers] | None:
    """The lowest version that is in it, and the lowest that is no longer; None: it is not understood."""
    hyphen = _HYPHEN.fullmatch(text.strip())
    comparators = [(">=", hyphen[1]), ("<=", hyphen[2])] if hyphen else _COMPARATOR.findall(text)
    low: _Numbers = (0, 0, 0)
    high = _EVER
    for operator, word in comparators:
        if word in ("*", "x", "X", "latest"):
            continue
        read = _read(word)
        if read is None:
            return None
        first, last = _bound(operator, *read)
        low, high = max(low, first), min(high, last)
    return low, high


def _bound(operator: str, numbers: _Numbers, given: int) -> tuple[_Numbers, _Numbers]:
    """`given` says how many of the three numbers are written."""
    major, minor, patch = numbers
    after = ((major + 1, 0, 0), (major, minor + 1, 0), (major, minor, patch + 1))
    match operator:
        case ">=":
            return numbers, _EVER
        case ">":
            return after[given - 1], _EVER
        case "<":
            return (0, 0, 0), numbers
        case "<=":
            return (0, 0, 0), after[given - 1]
        case "^":
            leading = 0 if major or given == 1 else 1 if minor or given == 2 else 2
            return numbers, after[leading]
        case "~":
            return numbers, after[min(given, 2) - 1]
        case _:
            return numbers, after[given - 1]


def _read(text: str) -> tuple[_Numbers, int] | None:
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    numbers = [int(part) for part in match.groups() if part is not None and part.isdigit()]
    given = len(numbers)
    if match[2] is not None and not match[2].isdigit():
        numbers, given = numbers[:1], 1
    padded = (*numbers, 0, 0)
    return (padded[0], padded[1], padded[2]), given
