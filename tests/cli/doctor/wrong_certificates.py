"""Certificates that clients do not take, each for another reason."""

import datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Wrong = Literal["expired", "not yet valid", "self-signed", "wrong name", "incomplete", "unknown"]
Signer = tuple[x509.Name, ec.EllipticCurvePrivateKey]

DAY = datetime.timedelta(days=1)


def write_wrong(folder: Path, wrong: Wrong | None, *, good_host: str = "localhost") -> tuple[Path, Path, Path]:
    """What a client trusts, the file of the server's certificate and that of its key. None: nothing is wrong."""
    root = _name("root"), ec.generate_private_key(ec.SECP256R1())
    between = _name("between"), ec.generate_private_key(ec.SECP256R1())
    leaf = _name("leaf"), ec.generate_private_key(ec.SECP256R1())
    root_certificate = _sign(root, root, is_authority=True)
    between_certificate = _sign(between, root, is_authority=True)
    begins, ends = {"expired": (-9, -2), "not yet valid": (2, 9)}.get(wrong or "", (-1, 9))
    host = "other.example" if wrong == "wrong name" else good_host
    signer = leaf if wrong == "self-signed" else between
    certificate = _sign(leaf, signer, host=host, begins=begins, ends=ends)
    chain = [certificate]
    if wrong != "incomplete" and wrong != "self-signed":
        chain.append(between_certificate)
    if wrong == "unknown":
        chain.append(root_certificate)
        root_certificate = _sign(leaf, leaf, is_authority=True)
    paths = folder / "trusted.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(root_certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    paths[2].write_bytes(leaf[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def _sign(
    subject: Signer, issuer: Signer, *, is_authority: bool = False, host: str = "", begins: int = -1, ends: int = 9
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject[0])
        .issuer_name(issuer[0])
        .public_key(subject[1].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject[1].public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key()), critical=False)
    )
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = {"key_cert_sign": True, "crl_sign": True, "digital_signature": True}
        names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        never = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(**usage, **never), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(issuer[1], hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
