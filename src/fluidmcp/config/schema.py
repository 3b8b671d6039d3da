"""The JSON schema of our own file (draft 2020-12), for editors: they complete keys and mark mistakes. Pure module.

A test compares its keys with those that are read. It says less than the gateway checks: what is left to say when a file
is read depends on the machine, or on more than one key.
"""

from collections.abc import Mapping
from typing import Final, get_args

from fluidmcp.config.auth_block import MAX_DESCRIPTION_CHARACTERS, TokenEndpointAuthMethod, TokenRequest, Validation
from fluidmcp.config.filling.files import MAX_FILES
from fluidmcp.config.filling.templates import KEY_NAME
from fluidmcp.config.isolation import LEVELS
from fluidmcp.config.logins.keys import MAX_KEYS, MAX_TITLE_CHARACTERS, KeySource
from fluidmcp.config.logins.read import MAX_LOGINS
from fluidmcp.config.providers.fill import VALUE_NAMES
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import ALIASES, PRESETS
from fluidmcp.config.reading import MAX_SECONDS

SCHEMA_PATH: Final = "/schema/config.json"
SCHEMA_ADDRESS: Final = f"http://localhost:8099{SCHEMA_PATH}"
"""Where a gateway on this machine serves it; `$schema` of the files that `fluidmcp import` writes."""

Json = dict[str, object]

_COMMENTS: Final[Mapping[str, object]] = {r"^(?:_|\$|//|#|x-)": True}


