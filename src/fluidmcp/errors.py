"""Every failure that FluidMCP raises on purpose.

    FluidMCPError
    ├── UserError                      a mistake of the person at the command line; exit code 2
    │   ├── ConfigurationError         a setting, a package file or an entry is wrong
    │   │   └── RemoteEntryError       an entry of a file is a remote server, which cannot be served yet
    │   ├── UnknownPackageError        the named package is not there
    │   └── PortInUseError             a socket cannot be bound
    ├── InstallError                   npm or uv failed to install a package
    ├── GatewayUnreachableError        `tools`, `call` and `connect`: no gateway answers there
    ├── GatewayAnswerError             the same: it answers, but refuses, or says something that is no answer
    ├── ServerProcessError             something about a child process
    │   ├── ServerStartError           it did not start or did not finish the MCP handshake
    │   ├── ServerExitedError          it went away while a call was in flight
    │   ├── ServerTimeoutError         it did not answer in time
    │   ├── ServerBackingOffError      it failed repeatedly; wait before the next start
    │   └── CapacityError              a limit on processes or sessions is reached
    ├── RequestError                   the HTTP request is refused (`status` says how)
    ├── StoreUnavailableError          the store that several gateways share does not answer: 503
    └── AuthError                      something about tokens and logins
        ├── UnauthorizedError          no token, or one that is not good: 401
        ├── ForbiddenError             a good token of somebody who is not allowed: 403
        ├── LoginError                 a login, callback or refresh cannot go on: 4xx
        ├── OAuthError                 our own authorization server refuses a request: an error code of OAuth
        ├── NotLoggedInError           nobody ran `fluidmcp login` on this machine
        ├── TokenRefreshError          the stored login could not be renewed
        ├── ProviderAnswerError        the provider's answer makes no sense: 502
        └── ProviderUnavailableError   the provider cannot be reached, or is broken: 503

A message has up to three parts: *what* happened, *why*, and *what to do* (`hint`). All three are safe to show to
the person who caused the failure: they never hold a token, a code, a verifier, a secret or the text of a foreign
exception.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

MIN_HIDDEN_CHARACTERS: Final = 4
"""Shorter values are left alone: hiding "1" would make a message unreadable."""


class FluidMCPError(Exception):
    """The base of all failures raised on purpose; `code` is stable and machine-readable."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint


