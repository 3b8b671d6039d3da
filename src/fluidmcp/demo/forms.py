"""Reading `application/x-www-form-urlencoded` request bodies strictly: small, UTF-8, every name once."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from fluidmcp.demo.grants import OAuthError

MAX_FIELDS: Final = 20


async def read_form(request: Request) -> dict[str, str]:
    """The fields of the form (RFC 6749 appendix B); the size of the body is limited before this.

    Raises:
        OAuthError: `invalid_request`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "The body must be application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as exc:
        raise OAuthError("invalid_request", "The form cannot be read.") from exc
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", "A parameter came twice.")
    return fields