def build_schema() -> Json:
    """The schema, a new object each time."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ADDRESS,
        "title": "FluidMCP",
        "description": "The MCP servers of a gateway.",
        "type": "object",
        "required": ["mcpServers"],
        "properties": {
            "$schema": _text("The address of this schema."),
            "mcpServers": {
                "description": "The servers by name. The name becomes the address: /NAME/mcp.",
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/server"},
            },
            "inputs": {
                "description": "Values that are asked for at the start; ${input:ID} stands for them.",
                "type": "array",
                "items": {"$ref": "#/$defs/input"},
            },
        },
        "patternProperties": dict(_COMMENTS),
        "additionalProperties": False,
        "$defs": {
            "server": _describe_server(),
            "auth": _describe_auth(),
            "keys": _describe_keys(),
            "input": _describe_input(),
        },
    }


def _describe_server() -> Json:
    properties: Json = {
        "command": _text("The program that speaks MCP on stdin and stdout.", minLength=1),
        "args": _list("Its arguments.", {"type": ["string", "number", "boolean"]}),
        "package": _text(
            "In place of command: a package by name, such as npm:@scope/name@1.2.3 or pypi:name==1.2.", minLength=1
        ),
        "python": _text("The Python for a package of PyPI, such as 3.12."),
        "secrets_in_args": _flag("true: args may hold the credential of a person, which all users of the machine see."),
        "env": _describe_env(),
        "files": _describe_files(),
        "envFile": _text("A file of NAME=VALUE lines in the folder of this file; env goes over it."),
        "cwd": _text("The working directory; relative ones count from the folder of this file."),
        "tools": _object(
            "Which tools exist for callers, by their exact names. deny wins.",
            {
                "allow": _list("Nothing but these.", _name("A tool")),
                "deny": _list("All but these.", _name("A tool")),
            },
        ),
        "request_timeout_seconds": _seconds("How long the server may take to answer."),
        "start_timeout_seconds": _seconds("How long a start may take."),
        "auth": {
            "description": "How people log in: one login, or up to three by their names.",
            "anyOf": [
                {"$ref": "#/$defs/auth"},
                {"$ref": "#/$defs/keys"},
                {
                    "type": "object",
                    "propertyNames": {"pattern": "^[a-z][a-z0-9_-]{0,31}$"},
                    "additionalProperties": {"anyOf": [{"$ref": "#/$defs/auth"}, {"$ref": "#/$defs/keys"}]},
                    "minProperties": 1,
                    "maxProperties": MAX_LOGINS,
                },
            ],
        },
        "shared": _flag("One process for everybody; not together with auth."),
        "isolation": {"description": "What keeps its processes from others.", "enum": [*LEVELS]},
        "paths": _object(
            "Files and folders that it needs beyond its own.",
            {
                "read": _list("To read.", _name("A path")),
                "write": _list("To read and to write.", _name("A path")),
            },
        ),
        "disabled": _flag("true leaves the entry out."),
        "url": _text("A remote server; read, and not served yet.", pattern=r"^(?:https?://|wss?://|\$)"),
        "headers": {
            "description": "Headers for a remote server.",
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        },
        "type": _text("stdio, or the kind of a remote server."),
    }
    return {
        **_object("A server.", properties),
        "patternProperties": dict(_COMMENTS),
        "anyOf": [{"required": [key]} for key in ("command", "package", "url")],
        "not": {"required": ["command", "package"]},
    }


def _describe_env() -> Json:
    return {
        "description": "Variables of the server. null: not set.",
        "type": "object",
        "propertyNames": {"pattern": r"^(?!FMCP_)[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                _object(
                    "A variable; without a value it comes from the gateway's environment.",
                    {
                        "value": {"type": ["string", "number", "boolean", "null"]},
                        "json": {"description": "In place of value: any JSON, serialised when it is filled in."},
                        "required": _flag("Whether the server cannot do without it."),
                        "description": _text("What it is for."),
                    },
                ),
            ]
        },
    }


def _describe_files() -> Json:
    content = _object(
        "A file: its content as text or json.",
        {
            "text": _text("What is in it."),
            "json": {"description": "What is in it, serialised when it is filled in."},
            "env": _text("The variable that holds the path of the file.", pattern="^[A-Z][A-Z0-9_]*$"),
        },
    )
    return {
        "description": "Files in the private home of a person's process: ~/PATH, or a name where env tells the path.",
        "type": "object",
        "propertyNames": {"pattern": r"^(?:~/)?[^/]"},
        "maxProperties": MAX_FILES,
        "additionalProperties": {**content, "oneOf": [{"required": ["text"]}, {"required": ["json"]}]},
    }


def _describe_auth() -> Json:
    properties: Json = {
        "provider": {"description": "A provider that is known.", "enum": sorted([*PRESETS, *ALIASES])},
        "type": {"const": "oauth2"},
        "flow": {"const": "pkce"},
        "authorization_url": _text("Where the provider asks the person."),
        "token_url": _text("Where the gateway exchanges the code."),
        "refresh_url": _text("Where refresh tokens go, where that is another address."),
        "env_var_name": _text("The variable in which the server gets the caller's token.", pattern="^[A-Z][A-Z0-9_]*$"),
        "scopes": _list("What to ask for.", _name("A scope")),
        "client_id_env": _text("The variable that holds the client id; its name ends in CLIENT_ID."),
        "client_id": _text("The client id itself, for public clients."),
        "client_secret_env": {
            "description": "The variable that holds the client secret; its name ends in CLIENT_SECRET. null: none.",
            "type": ["string", "null"],
        },
        "token_endpoint_auth_method": {
            "description": "How the secret is sent.",
            "enum": [*get_args(TokenEndpointAuthMethod)],
        },
        "token_request": {"description": "How token requests are written.", "enum": [*get_args(TokenRequest)]},
        "refresh_with_redirect_uri": _flag("A refresh repeats the redirect URI."),
        "send_pkce": _flag("false: for providers without PKCE that refuse what they do not know."),
        "extra_params": {
            "description": "Further parameters of the authorization request.",
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
        "scope_separator": {"description": "What stands between scopes.", "enum": [" ", ","]},
        "issuer": _text("The provider's issuer."),
        "introspection_url": _text("The provider's RFC 7662 endpoint."),
        "validation": {
            "description": "How tokens are checked that were not handed out here.",
            "enum": [*get_args(Validation)],
        },
        "audience": _text("What tokens have to be meant for."),
        "jwks_uri": _text("The signing keys of JWTs."),
        "userinfo_url": _text("Tells whose a token is."),
        "allow_unbound_tokens": _flag("Tokens that userinfo knows are good, whomever they were made for."),
        "revocation_url": _text("The provider's RFC 7009 endpoint."),
        "required_scopes": _list("Scopes without which a token is not enough.", _name("A scope")),
        "scope_descriptions": {
            "description": "The scopes in words.",
            "type": "object",
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARACTERS},
        },
        "accept_provider_tokens": _flag("false: the provider's own tokens are not good."),
        "allowed_subjects": _list("The provider's identifiers of those who are let in.", _name("A person")),
        "allowed_domains": _list("Mail domains of those who are let in.", _name("A domain")),
        "allow_any_user": _flag("Everybody with an account at the provider is let in."),
    }
    return {
        **_object("A login per person.", {**properties, **_describe_values()}),
        "anyOf": [{"required": ["provider"]}, {"required": ["type", "flow", "authorization_url", "token_url"]}],
        "dependentRequired": {name: ["provider"] for name in sorted(VALUE_NAMES)},
        "allOf": [_describe_preset(preset) for preset in PRESETS.values() if preset.required_values],
    }


def _describe_keys() -> Json:
    """`"type": "keys"`."""
    key = _object(
        "One field of the page.",
        {
            "title": _text("What the page calls it.", maxLength=MAX_TITLE_CHARACTERS),
            "pattern": _text("A regular expression for the whole key."),
            "help": _text("The page where people find it.", pattern="^https?://"),
            "secret": _flag("false: it is no secret, such as a user name."),
        },
    )
    check = _object(
        "A GET that the API answers with 2xx where the keys are good.",
        {
            "url": _text("Where to ask.", pattern="^https?://"),
            "headers": {
                "description": "Headers, with ${keys.NAME} in them.",
                "type": "object",
                "additionalProperties": {"type": "string"},
                "minProperties": 1,
            },
        },
    )
    properties: Json = {
        "type": {"const": "keys"},
        "keys": {
            "description": "What people have to type, by the names that ${keys.NAME} uses.",
            "type": "object",
            "propertyNames": {"pattern": f"^{KEY_NAME.pattern}$"},
            "additionalProperties": key,
            "minProperties": 1,
            "maxProperties": MAX_KEYS,
        },
        "verify": {**check, "required": ["url", "headers"]},
        "keys_from": {
            **_list("Where keys may come from.", {"enum": [*get_args(KeySource)]}),
            "minItems": 1,
        },
        "allow_any_user": _flag("Whoever comes may type keys, although nothing guards the gateway."),
    }
    return {**_object("Keys that each person types.", properties), "required": ["type", "keys"]}


def _describe_values() -> Json:
    """What presets ask of the operator: for each name, what it is at each of them."""
    values = [(preset.name, value) for preset in PRESETS.values() for value in preset.values]
    found = {name: [f"{of}: {value.what}" for of, value in values if value.name == name] for name in VALUE_NAMES}
    return {name: _text("; ".join(found[name]) + ".", minLength=1) for name in sorted(found)}


def _describe_preset(preset: Preset) -> Json:
    names = [preset.name, *(alias for alias, name in ALIASES.items() if name == preset.name)]
    return {
        "if": {"properties": {"provider": {"enum": names}}, "required": ["provider"]},
        "then": {"required": [value.name for value in preset.required_values]},
    }


def _describe_input() -> Json:
    properties: Json = {
        "id": _text("What ${input:ID} names.", minLength=1),
        "type": {"enum": ["promptString", "pickString"]},
        "description": _text("The question."),
        "password": _flag("Whether the answer is not shown."),
        "default": {"type": ["string", "number", "boolean"]},
        "options": _list("The answers to choose from, for pickString.", {"type": ["string", "object"]}),
        "required": _flag("false: it may stay without an answer."),
        "multiple": _flag("Several answers, of which each becomes an argument."),
        "number": _flag("Whether the answer is a number."),
        "min": {"type": "number"},
        "max": {"type": "number"},
    }
    return {"type": "object", "properties": properties, "required": ["id"]}


def _object(description: str, properties: Json) -> Json:
    return {"description": description, "type": "object", "properties": properties, "additionalProperties": False}


def _text(description: str, **rules: object) -> Json:
    return {"description": description, "type": "string", **rules}


def _name(description: str) -> Json:
    return _text(f"{description}.", minLength=1)


def _list(description: str, items: Json) -> Json:
    return {"description": description, "type": "array", "items": items}


def _flag(description: str) -> Json:
    return {"description": description, "type": "boolean"}


def _seconds(description: str) -> Json:
    return {"description": description, "type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS}
