"""The documentation site, built as `scripts/site` builds it, where nothing can be reached."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from tests.timing import patience

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_SECONDS: Final = 300


@cache
def without_network() -> tuple[str, ...]:
    """What runs a command in a network of its own, which has nothing; empty where the machine does not let us."""
    command = ("unshare", "--user", "--map-root-user", "--net")
    if os.geteuid() == 0:
        command = ("unshare", "--net")
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        return ()
    return command


def build_site(folder: Path, *, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build the repository at `root` into `folder`. What Sphinx says is in `stderr`."""
    command = [*without_network(), sys.executable, "-m", "website.build", str(folder)]
    with patience(2 * LIMIT_SECONDS):
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=LIMIT_SECONDS)


def make_repository(folder: Path) -> Path:
    """A small one: two pages and a start page that leads to them, and a file that is no page."""
    shutil.copytree(ROOT / "website", folder / "website", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "src").mkdir()
    (folder / "src" / "code.py").write_text("pass\n", encoding="utf-8")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text(
        "# Start\n\n## Read\n\n- [A page](page.md): the first\n- [The root](../README.md)\n", encoding="utf-8"
    )
    (folder / "docs" / "page.md").write_text("# A page\n\n## A part\n\nText.\n", encoding="utf-8")
    (folder / "README.md").write_text("# The root\n\n[A part](docs/page.md#a-part)\n", encoding="utf-8")
    return folder
