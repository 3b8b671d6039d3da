"""Levels, paths and ranges of user ids as people write them, and what is said of those that cannot be meant."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.isolation import LEVELS, Paths, parse_level, parse_user_ids, read_level, read_paths
from fluidmcp.config.reading import ObjectReader


def read(paths: object, *, home: str = "/home/operator") -> tuple[Paths, list[str]]:
    faults: list[str] = []
    reader = ObjectReader({"paths": paths}, path="mcpServers.a", faults=faults)
    return read_paths(reader, directory="/srv/work", home=home), faults


@pytest.mark.parametrize("level", ["auto", "landlock", "uid", "namespace", "none"])
def test_the_levels_are_known(level: str):
    assert parse_level(level) == level
    assert level in LEVELS


@pytest.mark.parametrize("text", ["", "Auto", " auto", "landlock+uid", "docker", None, True, 1, ["auto"], {}])
def test_anything_else_is_no_level(text: object):
    with pytest.raises(ValueError):
        parse_level(text)


@pytest.mark.parametrize(
    ("entry", "level", "faults"),
    [
        ({}, None, []),
        ({"isolation": None}, None, []),
        ({"isolation": "uid"}, "uid", []),
        ({"isolation": "UID"}, None, ["a.isolation must be one of auto, landlock, uid, namespace, none"]),
        ({"isolation": False}, None, ["a.isolation must be one of auto, landlock, uid, namespace, none"]),
    ],
)
def test_an_entry_has_one_level_or_none_of_its_own(entry: object, level: str | None, faults: list[str]):
    found: list[str] = []
    assert read_level(ObjectReader(entry, path="a", faults=found)) == level
    assert found == faults


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/srv/data", "/srv/data"),
        ("data", "/srv/work/data"),
        ("./data/../other/", "/srv/work/other"),
        (".", "/srv/work"),
        ("../beside", "/srv/beside"),
        ("~", "/home/operator"),
        ("~/mail", "/home/operator/mail"),
        ("~other/mail", "/srv/work/~other/mail"),
        ("//srv//data", "/srv/data"),
        ("/proc/../srv", "/srv"),
        ("/processes", "/processes"),
        ("a\nb ä", "/srv/work/a\nb ä"),
    ],
)
def test_a_path_becomes_absolute(text: str, path: str):
    assert read({"read": [text]}) == (Paths(read=(path,)), [])
    assert read({"write": [text]}) == (Paths(write=(path,)), [])


def test_without_a_home_the_tilde_is_a_name_like_any_other():
    assert read({"read": ["~/x"]}, home="")[0] == Paths(read=("/srv/work/~/x",))
    assert read({"read": ["~/x"]}, home="/")[0] == Paths(read=("/x",))


WHOLE = 'may not be the whole file system: name folders, or set "isolation" to "none"'
PROC = "may not be below /proc, which tells of other processes"


@pytest.mark.parametrize("key", ["read", "write"])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds an empty path"),
        ("/", WHOLE),
        ("//", WHOLE),
        ("///", WHOLE),
        ("/.", WHOLE),
        ("../..", WHOLE),
        ("~/../..", WHOLE),
        ("/proc", PROC),
        ("//proc", PROC),
        ("/proc/self/mem", PROC),
        ("/srv/../proc/1", PROC),
    ],
)
def test_everything_and_the_other_processes_cannot_be_asked_for(key: str, text: str, fault: str):
    paths, faults = read({key: ["/srv/data", text]})
    assert faults == [f"mcpServers.a.paths.{key} {fault}"]
    assert getattr(paths, key) == ("/srv/data",)


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        ([], "paths must be an object, not a list"),
        ("/srv", "paths must be an object, not a string"),
        (True, "paths must be an object, not true or false"),
        ({"read": "/srv"}, "paths.read must be a list of strings, not a string"),
        ({"write": {"a": 1}}, "paths.write must be a list of strings, not an object"),
        ({"read": ["/srv", 1]}, "paths.read[1] must be a string, not a number"),
        ({"read": [None]}, "paths.read[0] must be a string, not null"),
        ({"read": ["a\0b"]}, "paths.read[0] holds a NUL character"),
        ({"execute": []}, 'paths.execute is not known here; use "read" and "write"'),
        ({"Read": ["/srv"]}, 'paths.Read is not known here; use "read" and "write"'),
    ],
)
def test_paths_of_another_kind_are_faults(paths: object, fault: str):
    assert read(paths)[1] == [f"mcpServers.a.{fault}"]


@pytest.mark.parametrize("paths", [None, {}, {"read": []}, {"read": None, "write": None}])
def test_no_paths_are_no_fault(paths: object):
    assert read(paths) == (Paths(), [])


@given(st.lists(st.text(max_size=12) | st.sampled_from(["/", "..", "~", "/proc", "//x", "."]), max_size=4))
def test_any_text_becomes_an_absolute_path_or_a_fault(texts: list[str]):
    paths, faults = read({"read": texts})
    assert len(paths.read) + len(faults) == len(texts)
    for path in paths.read:
        assert os.path.isabs(path)
        assert path == os.path.normpath(path) != "/"
        assert not f"{path}/".startswith(("/proc/", "//"))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("200000-200999", range(200_000, 201_000)),
        (" 1000-1000 ", range(1000, 1001)),
        ("2147483646-2147483646", range(2**31 - 2, 2**31 - 1)),
        ("100000-199999", range(100_000, 200_000)),
    ],
)
def test_a_range_of_user_ids_holds_both_of_its_ends(text: str, ids: range):
    assert parse_user_ids(text) == ids


@pytest.mark.parametrize(
    "text",
    ["", "-", "1000", "1000-", "-1000", "1000:2000", "1000-2000-3000", "1000 - 2000", "+1000-2000", "a-b", "1e3-2e3"]
    + ["0-1000", "999-1000", "2000-1999", "1000-2147483647", "4294967295-4294967296", "100000-200000"]
    + ["1000-" + "9" * 40, "1000-" + "9" * 5000, "٢٠٠٠-٣٠٠٠", "²-³", None, 1000, ["1000-2000"], range(1000, 2000)],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_range_or_reaches_into_other_peoples_ids_is_refused(text: object):
    with pytest.raises(ValueError):
        parse_user_ids(text)


@given(st.text(max_size=12) | st.from_regex(r"\A[0-9]{1,12}-[0-9]{1,12}\Z"))
def test_any_text_is_a_range_within_bounds_or_refused(text: str):
    try:
        ids = parse_user_ids(text)
    except ValueError:
        return
    assert 1000 <= ids[0] <= ids[-1] < 2**31 - 1
    assert len(ids) <= 100_000
