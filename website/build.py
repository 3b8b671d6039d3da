"""Builds the documentation site: `python -m website.build [FOLDER]` (build/site).

It needs no network. A warning is an error: dead links and anchors, pictures that are not there, pages that the start
page does not lead to.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sphinx.cmd.build import main as run_sphinx

ROOT: Final = Path(__file__).resolve().parents[1]
MARK: Final = ".buildinfo"
"""Sphinx puts this file into what it has built."""


def build(folder: Path) -> int:
    """The exit code of Sphinx. What was built there before is removed.

    Raises:
        SystemExit: the folder is there, and is something else.
    """
    if folder.exists():
        if not (folder / MARK).is_file() and any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty, and no site that was built: choose another folder.")
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as doctrees:
        options = ["-q", "-n", "-W", "--keep-going", "-j", "auto", "-b", "html"]
        places = ["-c", str(ROOT / "website"), "-d", doctrees, str(ROOT), str(folder)]
        return run_sphinx([*options, *places])


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"))
