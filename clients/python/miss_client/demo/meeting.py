"""Acts 1 to 3: a directory, five devices, and finding a colleague."""

import asyncio
import time
from dataclasses import dataclass

from miss_client.demo.cast import PEOPLE, Device, first_device, further_device
from miss_client.demo.narrator import Narrator
from miss_client.demo.stage import Stage
from miss_client.line import Line
from miss_client.words import tr

REGISTER_SIZE = 2_000


@dataclass
class Cast:
    """The devices of the story; the GP's line can be made bad."""

    line: Line
    gp: Device
    phone: Device
    tablet: Device
    pharmacist: Device
    nurse: Device

    def devices(self) -> list[Device]:
        """All of them."""
        return [self.gp, self.phone, self.tablet, self.pharmacist, self.nurse]


async def prepare(narrator: Narrator, stage: Stage) -> dict[str, str]:
    """Act 1: the operator imports a directory and hands out codes; returns them by role."""
    with narrator.act(1, tr("The operator prepares", "L'opérateur prépare")):
        report = await stage.make_directory(REGISTER_SIZE)
        narrator.say(report.strip().splitlines()[0])
        narrator.check(
            str(REGISTER_SIZE) in report.replace("\u202f", "").replace(",", ""),
            tr(
                f"{REGISTER_SIZE} fictive professionals imported from 56 columns",
                f"{REGISTER_SIZE} professionnels fictifs importés de 56 colonnes",
            ),
        )
        issued = await stage.codes(list(PEOPLE.values()))
        codes = {role: issued[person] for role, person in PEOPLE.items()}
        narrator.check(
            len(set(codes.values())) == len(PEOPLE),
            tr("four enrolment codes, one each", "quatre codes d'inscription, un par personne"),
        )
        await stage.start()
        narrator.say(tr(f"the server listens on {stage.url}", f"le serveur écoute sur {stage.url}"))
    return codes


async def enrol_all(narrator: Narrator, stage: Stage, line: Line, codes: dict[str, str]) -> Cast:
    """Act 2: everybody enrols and signs the charter."""
    folder = stage.folder
    with narrator.act(2, tr("Everybody enrols", "Tout le monde s'inscrit")):
        begun = time.perf_counter()
        gp = await first_device(line.url, codes["gp"], folder / "gp.store", "téléphone")
        narrator.check(
            gp.client.name != "",
            tr(
                f"{gp.client.name} enrolled in {time.perf_counter() - begun:.2f} s, "
                "charter signed, keys made on the phone",
                f"{gp.client.name} inscrite en {time.perf_counter() - begun:.2f} s, "
                "charte signée, clés créées sur le téléphone",
            ),
        )
        phone = await first_device(
            stage.url, codes["cardiologist"], folder / "phone.store", "téléphone"
        )
        begun = time.perf_counter()
        tablet = await further_device(stage.url, phone, folder / "tablet.store", "tablette")
        narrator.check(
            {entry.name for entry in phone.client.own_devices()} == {"téléphone", "tablette"},
            tr(
                f"{phone.client.name}: the phone approved the tablet "
                f"({time.perf_counter() - begun:.2f} s)",
                f"{phone.client.name} : le téléphone a approuvé la tablette "
                f"({time.perf_counter() - begun:.2f} s)",
            ),
        )
        pharmacist, nurse = await asyncio.gather(
            first_device(stage.url, codes["pharmacist"], folder / "pharmacist.store", "téléphone"),
            first_device(stage.url, codes["nurse"], folder / "nurse.store", "téléphone"),
        )
        narrator.say(f"{pharmacist.client.name}, {nurse.client.name}")
    return Cast(line, gp, phone, tablet, pharmacist, nurse)


async def find(narrator: Narrator, cast: Cast) -> None:
    """Act 3: the GP finds the cardiologist from two half-remembered words."""
    with narrator.act(3, tr("The GP looks for a cardiologist", "La généraliste cherche un cardio")):
        begun = time.perf_counter()
        page = await cast.gp.client.search("cardio lille")
        first = page.entries[0]
        narrator.check(
            first.account == cast.phone.account,
            tr(
                f"“cardio lille” finds {first.title} {first.given} {first.name} first, "
                f"in {(time.perf_counter() - begun) * 1000:.0f} ms",
                f"« cardio lille » trouve d'abord {first.title} {first.given} {first.name}, "
                f"en {(time.perf_counter() - begun) * 1000:.0f} ms",
            ),
        )
        for words in ("lille CARDIO", "lefevere despre", "DESPRÉ card lil", "gaetan lefev"):
            found = (await cast.gp.client.search(words)).entries
            narrator.check(
                bool(found) and found[0].person == first.person,
                tr(f"so does “{words}”", f"« {words} » aussi"),
            )
        others = [entry for entry in page.entries if entry.reach != "miss"]
        narrator.check(
            first.reach == "miss" and bool(others),
            tr(
                f"reachable on MiSS: {first.name}; not (yet): {others[0].name}, "
                f"and {len(others) - 1} more; data of {page.data_date}",
                f"joignable sur MiSS : {first.name} ; pas (encore) : {others[0].name} "
                f"et {len(others) - 1} autres ; données du {page.data_date}",
            ),
        )
