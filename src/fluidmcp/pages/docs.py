"""The API page at `/docs`: Swagger UI from files of the installed packages, so that it works without internet.

Nothing on the page is inline and nothing comes from another host, which lets the content security policy be strict.
"""

from html import escape
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from fluidmcp.pages.files import StaticFile
from fluidmcp.pages.names import ICON, SCRIPT, STYLE

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Addresses carry a digest of the content: a file at an address never changes.
_FOR_EVER: Final = "public, max-age=31536000, immutable"

_FILES: Final = {
    "swagger-ui-bundle.js": ("fastapi_swagger", "resources", SCRIPT),
    "swagger-ui.css": ("fastapi_swagger", "resources", STYLE),
    "docs.js": ("fluidmcp.pages", "static", SCRIPT),
    "icon.svg": ("fluidmcp.pages", "static", ICON),
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/svg+xml" href="{icon}">
<link rel="stylesheet" href="{style}">
<script src="{bundle}"></script>
<script src="{script}"></script>
</head>
<body>
<div id="swagger-ui" data-openapi-url="{openapi_url}"></div>
<noscript>This page needs JavaScript. The same for programs: <a href="{openapi_url}">{openapi_url}</a></noscript>
</body>
</html>
"""


class _Asset(StaticFile):
    def __init__(self, name: str) -> None:
        package, folder, media_type = _FILES[name]
        super().__init__(package, folder, name, media_type)
        self._name = name

    @property
    def path(self) -> str:
        return f"/docs/assets/{self.digest}/{self._name}"


def mount_docs(app: FastAPI) -> None:
    """Serve `/docs` and `/docs/assets/{digest}/{name}` on an app made with `docs_url=None, redoc_url=None`.

    The page shows the app's own `openapi_url`.
    """
    assets = {name: _Asset(name) for name in _FILES}

    @app.get("/docs", include_in_schema=False)
    def show_docs(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        root = str(request.scope.get("root_path", "")).rstrip("/")
        page = _PAGE.format(
            title=escape(f"{app.title} API"),
            icon=escape(root + assets["icon.svg"].path),
            style=escape(root + assets["swagger-ui.css"].path),
            bundle=escape(root + assets["swagger-ui-bundle.js"].path),
            script=escape(root + assets["docs.js"].path),
            openapi_url=escape(f"{root}{app.openapi_url}"),
        )
        return HTMLResponse(
            page,
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Cache-Control": "no-cache",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            },
        )

    @app.get("/docs/assets/{digest}/{name}", include_in_schema=False)
    def send_asset(digest: str, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        asset = assets.get(name)
        if asset is None or asset.digest != digest:
            return JSONResponse({"error": "not_found", "message": "There is no such file"}, status_code=404)
        headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)
