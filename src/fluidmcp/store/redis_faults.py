"""Why Redis cannot be used, in plain words: never the text of an error, which could hold the address."""

import errno
import re
import socket
import ssl
from collections.abc import Generator, Mapping
from typing import Final

from fluidmcp.store import deferred

_CERTIFICATES: Final[Mapping[int, str]] = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by nobody whom this machine trusts: ssl_ca_certs names the file of an authority",
    19: "is signed by nobody whom this machine trusts: ssl_ca_certs names the file of an authority",
    20: "is signed by nobody whom this machine trusts: ssl_ca_certs names the file of an authority",
    62: "is for another name",
    64: "is for another address",
}
"""By OpenSSL's numbers (X509_V_ERR_...)."""


def explain_fault(error: BaseException) -> str:
    """A sentence without its end."""
    causes = list(_list_causes(error))
    return next((words for cause in causes if (words := _explain_one(cause))), "It answered with an error")


def _list_causes(error: BaseException | None) -> Generator[BaseException]:
    """The deepest first: the client library puts errors of its own around those that say why."""
    if error is not None:
        yield from _list_causes(error.__cause__ or error.__context__)
        yield error


def _explain_one(error: BaseException) -> str:
    if isinstance(error, OSError):
        return _explain_system_fault(error)
    match error:
        case deferred.AuthenticationError():
            if "required" in str(error):
                return "It wants a password, and the address has none"
            return "It does not know this user with this password"
        case deferred.NoPermissionError():
            command = re.search(r"'([a-z|]{1,30})' command", str(error))
            return f"Its user may not use {command[1] if command else 'the names fmcp1:*'}"
        case deferred.BusyLoadingError():
            return "It is still reading what it had written to disk"
        case deferred.MasterNotFoundError() if "AuthenticationError" in str(error):
            return "The Sentinels want another password (sentinel_password in the address)"
        case deferred.MasterNotFoundError():
            return "No Sentinel that answers knows a primary server of that name that is up"
        case deferred.RedisClusterException() if "not enabled" in str(error):
            return "It is a single server, for which the address begins with redis://"
        case deferred.RedisClusterException():
            return "It is no cluster whose nodes serve all slots"
        case deferred.TimeoutError():
            return "It did not answer in time"
        case deferred.RedisError() if "can't run this command" in str(error):
            return "Its user may not use all commands of the scripts"
        case deferred.RedisError() if "NOREPLICAS" in str(error):
            return "It has fewer replicas than its min-replicas-to-write"
        case deferred.ConnectionError() if str(error).startswith(f"Error {errno.ECONNREFUSED} "):
            # Not in all cases is the system's error among the causes.
            return "Nothing listens there"
        case deferred.ConnectionError() if "closed" in str(error):
            return "It ended the connection: servers with TLS want rediss://, full ones take no more clients"
        case _:
            return ""


def _explain_system_fault(error: OSError) -> str:
    match error:
        case socket.gaierror():
            return "Its name is not known to DNS"
        case ssl.SSLCertVerificationError():
            return f"Its certificate {_CERTIFICATES.get(error.verify_code, 'is not accepted')}"
        case ssl.SSLError():
            return "It does not speak TLS there, or not with us"
        case TimeoutError():
            return "It did not answer in time"
        case ConnectionResetError() | BrokenPipeError():
            return "It ended the connection: servers with TLS want rediss://, full ones take no more clients"
        case FileNotFoundError() | PermissionError():
            return "A file of certificates that the address names cannot be read"
        case _ if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
            return "Nothing listens there"
        case _:
            return "The network does not reach it"
