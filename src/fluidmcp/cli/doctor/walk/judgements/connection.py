"""Why no answer came, and what the clocks say. Pure module."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from fluidmcp.cli.doctor.walk.address import split_address
from fluidmcp.cli.doctor.walk.report import Diagnosis, Step
from fluidmcp.cli.doctor.walk.seen import Answer, Certificate, Failure

MAX_CLOCK_SKEW_SECONDS: Final = 60.0
"""The clock error that the checks of tokens allow."""

# X509_V_ERR_... of OpenSSL.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_UNKNOWN_ROOT: Final = 19
_WRONG_NAMES: Final = (62, 64)
_CHAIN: Final = "Put the certificates of its issuers behind it in the file of --tls-cert, or of the proxy."

_FAILURES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        "name": (
            "name_unknown",
            "The name {host} has no address.",
            "Correct the host in the address, or add it to your DNS.",
        ),
        "refused": (
            "unreachable",
            "Nothing accepts connections at {place}.",
            "Start the gateway or the proxy there, and check port and firewall.",
        ),
        "timeout": (
            "no_answer",
            "{place} did not answer within {seconds:g} seconds.",
            "See whether a firewall drops the connection, and whether the proxy reaches the gateway.",
        ),
        "not_tls": (
            "not_https",
            "{place} speaks http, and was asked for https.",
            "Use http:// in the address, or set up TLS there (--tls-cert, or a proxy).",
        ),
        "broken": (
            "connection_broken",
            "{place} accepted the connection and broke it off before the answer was complete.",
            "Check the log of what listens there. If it expects https, use https:// in the address.",
        ),
        "not_allowed": (
            "inner_address",
            "The gateway sends clients and browsers to {url}, which others cannot reach.",
            "Set --public-url of the gateway, or the address of the provider, to one that everybody can use.",
        ),
    }
)


def judge_failure(failure: Failure, step: Step) -> Diagnosis:
    """What a missing answer means."""
    parts = split_address(failure.url)
    host = parts.hostname or ""
    if failure.kind == "tls":
        return judge_certificate(failure.certificate or Certificate(verify_code=0), host, step)
    code, cause, remedy = _FAILURES[failure.kind]
    filled = cause.format(host=host, place=parts.netloc, seconds=failure.seconds, url=failure.url)
    return Diagnosis(code=code, step=step, cause=filled, remedy=remedy)


def judge_certificate(certificate: Certificate, host: str, step: Step = "connection") -> Diagnosis:
    """Why clients do not trust the certificate of `host`."""
    match certificate.verify_code:
        case code if code == _EXPIRED:
            return Diagnosis(
                code="certificate_expired",
                step=step,
                cause=f"The certificate of {host} ended on {certificate.not_after}.",
                remedy="Renew it. The gateway takes up new files of --tls-cert by itself; a proxy has to be reloaded.",
            )
        case code if code == _NOT_YET_VALID:
            return Diagnosis(
                code="certificate_not_yet_valid",
                step=step,
                cause=f"The certificate of {host} begins on {certificate.not_before}.",
                remedy="Check the clock of this machine and of the one that made the certificate.",
            )
        case code if code == _SELF_SIGNED:
            return Diagnosis(
                code="certificate_self_signed",
                step=step,
                cause=f"The certificate of {host} is signed by itself: no client trusts it.",
                remedy="Get one from an authority that clients know (Let's Encrypt, or the authority of your company).",
            )
        case code if code in _WRONG_NAMES:
            names = ", ".join(certificate.names) or "no name at all"
            return Diagnosis(
                code="certificate_wrong_name",
                step=step,
                cause=f"The certificate is for {names}, not for {host}.",
                remedy=f"Use a name of the certificate in the address, or get one for {host}.",
            )
        case code if code == _UNKNOWN_ROOT:
            return Diagnosis(
                code="certificate_unknown_authority",
                step=step,
                cause=f"The certificate of {host} is of an authority that is not known here: {certificate.issuer}.",
                remedy="If it is yours, say --ca FILE to doctor, and add it to the machines of your clients. Services "
                "(Claude, ChatGPT) will not know it.",
            )
        case _:
            return Diagnosis(
                code="certificate_chain_incomplete",
                step=step,
                cause=f"The server sends its certificate without that of its issuer: {certificate.issuer}.",
                remedy=f"{_CHAIN} If the issuer is an authority of your own, say --ca FILE to doctor.",
            )


def judge_clock(gateway: Answer, provider: Answer | None) -> Diagnosis | None:
    """Our clock against the gateway's `Date` (RFC 9110 section 6.6.1); the provider's says who of the two is wrong."""
    skew = _read_skew(gateway)
    if skew is None or abs(skew) <= MAX_CLOCK_SKEW_SECONDS:
        return None
    other = None if provider is None else _read_skew(provider)
    how = f"{_in_words(skew)} {'ahead of' if skew > 0 else 'behind'}"
    if other is None:
        whose, machine = "The clocks of the gateway and of this machine differ", "both machines"
        cause = f"{whose}: this one is {how} the other."
    elif abs(other) <= MAX_CLOCK_SKEW_SECONDS:
        machine = "the gateway's machine"
        backwards = f"{_in_words(skew)} {'behind' if skew > 0 else 'ahead of'}"
        cause = f"The gateway's clock is {backwards} ours and the provider's."
    else:
        machine = "this machine"
        cause = f"The clock of this machine is {how} the gateway's, and not right by the provider's either."
    return Diagnosis(
        code="clock",
        step="connection",
        cause=cause,
        remedy=f"Set the clock of {machine} (NTP): tokens and certificates are good for a time only.",
    )


def _in_words(seconds: float) -> str:
    return f"{abs(seconds):.0f} seconds" if abs(seconds) < 120 else f"{abs(seconds) / 60:.0f} minutes"


def _read_skew(answer: Answer) -> float | None:
    """How far our clock is ahead of the answer's, in seconds; 0 within what the answer took."""
    try:
        told = parsedate_to_datetime(answer.header("date"))
    except (ValueError, IndexError):
        return None
    theirs = (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp()
    before, after = answer.asked_at, answer.answered_at
    return before - theirs if theirs < before else min(0.0, after - theirs)
