"""Settings of Sphinx for the documentation site; `scripts/site` builds it, with warnings as errors.

The sources are the Markdown files where they stand, so that they read the same in a repository browser.
"""

import sys
from pathlib import Path

from fluidmcp import __version__

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "FluidMCP"
author = "The FluidMCP authors"
project_copyright = author
release = __version__
language = "en"
smartquotes = False

extensions = ["myst_parser", "website.repository"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
myst_heading_anchors = 4
# Snippets are those that people type and see, and some hold "..." where their language has no such thing.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "FluidMCP"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_use_index = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

# The colours of the gateway's own pages (src/fluidmcp/pages/static/pages.css).
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1d4ed8",
        "color-brand-content": "#1d4ed8",
        "color-brand-visited": "#1d4ed8",
        "color-foreground-primary": "#1a2230",
        "color-foreground-secondary": "#4d5a6e",
        "color-foreground-muted": "#4d5a6e",
        "color-background-primary": "#ffffff",
        "color-background-secondary": "#eef1f6",
        "color-background-border": "#d6dce6",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8db2ff",
        "color-brand-content": "#8db2ff",
        "color-brand-visited": "#8db2ff",
        "color-foreground-primary": "#e8edf5",
        "color-foreground-secondary": "#a9b5c7",
        "color-foreground-muted": "#a9b5c7",
        "color-background-primary": "#0f141c",
        "color-background-secondary": "#19212d",
        "color-background-border": "#334052",
    },
}
