"""Package specs and the order of versions."""

import random

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.spec import PackageSpec, parse_package_spec, version_key


@pytest.mark.promise(20, 87)
@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("mypackage", PackageSpec(name="mypackage")),
        ("mypackage@1.0.0", PackageSpec(name="mypackage", version="1.0.0")),
        ("test/gmail-mock", PackageSpec(author="test", name="gmail-mock")),
        ("test/gmail-mock@1.0.0", PackageSpec(author="test", name="gmail-mock", version="1.0.0")),
        ("A.b/C_d@1.0.0+x-y", PackageSpec(author="A.b", name="C_d", version="1.0.0+x-y")),
    ],
)
def test_a_spec_is_read_and_written_the_same(text: str, spec: PackageSpec):
    assert parse_package_spec(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "../x", "a/..", "a/../b", "../../etc", "a/b/c", "/a", "a/", "a@", "@1", "a@..", "a@../x", "a@1/2"]
    + ["a@1@2", "a b", "a\n", "a\0", "-a", ".a", "a\\b", "ä", "~", "a" * 200, "npm:x", "pypi:y"],
)
def test_what_is_no_spec_is_refused_and_no_path_gets_through(text: str):
    with pytest.raises(ConfigurationError) as caught:
        parse_package_spec(text)
    assert caught.value.what.isprintable() and caught.value.hint


def test_versions_are_ordered_as_numbers():
    ordered = ["latest", "0.9", "1.0.0-alpha.1", "1.0.0-nightly", "1.0.0", "1.9.0", "1.10.0rc1", "1.10.0"]
    ordered += ["2.0.0-build-7", "2.0.0-build-10", "2.0.0", "2024.01.31"]
    shuffled = random.Random(7).sample(ordered, k=len(ordered))
    assert sorted(shuffled, key=version_key) == ordered
