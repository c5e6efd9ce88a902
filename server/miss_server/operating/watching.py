"""The parts that health asks, built over the interfaces of what they watch."""

import asyncio
import shutil
from pathlib import Path

from miss_server.conditions import Condition, State
from miss_server.doorbell.interface import Doorbell
from miss_server.operating.figures import FiguresKept
from miss_server.operating.freshness import DAY_MS, ages, old_sources
from miss_server.relay.clock import Clock
from miss_server.relay.hub import Hub
from miss_server.storage.messages import NotDurable
from miss_server.storage.overview import Writing
from miss_server.tallies import ProviderTally
from miss_server.words import Both

DISK_LOW_SHARE = 0.10
DISK_LOW_BYTES = 1 << 30
"""Free space below both of these is said: a log of a busy day must fit, however large the disk."""
CLOCK_OFF_MS = 60_000
"""Of one node from the database: nodes that differ expire messages at different moments."""
LAG_MAX = 1.0
"""Seconds that the event loop may come late before it is said."""


class DatabaseWatch:
    """Whether a message could be made durable: by what was committed just now, else by a try."""

    part, vital = "database", True

    def __init__(self, writing: Writing, clock: Clock) -> None:
        self._writing = writing
        self._clock = clock
        self._failures = 0
        self._batches = 0

    async def condition(self) -> Condition:
        """See `Watched`."""
        tally = self._writing.tally
        before, self._failures = self._failures, tally.failures.total()
        # A cause is looked for among what failed since the last look.
        batches, self._batches = self._batches, sum(tally.batch_jobs.counts)
        if self._failures == before and self._batches > batches:
            return _WELL
        causes = dict(tally.failures)
        try:
            await self._writing.prove_durable(now_ms=self._clock.now_ms())
        except NotDurable as error:
            if error.cause == "crowded":
                return Condition(State.FAILED, _CAUSES["crowded"])
            for cause, text in _CAUSES.items():
                if tally.failures[cause] > causes.get(cause, 0):
                    return Condition(State.FAILED, text)
            return Condition(State.FAILED, _NOTHING_WRITTEN)
        return _WELL


_WELL = Condition(State.OK, Both("Messages are made durable.", "Les messages sont enregistrés."))
_NOTHING_WRITTEN = Both(
    "Nothing can be written to the database. Nothing is lost: clients repeat.",
    "Rien ne peut être écrit dans la base. Rien n'est perdu : les clients répètent.",
)
_CAUSES = {
    "full": Both(
        "The disk is full. Free space; nothing is lost, clients repeat.",
        "Le disque est plein. Libérez de la place ; rien n'est perdu, les clients répètent.",
    ),
    "locked": Both(
        "Another process holds the database. End it; nothing is lost, clients repeat.",
        "Un autre processus tient la base. Arrêtez-le ; rien n'est perdu, les clients répètent.",
    ),
    "disk": Both(
        "The disk fails to write. Look at it; nothing is lost, clients repeat.",
        "Le disque n'écrit plus. Examinez-le ; rien n'est perdu, les clients répètent.",
    ),
    "crowded": Both(
        "The database lets no more connections of this node in: see miss-server doctor. Nothing is lost:"
        " clients repeat.",
        "La base n'accepte plus de connexion de ce nœud : voir miss-server doctor. Rien n'est perdu :"
        " les clients répètent.",
    ),
    "connection": Both(
        "The database does not answer. Nothing is lost: clients repeat.",
        "La base ne répond pas. Rien n'est perdu : les clients répètent.",
    ),
}


class StayingWatch:
    """Whether this process is about to end: whoever comes now is sent elsewhere."""

    part, vital = "process", True

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def condition(self) -> Condition:
        """See `Watched`."""
        if self._hub.draining:
            return Condition(
                State.FAILED,
                Both("The server is stopping.", "Le serveur est en train de s'arrêter."),
            )
        return Condition(State.OK, Both("The server runs.", "Le serveur fonctionne."))


class ClockWatch:
    """Whether this machine's clock is the database's, by which the other nodes are measured, too."""

    part, vital = "clock", False

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    async def condition(self) -> Condition:
        """See `Watched`."""
        behind = self._writing.tally.behind_ms / 1000
        if abs(behind) * 1000 <= CLOCK_OFF_MS:
            return Condition(
                State.OK,
                Both("The clock is the database's.", "L'horloge est celle de la base."),
            )
        return Condition(
            State.DEGRADED,
            Both(
                f"This machine's clock is {-behind:+.0f} s from the database's. No message is refused"
                " or ended unless both say so, but codes may be, and times that people see be wrong. Set both"
                " by NTP.",
                f"L'horloge de cette machine est à {-behind:+.0f} s de celle de la base. Aucun message n'est"
                " refusé ni terminé sans l'accord des deux, mais des codes peuvent l'être, et des heures"
                " affichées être fausses. Réglez les deux par NTP.",
            ),
        )


