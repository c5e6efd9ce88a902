"""Acts 4 and 5: nothing sent is lost, and an answer takes milliseconds."""

import time

from miss_client.demo.meeting import Cast
from miss_client.demo.narrator import Narrator
from miss_client.demo.stage import Stage
from miss_client.words import tr

QUESTION = "Patient de 68 ans, dyspnée d'effort depuis hier, BNP 840. Le voyez-vous aujourd'hui ?"
ANSWER = "Oui, envoyez-le à 16 h avec son ECG. Pas de bêtabloquant d'ici là."
FROM_NURSE = "Plaie de Mme F. : rougeur nouvelle, 38,4 °C. Puis-je faire le prélèvement ?"
FROM_PHARMACIST = "Ordonnance : amiodarone et simvastatine 40 mg ensemble, est-ce voulu ?"


async def survive(narrator: Narrator, stage: Stage, cast: Cast) -> None:
    """Act 4: written to somebody offline, and the server killed right after `sent`."""
    title = tr(
        "The GP writes while the cardiologist is offline, and the server is killed",
        "La généraliste écrit, le cardiologue est hors ligne, et le serveur est tué",
    )
    with narrator.act(4, title):
        await cast.phone.close()
        await cast.tablet.close()
        id = await cast.gp.client.send([cast.phone.account], QUESTION)
        await cast.gp.becomes(id, "sent")
        await stage.kill()
        narrator.check(True, tr("sent ✓, then SIGKILL", "envoyé ✓, puis SIGKILL"))
        await stage.start()
        await cast.phone.open()
        await cast.tablet.open()
        for device, name in ((cast.phone, "téléphone"), (cast.tablet, "tablette")):
            received = await device.message(id)
            narrator.check(
                received.text == QUESTION and device.shown(id) == 1,
                tr(f"{name}: received exactly once", f"{name} : reçu exactement une fois"),
            )
        await cast.gp.becomes(id, "delivered")
        narrator.check(
            True,
            tr("the GP sees ✓✓, with a signed receipt", "la généraliste voit ✓✓, accusé signé"),
        )
        await cast.phone.client.read(id)
        message = await cast.gp.becomes(id, "read")
        narrator.check(message.state == "read", tr("… and that it was read", "… puis « lu »"))


async def answer(narrator: Narrator, cast: Cast) -> None:
    """Act 5: the answer, the copy on the other device, and the other pairs."""
    with narrator.act(5, tr("Answers and other questions", "Réponses et autres questions")):
        begun = time.perf_counter()
        id = await cast.tablet.client.send([cast.gp.account], ANSWER)
        received = await cast.gp.message(id)
        took = (time.perf_counter() - begun) * 1000
        narrator.check(
            received.text == ANSWER,
            tr(
                f"the answer from the tablet is there after {took:.0f} ms",
                f"la réponse de la tablette est là en {took:.0f} ms",
            ),
        )
        copy = await cast.phone.message(id)
        narrator.check(
            copy.own and copy.text == ANSWER,
            tr("the cardiologist's phone shows it too", "le téléphone du cardiologue la montre"),
        )
        pairs = (
            (cast.nurse, cast.gp, FROM_NURSE, tr("nurse to doctor", "infirmière au médecin")),
            (
                cast.pharmacist,
                cast.phone,
                FROM_PHARMACIST,
                tr("pharmacist to prescriber", "pharmacienne au prescripteur"),
            ),
        )
        for sender, receiver, text, who in pairs:
            begun = time.perf_counter()
            id = await sender.client.send([receiver.account], text)
            received = await receiver.message(id)
            await sender.becomes(id, "delivered")
            took = (time.perf_counter() - begun) * 1000
            narrator.check(
                received.text == text and receiver.shown(id) == 1,
                tr(
                    f"{who}: first message, delivered in {took:.0f} ms",
                    f"{who} : premier message, remis en {took:.0f} ms",
                ),
            )
