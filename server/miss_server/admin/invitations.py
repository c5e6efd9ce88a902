"""The letters that invite people: one for each person, in the operator's words, with the names and
professions of who invites from the directory. Nothing that an inviter could write goes into one."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from miss_protocol.directory import Entry, Place
from miss_server.storage.directory import DirectoryReader, name_of
from miss_server.storage.invitations import Inviter, Letter

Language = Literal["fr", "en"]

NAMES = {"name": "Dr Fictif", "inviters": "- Dr Fictif", "domain": "miss.example"}
"""What a text may refer to, with examples by which it is tried."""


class TextError(Exception):
    """A letter's text cannot be used."""


@dataclass(frozen=True, slots=True)
class Text:
    """A letter's text: `$name`, `$inviters` and `$domain` stand for what they say."""

    subject: str
    body: Template


@dataclass(frozen=True, slots=True)
class Written:
    """A letter that is ready. `mailbox` and `address` (lines) are empty if the directory has none."""

    person: str
    name: str
    mailbox: str
    address: Sequence[str]
    inviters: Sequence[str]
    subject: str
    text: str


def text_of(language: Language, given: Path | None = None) -> Text:
    """The operator's text, or the one that comes with the server: its first line is the subject.

    Raises:
        TextError: it cannot be read, has no subject, or refers to what there is not.
    """
    try:
        if given is None:
            told = files("miss_server.texts").joinpath(f"invitation_{language}.txt")
            whole = told.read_text("utf-8")
        else:
            whole = given.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(str(error)) from None
    subject, _, body = whole.partition("\n")
    if not subject.strip() or "$" in subject or not body.strip():
        raise TextError("its first line must be the subject, without $, and a text must follow")
    try:
        Template(body).substitute(NAMES)
    except (KeyError, ValueError) as error:
        raise TextError(f"it may refer to $name, $inviters and $domain only: {error}") from None
    return Text(subject.strip(), Template(body.strip() + "\n"))


async def write(
    directory: DirectoryReader, letters: Sequence[Letter], text: Text, *, domain: str, now_ms: int
) -> tuple[list[Written], list[str]]:
    """Write letters; returns them, and who is in the directory no more."""
    persons = {letter.person for letter in letters}
    persons |= {one.person for letter in letters for one in letter.inviters if one.person}
    entries = await directory.entries(sorted(persons), now_ms=now_ms)
    written, gone = [], []
    for letter in letters:
        entry = entries.get(letter.person)
        if entry is None:
            gone.append(letter.person)
            continue
        inviters = [_inviter(one, entries) for one in letter.inviters]
        values = {
            "name": name_of(entry),
            "inviters": "\n".join(f"- {one}" for one in inviters),
            "domain": domain,
        }
        mailbox = entry.mailboxes[0] if entry.mailboxes else ""
        address = _lines(entry.places[0]) if entry.places else ()
        body = text.body.substitute(values)
        name = values["name"]
        written.append(Written(letter.person, name, mailbox, address, inviters, text.subject, body))
    return written, gone


def _inviter(inviter: Inviter, entries: dict[str, Entry]) -> str:
    entry = entries.get(inviter.person or "")
    if entry is None:
        return inviter.name
    return ", ".join(part for part in (name_of(entry), entry.profession) if part)


def _lines(place: Place) -> Sequence[str]:
    town = " ".join(part for part in (place.postcode, place.city) if part)
    return tuple(line for line in (place.organisation, place.address, town) if line)