class DiskWatch:
    """Room where the database is."""

    part, vital = "disk", False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def condition(self) -> Condition:
        """See `Watched`."""
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder)
        if usage.free < DISK_LOW_BYTES and usage.free < DISK_LOW_SHARE * usage.total:
            mib = usage.free >> 20
            return Condition(
                State.DEGRADED,
                Both(
                    f"Only {mib} MiB are free on the database's disk.",
                    f"Il ne reste que {mib} Mio sur le disque de la base.",
                ),
            )
        return Condition(State.OK, Both("There is room.", "Il y a de la place."))


class ArchiveWatch:
    """Whether PostgreSQL's log is archived: what is not stays on its disk until nothing fits."""

    part, vital = "archive", False

    def __init__(self, kept: FiguresKept) -> None:
        self._kept = kept

    async def condition(self) -> Condition:
        """See `Watched`."""
        if not (await self._kept.get()).archive_fails:
            return Condition(
                State.OK,
                Both("No archiving fails.", "Aucun archivage n'échoue."),
            )
        return Condition(
            State.DEGRADED,
            Both(
                "PostgreSQL cannot archive its log, and its disk fills until it can: look at"
                " archive_command in its log.",
                "PostgreSQL ne peut archiver son journal, et son disque se remplit d'ici là : voyez"
                " archive_command dans son journal.",
            ),
        )


class DoorbellWatch:
    """The way to the other nodes: without it messages come with the next sweep."""

    part, vital = "doorbell", False

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell

    async def condition(self) -> Condition:
        """See `Watched`."""
        state = self._doorbell.state()
        if state.up and state.slow:
            return Condition(
                State.DEGRADED,
                Both(
                    "Other nodes are reached late: messages between them take over half a second more."
                    " Nothing is lost. Look at the load of Redis or PostgreSQL, and at the network"
                    " to it; see miss-server doctor.",
                    "Les autres nœuds sont joints tard : entre eux, les messages prennent plus d'une"
                    " demi-seconde de plus. Rien n'est perdu. Voyez la charge de Redis ou de"
                    " PostgreSQL et le réseau jusqu'à lui ; voir miss-server doctor.",
                ),
            )
        if state.up:
            return Condition(
                State.OK, Both("Other nodes are reached.", "Les autres nœuds sont joints.")
            )
        return Condition(
            State.DEGRADED,
            Both(
                "Other nodes are not reached: messages between them come some seconds later.",
                "Les autres nœuds ne sont pas joints : entre eux, les messages arrivent quelques"
                " secondes plus tard.",
            ),
        )


class ProviderWatch:
    """Whether the identity provider answered when it was last asked. Nobody is asked for this."""

    part, vital = "identity", False

    def __init__(self, tally: ProviderTally) -> None:
        self._tally = tally

    async def condition(self) -> Condition:
        """See `Watched`."""
        if not self._tally.trouble:
            return Condition(
                State.OK,
                Both("The identity provider answers.", "Le fournisseur d'identité répond."),
            )
        return Condition(
            State.DEGRADED,
            Both(
                "The identity provider did not answer as it should: see miss-server doctor.",
                "Le fournisseur d'identité n'a pas répondu comme il faut : voir miss-server doctor.",
            ),
        )


class DirectoryWatch:
    """Whether a source of the directory is older than it should be."""

    part, vital = "directory", False

    def __init__(self, kept: FiguresKept, clock: Clock) -> None:
        self._kept = kept
        self._clock = clock

    async def condition(self) -> Condition:
        """See `Watched`."""
        figures = await self._kept.get()
        if figures.directory_ms is None:
            return Condition(
                State.DEGRADED, Both("No directory is imported.", "Aucun annuaire n'est importé.")
            )
        now_ms = self._clock.now_ms()
        made_from = figures.directory_sources
        days = (now_ms - figures.directory_ms) // DAY_MS
        each = ages(made_from, now_ms)
        en = f"The directory's data is {days} days old ({each})."
        fr = f"L'annuaire date de {days} jours ({each})."
        if not (old := ", ".join(old_sources(made_from, now_ms))):
            return Condition(State.OK, Both(en, fr))
        return Condition(
            State.DEGRADED,
            Both(
                f"{en} Too old: {old}. Look at the job that imports it.",
                f"{fr} Trop ancien : {old}. Voyez la tâche qui l'importe.",
            ),
        )
