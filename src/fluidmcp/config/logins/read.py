"""The `auth` of an entry, whichever of its forms it has. Pure module: no I/O."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from fluidmcp.config.auth_block import AuthBlock, parse_auth_block
from fluidmcp.config.filling.expand import Expander
from fluidmcp.config.filling.templates import LOGIN_NAME, PERSON_EMAIL, PERSON_SUB, Placeholder
from fluidmcp.config.logins.keys import KeysBlock, parse_keys_block
from fluidmcp.config.reading import ObjectReader, as_object

MAX_LOGINS: Final = 3

Login: TypeAlias = AuthBlock | KeysBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLogins:
    """The `auth` object of an entry whose people log in at several places, in that order."""

    logins: tuple[tuple[str, Login], ...]


Auth: TypeAlias = AuthBlock | KeysBlock | NamedLogins


def list_logins(auth: Auth | None) -> tuple[tuple[str, Login], ...]:
    """The logins of a package by their names; "" for the only one."""
    match auth:
        case None:
            return ()
        case NamedLogins():
            return auth.logins
        case _:
            return (("", auth),)


def find_keys(auth: Auth | None) -> KeysBlock | None:
    """The keys that people of a package type, if they do."""
    return next((login for _, login in list_logins(auth) if isinstance(login, KeysBlock)), None)


def find_first_provider(auth: Auth | None) -> str | None:
    """The name of the first login at a provider, whose person counts as the one who logged in."""
    return next((name for name, login in list_logins(auth) if isinstance(login, AuthBlock)), None)


def has_login_page(auth: Auth | None) -> bool:
    """Whether people log in to the package in a browser; else nobody does, or keys come in headers alone."""
    return any(isinstance(login, AuthBlock) or "page" in login.keys_from for _, login in list_logins(auth))


def token_variables(auth: Auth | None) -> dict[str, str]:
    """Where tokens go by the short form: the login of each variable."""
    return {login.env_var_name: name for name, login in list_logins(auth) if login.env_var_name}


def names_who_is_allowed(auth: Auth | None) -> bool:
    """Whether one of the logins says who may come in: everybody has to pass them all."""
    return any(login.names_who_is_allowed for _, login in list_logins(auth))


def parse_auth(reader: ObjectReader, expander: Expander, *, allowed_env_names: frozenset[str]) -> Auth | None:
    """The `auth` of an entry, or None when something is wrong with it; every fault stands in `reader.faults` then."""
    values = [value for _, value in reader.items()]
    if not values or not all(isinstance(value, dict) for value in values) or _lacks_type(reader):
        return _parse_login(reader, expander, allowed_env_names)
    before = len(reader.faults)
    logins: list[tuple[str, Login]] = []
    for name in reader.keys():
        if not LOGIN_NAME.fullmatch(name):
            reader.fault(name, "is not a usable name for a login: a small letter, then small letters, digits, _ or -")
        login = _parse_login(reader.nested(name), expander, allowed_env_names)
        if login is not None:
            logins.append((name, login))
    if len(values) > MAX_LOGINS:
        reader.faults.append(f"{reader.path} names more than {MAX_LOGINS} logins")
    if sum(isinstance(login, KeysBlock) for _, login in logins) > 1:
        reader.faults.append(f"{reader.path} has several logins of keys; ask for all keys in one")
    if any(isinstance(login, KeysBlock) and login.keys_from != ("page",) for _, login in logins):
        reader.faults.append(f"{reader.path} has other logins beside the keys, which are typed on the page then")
    variables = [login.env_var_name for _, login in logins if login.env_var_name]
    if len(set(variables)) < len(variables):
        reader.faults.append(f"{reader.path} names one variable as env_var_name of two logins")
    return NamedLogins(logins=tuple(logins)) if len(reader.faults) == before else None


def _lacks_type(reader: ObjectReader) -> bool:
    """Whether this is a block of keys without its `type`, which looks like a login of the name `keys`."""
    keys = as_object(reader.get("keys"))
    return keys is not None and "type" not in reader and not {"type", "provider"} & keys.keys()


def _parse_login(reader: ObjectReader, expander: Expander, allowed_env_names: frozenset[str]) -> Login | None:
    if reader.get("type") == "keys":
        return parse_keys_block(reader, expander)
    if "keys" in reader:
        reader.fault("type", 'must be "keys", where people type keys')
        return None
    return parse_auth_block(reader, allowed_env_names=allowed_env_names)


def check_placeholder(placeholder: Placeholder, auth: Auth | None) -> str | None:
    """What is wrong with a value of a person in an entry with these logins; None when some login gives it."""
    logins = dict(list_logins(auth))
    if placeholder.name in (PERSON_SUB, PERSON_EMAIL):
        if any(isinstance(login, AuthBlock) for login in logins.values()):
            return None
        return f"holds {placeholder}, but who types keys does not say who they are"
    login = placeholder.login
    if login is None:
        keys = find_keys(auth)
        name = placeholder.name.removeprefix("keys.")
        if keys is not None and any(key.name == name for key in keys.keys):
            return None
        return f"holds {placeholder}, but auth asks for no key of that name"
    if isinstance(logins.get(login), AuthBlock):
        return None
    if not login:
        names = " or ".join(f"${{auth.{name}.{placeholder.member}}}" for name in logins if name)
        return f"holds {placeholder}, " + (
            f"but auth has several logins: write {names}" if names else "but auth is keys"
        )
    return f"holds {placeholder}, but auth has no login of that name"


def list_wanted(placeholders: frozenset[Placeholder], auth: Auth | None, login: str) -> tuple[str, ...]:
    """What of a login these hold beside its token and what goes with that: `id_token`, `extra.NAME`, `email`.

    The address is that of the first login at a provider.
    """
    found = {one.member for one in placeholders if one.login == login}
    wanted = {member for member in found if member == "id_token" or member.startswith("extra.")}
    if login == find_first_provider(auth) and any(one.name == PERSON_EMAIL for one in placeholders):
        wanted.add("email")
    return tuple(sorted(wanted))


def list_unused(auth: Auth | None, used: frozenset[Placeholder]) -> list[str]:
    """What people would give without any use: keys, and tokens of logins, that reach no place of the entry."""
    names = {placeholder.name for placeholder in used}
    logins = {placeholder.login for placeholder in used}
    keys = find_keys(auth)
    unused = [] if keys is None else [f"keys.{key.name}" for key in keys.keys if f"keys.{key.name}" not in names]
    for name, login in list_logins(auth):
        if isinstance(login, AuthBlock) and not login.env_var_name and name not in logins:
            unused.append(f"auth.{name}.access_token" if name else "auth.access_token")
    return unused
