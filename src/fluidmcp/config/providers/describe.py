"""Presets in words, for a terminal and for the documentation. Pure module: no I/O."""

from typing import Final

import msgspec

from fluidmcp.config.providers.preset import Pkce, Preset

_PKCE: Final[dict[Pkce, str]] = {
    "required": "wanted by the provider",
    "supported": "supported by the provider",
    "undocumented": "sent, although the provider does not document it",
    "omitted": "not sent: the provider does not document it, and checks what it gets strictly",
}


def describe_needs(preset: Preset) -> str:
    """What the operator gives beside the client, as keys: `domain, region`; those that may be left out in brackets."""
    names = [value.name if value.default is None else f"[{value.name}]" for value in preset.values]
    return ", ".join(names) or "-"


def entry_to_copy(preset: Preset, *, package: str = "mypackage") -> str:
    """A file with one server that logs in there, as JSON. Values and scopes are examples."""
    auth: dict[str, object] = {"provider": preset.name}
    auth.update({value.name: value.example for value in preset.required_values})
    if preset.scopes:
        auth["scopes"] = list(preset.scopes)
    auth["env_var_name"] = f"{preset.name.upper()}_ACCESS_TOKEN"
    document = {"mcpServers": {package: {"command": "your-server", "auth": auth}}}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def exports_to_copy(preset: Preset) -> tuple[str, ...]:
    """The lines for a shell that set the client."""
    prefix = preset.name.upper()
    lines = (f'export {prefix}_CLIENT_ID="your-client-id"', f'export {prefix}_CLIENT_SECRET="your-client-secret"')
    return lines if preset.needs_secret else (lines[0], f"{lines[1]}  # leave it out for a client without a secret")


def steps_to_take(preset: Preset, *, redirect_uri: str) -> tuple[str, ...]:
    """What to click, in order, with the redirect URI in its place."""
    return tuple(step.replace("{redirect_uri}", redirect_uri) for step in preset.steps)


def facts(preset: Preset) -> tuple[tuple[str, str], ...]:
    """What is to know about logins and tokens: a name and a sentence each."""
    how = {"basic": "with HTTP Basic", "post": "in the body", "none": "none", None: "in the body, where there is one"}
    found = [
        ("Refresh token", preset.refresh),
        ("Client secret", how[preset.token_endpoint_auth_method] + (", as JSON" if _sends_json(preset) else "")),
        ("PKCE", _PKCE[preset.pkce]),
        ("Who somebody is", _tell_identity(preset)),
        ("Tokens from elsewhere", _tell_checks(preset)),
    ]
    found.extend((value.name, f"{value.what}; default {value.default}") for value in preset.values if value.default)
    if preset.https_redirect:
        found.append(("Redirect URI", "must be https; start the gateway with --public-url https://..."))
    if preset.note:
        found.append(("Note", preset.note))
    return tuple(found)


def _sends_json(preset: Preset) -> bool:
    return preset.token_request == "json"


def _tell_identity(preset: Preset) -> str:
    if preset.check in ("github", "gitlab") or preset.dialect != "oidc":
        # GitHub has no ID tokens, which tell the verified mail address.
        domains = "needs the scopes openid and email" if preset.check == "gitlab" else "cannot be used"
        return f"the provider tells it of each token; allowed_domains {domains}"
    if preset.check is not None:
        return "the provider tells it of each token"
    if preset.userinfo_url is not None:
        return "told by the userinfo endpoint, and by an ID token for the scope openid"
    if "openid" in preset.scopes:
        return "told by the ID token, for the scope openid"
    return "not told in a way that the gateway reads: allowed_subjects and allowed_domains cannot be used"


def _tell_checks(preset: Preset) -> str:
    if preset.check is not None:
        return "good where the provider says that they were made for your client"
    if preset.issuer is not None:
        return 'good where they are JWTs for the "audience" of the auth block'
    return "not good: only those that the gateway handed out are"
