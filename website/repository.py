"""What Sphinx is told of a repository: navigation out of the start page, and what becomes of links to its files."""

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata

SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
LINK: Final = re.compile(r"^ *- \[([^]<>]+)\]\(([^)#\s]+)\.md\)", re.MULTILINE)
LISTS_OF_TESTS: Final = ("docs/promises", "docs/threats")


def list_pages(start_page: str, folder: str) -> dict[str, list[str]]:
    """The pages that the lists of each section lead to, for Sphinx: `{"Start": ["The page </docs/page>"]}`.

    Args:
        start_page: Markdown.
        folder: where it stands below the repository; its links count from there.
    """
    pieces = SECTION.split(start_page)[1:]
    sections = dict(zip(pieces[::2], pieces[1::2], strict=True))
    return {
        title: [f"{name} </{posixpath.normpath(posixpath.join(folder, path))}>" for name, path in LINK.findall(text)]
        for title, text in sections.items()
    }


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """What the lists of the start page name stands in the side bar, under the heading of the list."""
    if docname != app.config.root_doc:
        return
    for title, pages in list_pages(source[0], posixpath.dirname(docname)).items():
        source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```\n"])


class FilesOfTheRepository(SphinxTransform):
    """A link to a file that the site does not have becomes its text, as code: there is no address to lead to.

    Files below `docs/` are copied into the site. A file or folder that is not there stays a link, which is an error.
    """

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        for link in [node for node in self.document.findall(nodes.Element) if self._leads_out(node)]:
            link.replace_self(nodes.literal("", link.astext()))

    def _leads_out(self, node: nodes.Element) -> bool:
        if not isinstance(node, addnodes.download_reference | addnodes.pending_xref):
            return False
        root = Path(self.app.srcdir)
        target = (root / self.env.docname).parent.joinpath(str(node["reftarget"])).resolve()
        if isinstance(node, addnodes.pending_xref):
            return node["reftype"] == "myst" and target.is_dir() and target.is_relative_to(root)
        return target.is_relative_to(root) and not target.is_relative_to(root / "docs")


def leave_out_of_search(app: Sphinx, env: BuildEnvironment) -> None:
    """Two pages name every subject and the tests of it, and would be the first answer to whatever is searched."""
    for page in LISTS_OF_TESTS:
        if page in env.all_docs:
            env.metadata[page]["nosearch"] = True


def write_entrance(app: Sphinx, error: Exception | None) -> None:
    """The start page stands in `docs/`; whoever opens the folder of the site is led there."""
    if error is None:
        page = f"{app.config.root_doc}.html"
        text = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>FluidMCP</title>'
            f'<meta http-equiv="refresh" content="0; url={page}"><a href="{page}">FluidMCP</a></html>\n'
        )
        Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", add_navigation)
    app.add_transform(FilesOfTheRepository)
    app.connect("env-updated", leave_out_of_search)
    app.connect("build-finished", write_entrance)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
