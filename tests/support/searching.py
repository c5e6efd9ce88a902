"""A directory that tests fill and search, on either engine, and the people whom they put in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from miss_protocol import limits
from miss_protocol.directory import Entry, SearchPage
from miss_protocol.ids import AccountAddress, new_address
from miss_server.importers.importing import Allowed, Report, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory import DirectoryFilling, ImportedFile
from miss_server.storage.meeting_tables import relations
from miss_server.storage.schema import accounts, devices
from tests.support import register
from tests.support.devices import DOMAIN, NOW
from tests.support.directories import Shelf
from tests.support.register import STAMPED, activity, rpps

LONG_AGO = NOW - limits.DORMANT_AFTER * 1000 - 1


@dataclass
class Bench:
    """A database with a directory, and a folder for files to load."""

    shelf: Shelf
    folder: Path

    def load(self, *activities: dict[str, str], gone_share: float = 1.0) -> Report:
        file = register.write(self.folder / STAMPED, *activities)

        def work(target: DirectoryFilling) -> Report:
            allowed = Allowed(gone=gone_share)
            return run_import(readers(file), target, now_ms=NOW, allowed=allowed)

        return self.shelf.fill(work)

    def join(
        self, serial: int, *seen: int, revoked: bool = False, suspended: bool = False
    ) -> AccountAddress:
        """Open an account for a person, with a device for each time in `seen`."""
        address = new_address(os.urandom(16), DOMAIN)

        def write(connection: Connection) -> None:
            connection.execute(
                accounts.insert().values(
                    address=address,
                    person="8" + rpps(serial),
                    name="",
                    genesis=bytes(32) if seen else None,
                    suspended=suspended,
                    created_ms=NOW,
                )
            )
            for seen_ms in seen:
                connection.execute(
                    devices.insert().values(
                        id=os.urandom(16),
                        account=address,
                        signing_key=bytes(32),
                        created_ms=0,
                        seen_ms=seen_ms,
                        revoked_ms=NOW if revoked else None,
                        epoch=bytes(16),
                    )
                )

        self.shelf.write(write)
        return address

    def relate(self, owner: AccountAddress, peer: AccountAddress, **told: Any) -> None:
        """Note what one account knows of another: `first_ms`, `accepted_ms`, …"""
        values = {"owner": owner, "peer": peer, "unanswered": 0} | told
        self.shelf.write(lambda on: on.execute(relations.insert().values(**values)))

    def entry(self, person: str) -> Entry | None:
        return self.shelf.read(lambda on: self.shelf.directory.entry(on, person, now_ms=NOW))

    def files(self) -> list[ImportedFile]:
        return self.shelf.read(self.shelf.directory.files)

    def page(self, query: str, **more: Any) -> SearchPage:
        return self.shelf.read(
            lambda on: self.shelf.directory.search(on, query, now_ms=NOW, **more)
        )

    def names(self, query: str, **more: Any) -> list[str]:
        return [entry.name for entry in self.page(query, **more).entries]

    def pages(self, query: str, limit: int, **more: Any) -> list[str]:
        found, cursor = [], None
        while True:
            page = self.page(query, limit=limit, cursor=cursor, **more)
            assert len(page.entries) <= limit
            found += [entry.name for entry in page.entries]
            cursor = page.next
            if cursor is None:
                return found


def communes(bench: Bench, *lines: str, date: str = "20250301") -> Path:
    path = bench.folder / f"communes_{date}.csv"
    header = "code_insee,nom_standard,codes_postaux,latitude_centre,longitude_centre"
    path.write_text("".join(line + "\n" for line in (header, *lines)), encoding="utf-8")
    return path


def load_all(bench: Bench, *paths: Path, **allowed: Any) -> Report:
    texts = [text for path in paths for text in readers(path)]
    return bench.shelf.fill(
        lambda target: run_import(
            texts, target, now_ms=NOW, allowed=Allowed(**{"gone": 1, **allowed})
        )
    )


CARDIOLOGIST = activity(
    1, name="LEFÉVÈRE-DESPRÉ", given="Gaëtan", speciality="Cardiologie et maladies vasculaires"
)
NURSE = activity(
    2,
    name="D'HAËNE",
    given="Marie-Noëlle",
    title="",
    profession="Infirmier",
    profession_code="60",
    speciality="",
    city="Saint-Omer",
    postcode="62500",
    department="Pas-de-Calais",
    department_code="62",
    organisation="Cabinet infirmier des Trois-Ponts",
)
