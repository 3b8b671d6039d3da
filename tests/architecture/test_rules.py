"""The code keeps the rules of rules.py, and each rule is known to notice a breach."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.rules import Rule

STARTER = "src/fluidmcp/processes/starter_child"
LOOKS = "async def f():\n  async with asyncio.timeout(5):\n    while x():\n      await asyncio.sleep(0.01)"

ROOT = Path(__file__).resolve().parents[2]


def python_files(folder: str) -> list[str]:
    paths = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py"))
    assert len(paths) > 100, "nothing is found wrong where nothing is read"
    return paths


def breaches(rule: Rule, paths: Iterable[str]) -> list[str]:
    found = ((path, rules.find_breaches(rule, path, (ROOT / path).read_text(encoding="utf-8"))) for path in paths)
    return [f"{path}:{breach.line}: {breach.reason}" for path, some in found for breach in some]


@pytest.mark.parametrize("rule", rules.SOURCE_RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps(rule: Rule):
    assert not breaches(rule, python_files("src"))


def test_no_room_and_no_folder_is_crowded():
    source = ROOT / "src" / "fluidmcp"
    counts = {
        path.relative_to(source).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in source.rglob("*.py")
    }
    assert len(counts) > 100
    assert not rules.find_crowded_rooms(counts)


def test_a_crowded_room_and_a_crowded_folder_are_noticed():
    rooms = {f"room{number}/a.py": 20 for number in range(4)}
    assert not rules.find_crowded_rooms({**rooms, "room4/a.py": 20})
    assert rules.find_crowded_rooms({**rooms, "room4/a.py": 30}) == ["room4 has 30 of 110 lines"]
    full = {f"room0/{number}.py": 0 for number in range(rules.MAX_FOLDER_MODULES)}
    assert not rules.find_crowded_rooms({**full, "room0/__init__.py": 0})
    assert rules.find_crowded_rooms({**full, "room0/more.py": 0}) == ["room0 has 16 modules"]


@pytest.mark.parametrize("rule", rules.TEST_RULES, ids=lambda rule: rule.__name__)
def test_the_tests_keep(rule: Rule):
    assert not breaches(rule, python_files("tests"))


@pytest.mark.parametrize("rule", rules.BENCHMARK_RULES, ids=lambda rule: rule.__name__)
def test_the_benchmarks_keep(rule: Rule):
    paths = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").rglob("*.py"))
    assert len(paths) > 15
    assert not breaches(rule, paths)


def test_no_file_names_a_package_registry():
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, timeout=30).stdout.decode().split("\0")
    paths = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    assert len(paths) > 20
    texts = ((path, path.read_bytes().decode("utf-8", errors="ignore")) for path in paths)
    assert not [f"{path}:{b.line}: {b.reason}" for path, text in texts for b in rules.find_foreign_words(text)]


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.imports_go_one_way, "src/fluidmcp/config/a.py", "from fluidmcp.gateway.app import x"),
        (rules.imports_go_one_way, "src/fluidmcp/config/a.py", "def f():\n    import fluidmcp.cli.main"),
        (rules.imports_go_one_way, "src/fluidmcp/config/a.py", "from fluidmcp import pages"),
        (rules.imports_go_one_way, "src/fluidmcp/config/a.py", "from ..bridge import channel"),
        (rules.imports_go_one_way, "src/fluidmcp/config/__init__.py", "from ..bridge import channel"),
        (rules.imports_go_one_way, "src/fluidmcp/store/memory.py", "import fluidmcp.authentication.principal"),
        (
            rules.imports_go_one_way,
            "src/fluidmcp/oauth_client/a.py",
            "from fluidmcp.authentication.verifiers import x",
        ),
        (rules.imports_go_one_way, "src/fluidmcp/crypto/a.py", "from ..authentication.verifiers.jwt import x"),
        (rules.every_room_is_known, "src/fluidmcp/helpers.py", ""),
        (rules.every_room_is_known, "src/fluidmcp/services/a.py", ""),
        (rules.environment_is_read_in_one_place, "src/fluidmcp/cli/a.py", "import os\nos.environ['A']"),
        (rules.environment_is_read_in_one_place, "src/fluidmcp/cli/a.py", "import os\nos.getenv('A')"),
        (rules.environment_is_read_in_one_place, "src/fluidmcp/cli/a.py", "from os import environ"),
        (rules.output_goes_through_one_place, "src/fluidmcp/cli/a.py", "print('a')"),
        (rules.failures_are_caught_by_name, "src/fluidmcp/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
        (rules.failures_are_caught_by_name, "src/fluidmcp/a.py", "try:\n    f()\nexcept:\n    pass"),
        (
            rules.failures_are_caught_by_name,
            "src/fluidmcp/a.py",
            "try:\n    f()\nexcept (A, Exception) as e:\n    g(e)",
        ),
        (rules.failures_are_caught_by_name, "src/fluidmcp/a.py", "with contextlib.suppress(Exception):\n    f()"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "import msgspec"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from fluidmcp.errors import FluidMCPError"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from fluidmcp.processes import starter"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from fluidmcp.processes.starter_child_of_another import x"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from .. import starter"),
        (rules.helpers_stand_alone, f"{STARTER}/__main__.py", "def f():\n    import uvloop.loop"),
        (
            rules.helpers_stand_alone,
            "src/fluidmcp/processes/watchdog_child.py",
            "import fluidmcp.processes.launch.home",
        ),
        (rules.imports_stand_at_the_top, "src/fluidmcp/cli/a.py", "def f():\n    import json"),
        (rules.imports_stand_at_the_top, "src/fluidmcp/cli/a.py", "def f():\n    importlib.import_module('json')"),
        (rules.imports_stand_at_the_top, "src/fluidmcp/cli/a.py", "__getattr__ = import_late(__name__, {})"),
        (rules.imports_stand_at_the_top, "src/fluidmcp/bridge/deferred.py", "x = late_imports.import_late('a', {})"),
        (rules.imports_stand_at_the_top, "src/fluidmcp/cli/deferred.py", "def f():\n    import json"),
        (rules.imports_stand_at_the_top, "src/fluidmcp/cli/a.py", "async def f():\n    from fluidmcp import errors"),
        (rules.sizes_are_bounded, "src/fluidmcp/a.py", "a = 1\n" * 501),
        (rules.sizes_are_bounded, "src/fluidmcp/a.py", "async def f():\n" + "    a = 1\n" * 60),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "cache = {}"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "CACHE: dict[str, int] = {}"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "_seen = collections.deque(maxlen=4)"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "lock = asyncio.Lock()"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "names = ['a']"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "NAMES = ['a']\ndef f():\n    NAMES.append('b')"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "NAMES = {'a': 1}\ndef f():\n    NAMES['b'] = 2"),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "x = 1\ndef f():\n    global x\n    x = 2"),
        (rules.tests_wait_for_events, "tests/test_a.py", "time.sleep(1)"),
        (rules.tests_wait_for_events, "tests/test_a.py", "async def test_a():\n    await asyncio.sleep(0.1)"),
        (rules.tests_wait_for_events, "tests/test_a.py", "from time import sleep\nsleep(0.01)"),
        (
            rules.tests_wait_for_events,
            "tests/test_a.py",
            "async def f():\n    while x():\n        await asyncio.sleep(0.01)",
        ),
        (rules.tests_wait_for_events, "tests/test_a.py", LOOKS.replace("0.01", "0.2")),
        (rules.tests_use_real_parts, "tests/test_a.py", "from unittest.mock import patch"),
        (rules.tests_use_real_parts, "tests/test_a.py", "import unittest.mock"),
        (rules.tests_are_functions, "tests/test_a.py", "class TestA:\n    pass"),
    ],
)
def test_a_breach_is_noticed(rule: Rule, path: str, text: str):
    assert rules.find_breaches(rule, path, text)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.imports_go_one_way, "src/fluidmcp/gateway/app.py", "from fluidmcp.config.settings import x"),
        (rules.imports_go_one_way, "src/fluidmcp/config/a.py", "from fluidmcp import __version__, errors"),
        (rules.imports_go_one_way, "src/fluidmcp/guards/a.py", "from fluidmcp.oauth_client import pkce\nimport json"),
        (
            rules.imports_go_one_way,
            "src/fluidmcp/gateway/mcp/a.py",
            "from ..login import wellknown",
        ),
        (rules.environment_is_read_in_one_place, "src/fluidmcp/config/settings.py", "import os\nos.environ['A']"),
        (
            rules.failures_are_caught_by_name,
            "src/fluidmcp/a.py",
            "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
        ),
        (
            rules.failures_are_caught_by_name,
            "src/fluidmcp/a.py",
            "try:\n    f()\nexcept (OSError, ValueError):\n    g()",
        ),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "import os.path, ctypes\nfrom collections.abc import Iterator"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from fluidmcp.processes.starter_child.order import Order"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from fluidmcp.processes.starter_child import order"),
        (rules.helpers_stand_alone, f"{STARTER}/a.py", "from . import order\nfrom .order import Order"),
        (rules.helpers_stand_alone, "src/fluidmcp/processes/isolation/starter.py", "import msgspec"),
        (rules.sizes_are_bounded, "src/fluidmcp/a.py", "def f():\n" + "    a = 1\n" * 59),
        (rules.modules_hold_no_state, "src/fluidmcp/a.py", "__all__ = ['a']\nNAMES = {'a': 1}\ndef f():\n    x = []"),
        (rules.tests_wait_for_events, "tests/servers/slow.py", "time.sleep(1)"),
        (rules.tests_wait_for_events, "tests/test_a.py", LOOKS),
        (rules.tests_wait_for_events, "tests/test_a.py", "async def f():\n    await asyncio.sleep(0)"),
        (
            rules.tests_wait_for_events,
            "tests/test_a.py",
            "async def f():\n    yield b''\n    await asyncio.sleep(0.05)",
        ),
    ],
)
def test_what_is_allowed_passes(rule: Rule, path: str, text: str):
    assert not rules.find_breaches(rule, path, text)


@pytest.mark.parametrize("word", rules.FOREIGN_WORDS)
def test_a_foreign_word_is_noticed(word: str):
    assert rules.find_foreign_words(f"first\nsee https://{word}/x\n") == [rules.Breach(2, f"names {word}")]
