"""Copies of this tree with a commit and a made-up version, to release or to break."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.acceptance.harness import environment

ROOT: Final = Path(__file__).resolve().parents[2]
VERSION: Final = "7.8.9"
LIMIT_SECONDS: Final = 400.0
_GIT: Final = (
    "git",
    "-c",
    "user.name=Somebody",
    "-c",
    "user.email=somebody@people.example",
    "-c",
    "commit.gpgsign=false",
)


@dataclass(frozen=True, slots=True)
class Released:
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Clone:
    root: Path

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        assert old in self.read(name)
        self.write(name, self.read(name).replace(old, new, 1))

    def git(self, *words: str) -> str:
        return subprocess.run([*_GIT, *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def restore(self) -> None:
        """As it was made."""
        self.git("reset", "--quiet", "--hard", "made")
        self.git("clean", "--quiet", "--force", "-d", "-x")
        for tag in self.git("tag").split():
            if tag != "made":
                self.git("tag", "--delete", tag)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "made up")

    def release(self, *options: str | Path, env: Mapping[str, str] | None = None) -> Released:
        """What `scripts/release` runs, by the Python of the tests: no environment has to be made for the copy."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.release.release", *map(str, options)],
            cwd=self.root,
            env=environment(env),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        return Released(done.returncode, done.stdout, done.stderr)


def make_clone(folder: Path) -> Clone:
    """With all that is here and not ignored, committed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    clone = Clone(folder)
    version = "src/fluidmcp/__init__.py"
    clone.write(version, re.sub(r'^__version__ = ".*"$', f'__version__ = "{VERSION}"', clone.read(version), flags=re.M))
    chart = "deploy/helm/fluidmcp/Chart.yaml"
    clone.write(chart, re.sub(r"^appVersion: .*$", f"appVersion: {VERSION}", clone.read(chart), flags=re.M))
    clone.replace(
        "CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n\n## [{VERSION}] - 2026-11-28\n\n- Made up.\n"
    )
    clone.git("init", "--quiet")
    clone.commit()
    clone.git("tag", "made")
    return clone
