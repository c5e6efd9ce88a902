"""`miss search`: who is in the directory, and who can be reached."""

from enum import StrEnum
from typing import Annotated

import typer

from miss_client.cli.common import StoreOption, clean, dated, described, out, stop, with_client
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.directory import Entry
from miss_protocol.errors import Malformed, Refused
from miss_protocol.filters import read_filters

HELP = tr(
    "Look people up in the directory; beginnings of words, in any order, slips forgiven.\n\n"
    "Example: miss search cardio lille, or miss search kiné --near 59200",
    "Chercher dans l'annuaire ; débuts de mots, dans n'importe quel ordre, fautes pardonnées.\n\n"
    "Exemple : miss search cardio lille, ou miss search kiné --near 59200",
)


class Whom(StrEnum):
    """A kind of entry."""

    PERSON = "person"
    ORGANISATION = "organisation"


class AtLeast(StrEnum):
    """The least reach."""

    MISS = "miss"
    DORMANT = "dormant"


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            help=tr("Names, professions, towns.", "Noms, professions, villes."),
        ),
    ],
    limit: Annotated[
        int, typer.Option(help=tr("At most so many.", "Au plus autant."), min=1, max=50)
    ] = 20,
    near: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help=tr(
                "What is close to this postcode, town or LATITUDE,LONGITUDE first.",
                "D'abord ce qui est près de ce code postal, cette ville ou LATITUDE,LONGITUDE.",
            ),
        ),
    ] = "",
    profession: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help=tr(
                "Only this profession's (TRE_G15, e.g. 60; may be repeated).",
                "Seulement cette profession (TRE_G15, p. ex. 60 ; répétable).",
            ),
        ),
    ] = None,
    speciality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help=tr(
                "Only this speciality's (TRE_R38, e.g. SM04; may be repeated).",
                "Seulement cette spécialité (TRE_R38, p. ex. SM04 ; répétable).",
            ),
        ),
    ] = None,
    department: Annotated[
        str,
        typer.Option(
            help=tr(
                "Only in this department: number or name.",
                "Seulement dans ce département : numéro ou nom.",
            )
        ),
    ] = "",
    kind: Annotated[
        Whom | None,
        typer.Option(
            help=tr("Only people, or organisations.", "Seulement personnes ou structures.")
        ),
    ] = None,
    reach: Annotated[
        AtLeast | None,
        typer.Option(
            help=tr(
                "Only who is on MiSS: seen lately (miss), or at all (dormant).",
                "Seulement sur MiSS : vu récemment (miss), ou non (dormant).",
            )
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Search the directory."""
    given = [("profession", code) for code in profession or ()]
    given += [("speciality", code) for code in speciality or ()]
    given += [("near", near), ("department", department)]
    given += [("kind", kind or ""), ("reach", reach or "")]
    try:
        filters = read_filters(given)
    except (Malformed, Refused):
        stop(
            tr(
                "No such department, or no code: codes are letters and digits, at most ten of a sort.",
                "Département inconnu, ou ce n'est pas un code : lettres et chiffres, dix au plus.",
            )
        )

    async def work(client: Client) -> None:
        page = await client.search(" ".join(words), limit=limit, filters=filters)
        if not page.entries:
            stop(tr("Nobody fits. Try fewer letters.", "Personne. Essayez avec moins de lettres."))
        width = max(len(said(entry)) for entry in page.entries)
        told = False
        for entry in page.entries:
            if entry.repaired and not told:
                told = True
                understood = clean(" ".join(page.repaired))
                out.print(tr(f"Results for: {understood}", f"Résultats pour : {understood}"))
            account = clean(entry.account or "")
            out.print(
                f"{said(entry):<{width}}  {described(entry)}{away(entry)}  {account}".rstrip()
            )
        line = dated(client, page.sources)
        more = tr(" · more exist: add a word", " · il y en a d'autres : ajoutez un mot")
        out.print(line + (more if page.next else ""))

    with_client(store, work)


def away(entry: Entry) -> str:
    """How far an entry is, if that was asked."""
    return "" if entry.distance is None else f"  {entry.distance} km"


def said(entry: Entry) -> str:
    """Whether a person can be reached, honestly."""
    if entry.reach == "miss":
        return tr("on MiSS", "sur MiSS")
    if entry.reach == "dormant":
        return tr("away >30 days", "absent >30 jours")
    if entry.reach == "mailbox":
        return tr("secure mail only", "messagerie MSSanté")
    return tr("not on MiSS", "pas sur MiSS")
