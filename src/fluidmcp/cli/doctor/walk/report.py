"""What a walk found: a level for each step of each client, and diagnoses with cause and remedy. Pure module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

Level = Literal["ok", "warning", "problem"]
Step = Literal[
    "connection",
    "first call",
    "metadata",
    "registration",
    "authorize",
    "provider",
    "token",
    "refresh",
    "call",
    "stream",
]
STEPS: Final[tuple[Step, ...]] = get_args(Step)

MAX_TEXT_CHARACTERS: Final = 500

_RANK: Final[Mapping[Level, int]] = {"ok": 0, "warning": 1, "problem": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`code` is stable, for scripts; `cause` says what is wrong, `remedy` what to do, one or two sentences each."""

    code: str
    step: Step
    cause: str
    remedy: str
    level: Level = "problem"

    def __post_init__(self) -> None:
        """What the other side said is quoted, and can be long."""
        for name in ("cause", "remedy"):
            text: str = getattr(self, name)
            if len(text) > MAX_TEXT_CHARACTERS:
                object.__setattr__(self, name, f"{text[:MAX_TEXT_CHARACTERS]}...")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A diagnosis, and the clients that it is about."""

    diagnosis: Diagnosis
    clients: tuple[str, ...]


@dataclass(slots=True)
class Track:
    """How far one client came: the worst level of each step that was looked at, and what was diagnosed there."""

    client: str
    levels: dict[Step, Level] = field(default_factory=dict[Step, Level])
    diagnoses: list[Diagnosis] = field(default_factory=list[Diagnosis])

    def level(self, step: Step) -> Level | None:
        """None where nobody looked."""
        return self.levels.get(step)

    @property
    def is_fine(self) -> bool:
        return all(diagnosis.level != "problem" for diagnosis in self.diagnoses)

    def join(self, other: "Track") -> None:
        """Add what was found for several clients at once."""
        self.add(*other.diagnoses)
        for step in other.levels:
            self.passed(step)

    def passed(self, step: Step) -> None:
        self.levels.setdefault(step, "ok")

    def add(self, *diagnoses: Diagnosis) -> bool:
        """Note them; whether one of them is a problem, behind which the way is not worth going on."""
        for diagnosis in diagnoses:
            before = self.levels.get(diagnosis.step, "ok")
            self.levels[diagnosis.step] = max(before, diagnosis.level, key=_RANK.__getitem__)
            if diagnosis not in self.diagnoses:
                self.diagnoses.append(diagnosis)
        return any(diagnosis.level == "problem" for diagnosis in diagnoses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`notes` say what was not looked at, and why."""

    url: str
    tracks: tuple[Track, ...]
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each diagnosis once: problems first, each in the order of the steps."""
        clients: dict[Diagnosis, list[str]] = {}
        for track in self.tracks:
            for diagnosis in track.diagnoses:
                clients.setdefault(diagnosis, []).append(track.client)
        ordered = sorted(clients, key=lambda one: (-_RANK[one.level], STEPS.index(one.step)))
        return tuple(Finding(diagnosis=one, clients=tuple(clients[one])) for one in ordered)

    @property
    def has_problem(self) -> bool:
        return any(finding.diagnosis.level == "problem" for finding in self.findings)

    def rows(self) -> list[list[str]]:
        """The table: a row for each step that somebody came to, a column for each client."""
        shown: list[Step] = [step for step in STEPS if any(step in track.levels for track in self.tracks)]
        return [[str(step), *(track.level(step) or "-" for track in self.tracks)] for step in shown]

    def as_document(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "url": self.url,
            "ok": not self.has_problem,
            "clients": {track.client: {str(step): track.level(step) for step in STEPS} for track in self.tracks},
            "findings": [
                {
                    "code": finding.diagnosis.code,
                    "level": finding.diagnosis.level,
                    "step": finding.diagnosis.step,
                    "clients": list(finding.clients),
                    "cause": finding.diagnosis.cause,
                    "remedy": finding.diagnosis.remedy,
                }
                for finding in self.findings
            ],
            "notes": list(self.notes),
        }


def single_out(tracks: Sequence[Track]) -> None:
    """Where a first call is refused to some clients only, it is about who they say they are."""
    refused = [track for track in tracks if any(one.code == "blocked" for one in track.diagnoses)]
    if not refused or len(refused) == len(tracks):
        return
    for track in refused:
        track.diagnoses = [_about_the_client(one, track.client) for one in track.diagnoses]


def _about_the_client(diagnosis: Diagnosis, client: str) -> Diagnosis:
    if diagnosis.code != "blocked":
        return diagnosis
    return replace(
        diagnosis,
        code="client_blocked",
        cause=f"{diagnosis.cause} Other clients are let through, so it goes by the name that {client} gives "
        "(User-Agent).",
        remedy=f"Let {client} through in the firewall or proxy in front of the gateway.",
    )
