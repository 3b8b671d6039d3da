"""Processor time of trees of processes: real ones, and a /proc made by hand for kernels of every kind."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from fluidmcp.processes.pool.usage import MAX_THREADS, MAX_TREE_PROCESSES, processor_seconds

LIMIT_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class Proc:
    """A /proc with the files that are looked at."""

    def __init__(self, root: Path, *, has_children: bool) -> None:
        self.root = root
        self._has_children = has_children
        if has_children:
            (root / "thread-self").mkdir()
            (root / "thread-self" / "children").touch()

    def add(self, pid: int, parent: int, seconds: int, *, threads: int = 1, name: str = "sh") -> None:
        """A process; user and system time of itself and of the children that it waited for are a quarter each."""
        folder = self.root / str(pid)
        for thread in range(pid, pid + threads):
            (folder / "task" / str(thread)).mkdir(parents=True)
            if self._has_children:
                (folder / "task" / str(thread) / "children").touch()
        ticks = " ".join([str(seconds * TICKS // 4)] * 4)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 20 0 1 0 1 0 0\n")
        if self._has_children and (self.root / str(parent)).exists():
            threads_of_parent = sorted((self.root / str(parent) / "task").iterdir())
            children = threads_of_parent[pid % len(threads_of_parent)] / "children"
            children.write_text(f"{children.read_text()}{pid} ")


@pytest.fixture(params=[True, False], ids=["lists of children", "one pass"])
def proc(request: pytest.FixtureRequest, tmp_path: Path) -> Proc:
    return Proc(tmp_path, has_children=request.param)


def test_the_time_of_all_descendants_counts(proc: Proc) -> None:
    proc.add(10, 1, 4, threads=3)
    for pid in (21, 22, 23):
        proc.add(pid, 10, 8, name="a ) strange (name")
    proc.add(40, 23, 40)
    proc.add(50, 1, 400)
    proc.add(60, 1, 4)
    assert processor_seconds([10, 60], proc=proc.root) == {10: 68.0, 60: 4.0}


def test_who_is_gone_is_left_out(proc: Proc) -> None:
    proc.add(10, 1, 4)
    assert processor_seconds([10, 11], proc=proc.root) == {10: 4.0}
    assert processor_seconds([], proc=proc.root) == {}


def test_a_machine_without_proc_tells_nothing(tmp_path: Path) -> None:
    assert processor_seconds([os.getpid()], proc=tmp_path / "proc") == {}


def test_a_tree_without_end_is_left_out(proc: Proc) -> None:
    proc.add(10, 1, 4)
    proc.add(20, 1, 4)
    for pid in range(100, 100 + MAX_TREE_PROCESSES):
        proc.add(pid, 10, 4)
    assert processor_seconds([10, 20], proc=proc.root) == {20: 4.0}


def test_too_many_threads_are_not_asked_for_their_children(tmp_path: Path) -> None:
    proc = Proc(tmp_path, has_children=True)
    proc.add(10, 1, 4, threads=MAX_THREADS + 1)
    assert processor_seconds([10], proc=proc.root) == {}


@pytest.fixture
def behind_a_shell() -> Generator[int]:
    """The pid of a shell whose child computes without end."""
    code = "while True: pass"
    with subprocess.Popen(["sh", "-c", f"{sys.executable} -I -c '{code}'; true"], start_new_session=True) as shell:
        yield shell.pid
        os.killpg(shell.pid, 9)


async def test_what_a_real_process_computes_behind_a_shell_is_seen(behind_a_shell: int) -> None:
    before = processor_seconds([behind_a_shell])[behind_a_shell]
    async with asyncio.timeout(LIMIT_SECONDS):
        while processor_seconds([behind_a_shell])[behind_a_shell] < before + 0.2:
            await asyncio.sleep(0.01)
    assert processor_seconds([os.getpid(), behind_a_shell])[os.getpid()] > 0.2
