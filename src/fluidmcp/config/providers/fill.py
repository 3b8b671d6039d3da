"""An `auth` block that names a provider becomes one with everything in it; each key of the block wins over the preset.

What the preset says is read as strictly as what the block says.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from fluidmcp.config.providers.preset import Preset, Value
from fluidmcp.config.providers.table import PRESETS, find_preset, nearest_names
from fluidmcp.config.reading import ObjectReader, as_object
from fluidmcp.config.urls import is_host_name

VALUE_NAMES: Final = frozenset(value.name for preset in PRESETS.values() for value in preset.values)
"""All keys that presets add to an auth block."""

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}", re.ASCII)
_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|common|organizations", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MAX_PORT: Final = 65535
_HOW: Final = {
    "host": "must be a host name in small letters, perhaps with :PORT, without https:// and without a path",
    "name": "must be letters, digits, . _ ~ and -, at most 128",
    "tenant": "must be the directory (tenant) ID, or organizations, or common",
}


def fill_block(reader: ObjectReader) -> ObjectReader:
    """The block with what its provider adds, to be read by the same rules. One that names no provider is unchanged.

    What is wrong with the name or with a value of the preset is added to the faults of the reader.
    """
    if reader.get("provider") is None:
        return reader
    written = reader.required_text("provider")
    preset = None if written is None else find_preset(written)
    if written is None or preset is None:
        if written is not None:
            names = " or ".join(f'"{name}"' for name in nearest_names(written))
            hint = f"did you mean {names}?" if names else '"fluidmcp providers" lists those that are'
            reader.fault("provider", f"names no preset; {hint}")
        # What else is wrong with the block is told as if it were of nobody.
        return reader
    values = _read_values(reader, preset)
    if values is None:
        return reader
    own = {key: value for key, value in reader.items() if key not in VALUE_NAMES or key not in values}
    filled = {**preset_keys(preset, values, written=written, block=own), **own}
    parameters = as_object(own.get("extra_params"))
    if parameters is not None:
        filled["extra_params"] = {**dict(preset.extra_params), **parameters}
    return reader.replaced(filled)


def default_variables(provider: str) -> tuple[str, str]:
    """The variables of client id and client secret where a block that names this provider names none."""
    return f"{provider.upper()}_CLIENT_ID", f"{provider.upper()}_CLIENT_SECRET"


def preset_keys(
    preset: Preset, values: Mapping[str, str], *, written: str, block: Mapping[str, object]
) -> dict[str, object]:
    """What a preset says, as keys of an auth block.

    `written` is its name there, `block` what the block itself says, because some keys go without others: a client id
    of its own needs no variable, and a client that sends no secret names none.
    """
    keys: dict[str, object] = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": fill_in(preset.authorization_url, values),
        "token_url": fill_in(preset.token_url, values),
        "scopes": list(preset.scopes),
        "scope_separator": preset.scope_separator,
        "token_request": preset.token_request,
        "refresh_with_redirect_uri": preset.refresh_with_redirect_uri,
        "send_pkce": preset.pkce != "omitted",
        "extra_params": dict(preset.extra_params),
    }
    id_variable, secret_variable = default_variables(written)
    if block.get("client_id") is None:
        keys["client_id_env"] = id_variable
    has_no_secret = "client_secret_env" in block and block["client_secret_env"] is None
    if block.get("token_endpoint_auth_method") != "none" and not has_no_secret:
        keys["client_secret_env"] = secret_variable
        if preset.token_endpoint_auth_method is not None:
            keys["token_endpoint_auth_method"] = preset.token_endpoint_auth_method
    addresses = {"issuer": preset.issuer}
    if _is_same_host(block.get("token_url"), fill_in(preset.token_url, values)):
        # What another provider hands out goes nowhere but to that one.
        addresses.update(refresh_url=preset.refresh_url, revocation_url=preset.revocation_url)
        if preset.dialect == "oidc":
            addresses["userinfo_url"] = preset.userinfo_url
    keys.update({key: fill_in(url, values) for key, url in addresses.items() if url is not None})
    return keys


def _is_same_host(written: object, known: str) -> bool:
    """Whether an address that the block may write is at the host of the preset's; a broken one is refused later."""
    if not isinstance(written, str):
        return True
    try:
        return urlsplit(written).netloc == urlsplit(known).netloc
    except ValueError:
        return False


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """The text with `{name}` replaced by the value of that name."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def _read_values(reader: ObjectReader, preset: Preset) -> dict[str, str] | None:
    """The values that the preset wants; None when one is missing or wrong."""
    values: dict[str, str] = {}
    before = len(reader.faults)
    for value in preset.values:
        if reader.get(value.name) is None:
            if value.default is None:
                reader.fault(value.name, f'is missing: the provider "{preset.name}" needs {value.what}')
            else:
                values[value.name] = value.default
            continue
        text = reader.text(value.name)
        if text is None:
            continue
        if not _is_usable(value, text):
            reader.fault(value.name, _HOW[value.kind])
        else:
            values[value.name] = text
    return values if len(reader.faults) == before else None


def _is_usable(value: Value, text: str) -> bool:
    if value.kind == "tenant":
        return _TENANT.fullmatch(text) is not None
    if value.kind == "name":
        return _NAME.fullmatch(text) is not None and text not in (".", "..")
    host, colon, port = text.partition(":")
    return is_host_name(host) and (not colon or (_PORT.fullmatch(port) is not None and int(port) <= _MAX_PORT))
