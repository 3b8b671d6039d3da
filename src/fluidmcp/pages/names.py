"""What the page at `/` loads, by name: known from the start of a gateway, which reads none of it then."""

from types import MappingProxyType
from typing import Final

SCRIPT: Final = "text/javascript; charset=utf-8"
STYLE: Final = "text/css; charset=utf-8"
ICON: Final = "image/svg+xml"

PAGE_FILES: Final = MappingProxyType(
    {
        "pages.css": STYLE,
        "page.css": STYLE,
        "icon.svg": ICON,
        "page.js": SCRIPT,
        "callback.js": SCRIPT,
        "elements.js": SCRIPT,
        "logins.js": SCRIPT,
        "mcp.js": SCRIPT,
        "tools.js": SCRIPT,
        "forms.js": SCRIPT,
        "answers.js": SCRIPT,
    }
)
"""What the page at `/` loads, with the media type of each."""
