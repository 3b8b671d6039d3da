"""The certificate of a gateway without a proxy: checked before it is used, replaced without closing a connection.

New connections get the pair of now: OpenSSL asks for it when it has read the client's hello. Loading a pair into a
context that serves already would leave it without a key where the two files do not belong together.
"""

import asyncio
import contextlib
import logging
import os
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fluidmcp.cli.output import print_warning
from fluidmcp.config.listening.choose import TlsFiles
from fluidmcp.errors import ConfigurationError

WATCH_SECONDS: Final = 10.0
"""How often it is looked whether the files have changed."""
MAX_FILE_BYTES: Final = 1024 * 1024
WARN_DAYS: Final = 14
"""A certificate that ends so soon is told of."""

logger = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Certificate:
    """The pair of `files` as it was when it was last found good."""

    def __init__(self, files: TlsFiles, *, now: Callable[[], datetime] = _now) -> None:
        """Raises ConfigurationError: a file cannot be read, or the pair cannot be used."""
        self._files = files
        self._now = now
        self._seen = self._look()
        self._current = self._load()
        self.context = _new_context()
        """For the listening sockets; it has no pair of its own."""
        self.context.sni_callback = self._choose
        if _is_open_to_all(files.key):
            print_warning(f"everybody on this machine can read {files.key}: chmod o-r it.")

    def reload(self) -> None:
        """Use what is in the files now for new connections; if that is not good, say so and go on with what was."""
        self._seen = self._look()
        try:
            self._current = self._load()
        except ConfigurationError as error:
            logger.error("the certificate of before stays in use: %s %s", error.what, error.why)
        else:
            logger.info("new connections get the certificate that is in %s now", self._files.certificate)

    async def watch(self, seconds: float = WATCH_SECONDS) -> None:
        """Reload whenever the files have changed, without end."""
        while True:
            await asyncio.sleep(seconds)
            if self._look() != self._seen:
                self.reload()

    def _look(self) -> tuple[object, ...]:
        """Something that differs when one of the files does; behind symbolic links too, which certbot has."""
        found: list[object] = []
        for path in (self._files.certificate, self._files.key):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                found.append((path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        files = self._files
        ends_at = _check_pair(files, self._now())
        context = _new_context()
        try:
            context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
        except (ssl.SSLError, OSError) as error:
            # The files have changed since they were checked, or OpenSSL wants a longer key.
            reason = getattr(error, "reason", None) or error.strerror
            raise _unusable(f"OpenSSL refuses the pair: {reason}.") from error
        days = (ends_at - self._now()).days
        if days < WARN_DAYS:
            logger.warning("the certificate in %s ends on %s", files.certificate, _write_time(ends_at))
        return context


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_pair(files: TlsFiles, now: datetime) -> datetime:
    """When the certificate ends. Raises ConfigurationError; its text holds nothing of the key."""
    text = _read(files.certificate, "--tls-cert")
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError:
        raise _unusable(f"{files.certificate} holds no certificate in PEM (-----BEGIN CERTIFICATE-----).") from None
    certificate = certificates[0]
    key_text = _read(files.key, "--tls-key")
    try:
        key = load_pem_private_key(key_text, password=None)
    except TypeError:
        raise _unusable(
            f"The key in {files.key} is encrypted.", hint="Decrypt it, and let nobody else read the file."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable(f"{files.key} holds no private key in PEM (-----BEGIN PRIVATE KEY-----).") from None
    if _encode(certificate.public_key()) != _encode(key.public_key()):
        raise _unusable(
            f"The key in {files.key} is not that of the first certificate in {files.certificate}.",
            hint="Name the files of one pair; the server's own certificate comes first, its issuers' follow.",
        )
    if now >= certificate.not_valid_after_utc:
        raise _unusable(
            f"The certificate in {files.certificate} ended on {_write_time(certificate.not_valid_after_utc)}."
        )
    if now < certificate.not_valid_before_utc:
        raise _unusable(
            f"The certificate in {files.certificate} is good from {_write_time(certificate.not_valid_before_utc)} on.",
            hint="Wait, or set the clock of this machine.",
        )
    return certificate.not_valid_after_utc


def _read(path: str, option: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"The file of {option} cannot be read.",
            why=f"{path}: {error.strerror}.",
            hint="Correct the path, or let the user who runs the gateway read it.",
        ) from error


def _encode(public_key: Any) -> bytes:
    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _is_open_to_all(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def _refuse_password() -> str:
    """An encrypted key would make OpenSSL ask at the terminal."""
    return ""


def _write_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _unusable(
    why: str, *, hint: str = "Name a certificate and its key with --tls-cert and --tls-key."
) -> ConfigurationError:
    return ConfigurationError("The certificate cannot be used.", why=why, hint=hint)