def hide_values(error: FluidMCPError, values: Iterable[str]) -> None:
    """Take values out of the message of an error, which quoted text that was filled in."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= MIN_HIDDEN_CHARACTERS:
            error.what = error.what.replace(value, "***")
            error.why = error.why.replace(value, "***")
            error.hint = error.hint.replace(value, "***")
    error.args = (error.what,)


class WouldWaitError(Exception):
    """A request that must be answered at once would have to wait: whoever tried it does it in a way that can.

    Not a failure, and never shown to anybody. Nothing has been done when it is raised.
    """


class UserError(FluidMCPError):
    """A mistake of the person at the command line: one line what, one line why, one line what to do; exit code 2."""

    code = "usage"


class ConfigurationError(UserError):
    code = "configuration"


class RemoteEntryError(ConfigurationError):
    """Nothing else is wrong with the entry."""


class UnknownPackageError(UserError):
    code = "unknown_package"


class PortInUseError(UserError):
    code = "port_in_use"


class InstallError(FluidMCPError):
    """npm or uv failed, or cannot be run; `output_tail` holds its last lines, redacted."""

    code = "install"

    def __init__(self, what: str, *, why: str = "", hint: str = "", output_tail: tuple[str, ...] = ()) -> None:
        super().__init__(what, why=why, hint=hint)
        self.output_tail = output_tail


class GatewayUnreachableError(FluidMCPError):
    code = "gateway_unreachable"


class GatewayAnswerError(FluidMCPError):
    """`rpc_code` is that of a JSON-RPC error, `status` the HTTP status, None where there is none."""

    code = "gateway_answer"

    def __init__(
        self, what: str, *, why: str = "", hint: str = "", rpc_code: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.rpc_code = rpc_code
        self.status = status


class ServerProcessError(FluidMCPError):
    """Where the process did not start, `stderr_tail` holds its last lines, redacted, for those who may see them."""

    code = "server_process"

    def __init__(self, what: str, *, why: str = "", hint: str = "", stderr_tail: tuple[str, ...] = ()) -> None:
        super().__init__(what, why=why, hint=hint)
        self.stderr_tail = stderr_tail


class ServerStartError(ServerProcessError):
    """`exit_code` is that of a process which ended by itself; below 0 it is the number of a signal."""

    code = "server_start"
    has_run: ClassVar[bool] = False
    """Whether there was a process at all."""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        hint: str = "",
        stderr_tail: tuple[str, ...] = (),
        exit_code: int | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, stderr_tail=stderr_tail)
        self.exit_code = exit_code


class ServerExitedError(ServerProcessError):
    code = "server_exited"


class ServerTimeoutError(ServerProcessError):
    code = "server_timeout"


class _RetryLaterError(ServerProcessError):
    def __init__(self, what: str, *, retry_after_seconds: float, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class ServerBackingOffError(_RetryLaterError):
    """The server failed repeatedly and is not started again before `retry_after_seconds` have passed."""

    code = "server_backing_off"


class CapacityError(_RetryLaterError):
    """A limit is reached; the same request may pass after `retry_after_seconds`."""

    code = "capacity"


class RequestError(FluidMCPError):
    """The HTTP request is refused with `status` before anybody looked at its meaning."""

    code = "invalid_request"

    def __init__(self, status: int, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.status = status


class StoreUnavailableError(FluidMCPError):
    """What several gateways share cannot be read or written now; nobody gets through by that."""

    code = "store_unavailable"
    retry_after_seconds: ClassVar[float] = 2


class AuthError(FluidMCPError):
    code = "auth"


class _ChallengeError(AuthError):
    """What a `WWW-Authenticate` header is made of (RFC 6750 section 3)."""

    def __init__(self, what: str, *, reason: str | None = None, scope: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.reason = reason
        self.scope = scope
        self.resource_metadata = ""
        """Where the login is described that leads to a good token (RFC 9728); filled in where the package is known."""


class UnauthorizedError(_ChallengeError):
    """No token, or one that is not good. `reason` is the RFC 6750 error code, None when no token was sent."""

    code = "unauthorized"


class ForbiddenError(_ChallengeError):
    """A good token of somebody who is not allowed, or one that may do too little.

    `reason` is the RFC 6750 error code (`insufficient_scope`) or None; `scope` then holds the scopes that are needed.
    """

    code = "forbidden"


class LoginError(AuthError):
    """A login, callback or refresh cannot go on; `status` is the HTTP status of the answer."""

    code = "login"

    def __init__(
        self,
        what: str,
        *,
        status: int = 400,
        why: str = "",
        hint: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class OAuthError(AuthError):
    """An endpoint of our own authorization server refuses the request.

    `error` is the code that an RFC defines for it (RFC 6749 section 5.2, RFC 7591 section 3.2.2, ...), `status` the
    HTTP status; the rest becomes the `error_description`.
    """

    code = "oauth"

    def __init__(
        self,
        error: str,
        what: str,
        *,
        status: int = 400,
        why: str = "",
        hint: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.error = error
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class NotLoggedInError(AuthError):
    code = "not_logged_in"


class _ProviderSaidError(AuthError):
    def __init__(self, what: str, *, provider_error: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.provider_error = provider_error


class TokenRefreshError(_ProviderSaidError):
    """The login that is stored on this machine could not be renewed; `provider_error` is the OAuth code, if any."""

    code = "token_refresh"


class ProviderAnswerError(_ProviderSaidError):
    """The provider answered something that is not a token answer, or refused; `provider_error` is its OAuth code."""

    code = "provider_answer"


class ProviderUnavailableError(AuthError):
    code = "provider_unavailable"
