"""All presets by name. Pure module: no I/O."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.config.providers.companies import COMPANIES
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.projects import PROJECTS
from fluidmcp.config.providers.services import SERVICES

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {preset.name: preset for preset in sorted((*COMPANIES, *PROJECTS, *SERVICES), key=lambda preset: preset.name)}
)
ALIASES: Final[Mapping[str, str]] = MappingProxyType({"entra": "microsoft", "azure": "microsoft", "jira": "atlassian"})
"""Other names of a preset."""
_BY_TOKEN_HOST: Final[Mapping[str, Preset]] = MappingProxyType(
    {host: preset for preset in PRESETS.values() for host in preset.token_hosts}
)
_BY_AUTHORIZATION_HOST: Final[Mapping[str, Preset]] = MappingProxyType(
    {host: preset for preset in PRESETS.values() for host in preset.authorization_hosts}
)


def find_preset(name: str) -> Preset | None:
    """The preset of this name or alias; None when there is none."""
    return PRESETS.get(ALIASES.get(name, name))


def find_by_token_host(host: str) -> Preset | None:
    """The preset whose provider is recognised by the host of its token endpoint; None for all others."""
    return _BY_TOKEN_HOST.get(host)


def find_by_authorization_host(host: str) -> Preset | None:
    """The preset whose provider is recognised by the host of its authorization endpoint; None for all others."""
    return _BY_AUTHORIZATION_HOST.get(host)


def nearest_names(name: str) -> tuple[str, ...]:
    """At most three names of presets that look like this one."""
    return tuple(difflib.get_close_matches(name.lower(), (*PRESETS, *ALIASES), n=3, cutoff=0.6))
