"""The two made-up people of the demonstration and what is in their mailboxes. Pure data: nobody here exists."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One received message; `sent_at` carries its time zone, `text` is plain text."""

    id: str
    sender: str
    subject: str
    sent_at: datetime
    text: str
    unread: bool = False

    @property
    def snippet(self) -> str:
        return " ".join(self.text.split())[:100]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can sign in; `subject` is the stable identifier, newest message first."""

    subject: str
    name: str
    email: str
    about: str
    messages: tuple[Mail, ...]

    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.name.split())

    def find_message(self, message_id: str) -> Mail | None:
        return next((mail for mail in self.messages if mail.id == message_id), None)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}:00+00:00")


MAYA = Person(
    subject="104217730098156240021",
    name="Maya Lindqvist",
    email="maya@example.org",
    about="runs a small bakery",
    messages=(
        Mail(
            id="19a10000000000a1",
            sender="Harbour Mill <orders@harbour-mill.example>",
            subject="Your flour order is on its way",
            sent_at=_at("03-12T07:40"),
            text="Good morning Maya,\n\n12 sacks of rye and 8 of spelt left the mill today and arrive on Friday.\n\n"
            "Harbour Mill",
            unread=True,
        ),
        Mail(
            id="19a10000000000a2",
            sender="Jonas Falk <jonas.falk@example.org>",
            subject="Saturday market",
            sent_at=_at("03-11T16:05"),
            text="Hi Maya,\n\nthe stall next to ours is free. Shall we bring forty more cinnamon buns?\n\nJonas",
            unread=True,
        ),
        Mail(
            id="19a10000000000a3",
            sender="City Water <service@city-water.example>",
            subject="Water off on Tuesday, 6:00 to 8:00",
            sent_at=_at("03-09T09:15"),
            text="We replace a valve in Mill Lane on Tuesday. Please keep some water for the early batch.",
        ),
    ),
)

ROBIN = Person(
    subject="117903345520884610058",
    name="Robin Okafor",
    email="robin@example.org",
    about="teaches astronomy",
    messages=(
        Mail(
            id="19a20000000000b1",
            sender="Hilltop Observatory <nights@hilltop-observatory.example>",
            subject="Clear sky expected on Thursday",
            sent_at=_at("03-12T18:20"),
            text="Dear Robin,\n\nthe dome is yours from 21:00. Seeing should be good until two.\n\nThe night crew",
            unread=True,
        ),
        Mail(
            id="19a20000000000b2",
            sender="School Office <office@northside-school.example>",
            subject="Bus for the field trip",
            sent_at=_at("03-12T10:02"),
            text="The bus holds 32 people and leaves at 19:15 from the east gate. Please send the list of names.",
        ),
        Mail(
            id="19a20000000000b3",
            sender="Aiko Brandt <aiko.brandt@example.org>",
            subject="Telescope mirror",
            sent_at=_at("03-10T20:47"),
            text="Robin, the new coating is dry. Come and see the moons of Jupiter through it!\n\nAiko",
        ),
        Mail(
            id="19a20000000000b4",
            sender="Corner Library <notices@corner-library.example>",
            subject="Due next week: Star Maps for Beginners",
            sent_at=_at("03-08T08:00"),
            text="One book is due on 16 March. You can extend it once, at the desk or by answering this message.",
        ),
    ),
)

PEOPLE: tuple[Person, ...] = (MAYA, ROBIN)


def find_person(subject: str) -> Person | None:
    """The person with this stable identifier."""
    return next((person for person in PEOPLE if person.subject == subject), None)
