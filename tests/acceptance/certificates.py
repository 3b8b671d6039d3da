"""Certificates of an authority of the test's own, for a gateway that speaks https."""

import datetime
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY: Final = datetime.timedelta(days=1)


class Authority:
    """Signs certificates for localhost, and is trusted by `context`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self._signing = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        public = self._signing.public_key()
        built = (
            _build(self._name, self._name, public, days=365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_usage(), critical=True)
        )
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        self.path = folder / "authority.pem"
        self.path.write_bytes(built.sign(self._signing, hashes.SHA256()).public_bytes(Encoding.PEM))

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))

    def issue(self, *, begins_in_days: float = -1, days: float = 365, password: bytes | None = None) -> int:
        """Write a new pair; the serial number of its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = (
            _build(_name("localhost"), self._name, key.public_key(), begins_in_days=begins_in_days, days=days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(self._identifier, critical=False)
            .sign(self._signing, hashes.SHA256())
        )
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
        self.certificate.write_bytes(built.public_bytes(Encoding.PEM))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        self.key.chmod(0o600)
        return built.serial_number


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    begins_in_days: float = -1,
    days: float,
) -> x509.CertificateBuilder:
    begins_at = datetime.datetime.now(datetime.UTC) + begins_in_days * DAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + days * DAY)
    )
