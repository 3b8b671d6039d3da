"""What a hostile package or person does to widen what the next process may reach."""

from pathlib import Path

import pytest

from fluidmcp.processes.isolation.reach import find_too_wide
from tests.processes.reaching import Ground, may_read


def test_a_link_in_a_folder_that_may_be_written_leads_nowhere(ground: Ground):
    """E01: one process could put it there for the next one, which would be opened what it leads to."""
    secret = ground.write("home/.ssh/id", "secret")
    planted = ground.link("memory/memory.json", secret)
    reach = ground.build(args=(str(planted),), named=(str(planted),), write=(str(planted.parent),))
    assert not may_read(reach, secret)
    assert str(planted.parent) in reach.write


@pytest.mark.parametrize("line", ["{}", "#!{}", "#!/usr/bin/env -S -u {} python3", "#!/usr/bin/env {}"])
def test_what_an_installed_package_says_of_itself_opens_nothing_outside_of_it(ground: Ground, line: str):
    """E01: the author of a package writes its `*.pth` files and the first lines of its programs."""
    secret = ground.write("elsewhere/tokens.json", "{}")
    ground.write("cache/archive/a/pyvenv.cfg")
    ground.write("cache/archive/a/lib/python3.11/site-packages/evil.pth", f"{secret.parent}\n")
    program = ground.write("cache/archive/a/bin/server", line.format(secret) + "\n")
    program.chmod(0o755)
    reach = ground.build(program=str(program), environment={"UV_CACHE_DIR": str(ground.folder / "cache")})
    assert may_read(reach, program)
    assert not may_read(reach, secret)


@pytest.mark.parametrize(
    ("path", "is_too_wide"), [("{0}", True), ("{0}/..", True), ("{0}/docs", False), ("/srv", False)]
)
def test_a_path_that_opens_what_stays_out_is_too_wide(tmp_path: Path, path: str, is_too_wide: bool):
    named = path.format(tmp_path)
    assert find_too_wide([named], "", str(tmp_path)) == (named if is_too_wide else None)
