"""Who computes for long gives way: real sessions and processes of an ordinary user and of root."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
ORDINARY: Final = ROOT / "tests" / "ordinary.py"
LIMIT_SECONDS: Final = 60
CODE: Final = """
import json, os, subprocess, sys, time
from fluidmcp.processes.starter_child.families import read_table
from fluidmcp.processes.starter_child.priority import Priority

def nices(pid):
    with open(f"/proc/{pid}/autogroup") as file:
        return int(file.read().split()[-1]), os.getpriority(os.PRIO_PROCESS, pid)

steps, can_raise = json.loads(sys.argv[1])
children = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(3)]
try:
    pids = [child.pid for child in children]
    priority, ticks, reached = Priority(can_raise=can_raise), 0, []
    for used, wanted in steps:
        end = time.monotonic() + 30
        while True:
            ticks += used * os.sysconf("SC_CLK_TCK")
            table = {pid: stat._replace(ticks=0) for pid, stat in read_table(pids).items()}
            table[pids[0]] = table[pids[0]]._replace(ticks=ticks)
            priority.look(table, 1.0)
            now = [list(nices(pid)) for pid in pids]
            if now == [wanted] * 3 or time.monotonic() > end:
                break
            time.sleep(0.05)
        reached.append(now)
    print(json.dumps(reached))
finally:
    for child in children:
        child.kill()
        child.wait()
"""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="becomes other users")


def run_steps(
    user: int, steps: Sequence[tuple[int, tuple[int, int]]], *, can_raise: bool
) -> list[list[tuple[int, int]]]:
    """What three sessions and their processes have (nice values) after each step.

    A step: processor seconds used in each second, and what is waited for then.
    """
    command = [sys.executable, str(ORDINARY), str(user), str(user), sys.executable, "-c", CODE]
    done = subprocess.run(
        [*command, json.dumps([steps, can_raise])],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")},
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS * len(steps),
    )
    told: list[list[list[int]]] = json.loads(done.stdout)
    return [[(session, process) for session, process in step] for step in told]


@needs_root
@pytest.mark.threat("E03")
@pytest.mark.parametrize(("user", "process"), [(0, 10), (4242, 0)])
def test_all_sessions_of_a_family_are_lowered_and_rise_again(user: int, process: int) -> None:
    """Of an ordinary user too, from whom the kernel takes one change at a time."""
    low, usual = (19, process), (0, 0)
    lowered, risen = run_steps(user, [(2, low), (0, usual)], can_raise=user == 0)
    assert lowered == [low] * 3
    assert risen == [usual] * 3


@needs_root
@pytest.mark.threat("E03")
def test_an_ordinary_users_processes_are_lowered_after_long_and_for_good() -> None:
    lowered, risen = run_steps(4242, [(2, (19, 10)), (0, (0, 10))], can_raise=False)
    assert lowered == [(19, 10)] * 3
    assert risen == [(0, 10)] * 3


@needs_root
def test_who_uses_its_share_is_never_lowered() -> None:
    (same,) = run_steps(0, [(0, (0, 0))], can_raise=True)
    assert same == [(0, 0)] * 3
