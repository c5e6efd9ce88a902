"""`miss search`: who is in the directory, and who can be reached."""

from typing import Annotated

import typer

from miss_client.cli.common import StoreOption, clean, described, out, stop, with_client
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.directory import Entry, Source

HELP = tr(
    "Look people up in the directory; beginnings of words, in any order.\n\n"
    "Example: miss search cardio lille",
    "Chercher dans l'annuaire ; débuts de mots, dans n'importe quel ordre.\n\n"
    "Exemple : miss search cardio lille",
)


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
    store: StoreOption = None,
) -> None:
    """Search the directory."""

    async def work(client: Client) -> None:
        page = await client.search(" ".join(words), limit=limit)
        if not page.entries:
            stop(tr("Nobody fits. Try fewer letters.", "Personne. Essayez avec moins de lettres."))
        width = max(len(reach(entry)) for entry in page.entries)
        for entry in page.entries:
            out.print(
                f"{reach(entry):<{width}}  {described(entry)}  {clean(entry.account or '')}".rstrip()
            )
        sources = ", ".join(dated(one) for one in page.sources)
        more = tr(" · more exist: add a word", " · il y en a d'autres : ajoutez un mot")
        out.print(clean(sources or page.data_date) + (more if page.next else ""))

    with_client(store, work)


def dated(source: Source) -> str:
    """A source with its date, and since when it stands still."""
    still = source.unchanged_since
    more = tr(f" (unchanged since {still})", f" (inchangé depuis le {still})") if still else ""
    return f"{source.name} {source.date}{more}"


def reach(entry: Entry) -> str:
    """Whether a person can be reached, honestly."""
    if entry.reach == "miss":
        return tr("on MiSS", "sur MiSS")
    if entry.reach == "dormant":
        return tr("away >30 days", "absent >30 jours")
    if entry.reach == "mailbox":
        return tr("secure mail only", "messagerie MSSanté")
    return tr("not on MiSS", "pas sur MiSS")
