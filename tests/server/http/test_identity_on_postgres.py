"""The way of a sign-in, from its secret to a renewal, over HTTP on PostgreSQL."""

from pathlib import Path

import pytest

from miss_protocol import sign_in
from miss_protocol.ids import parse_address
from tests.server.http.test_identity_anew import renewing
from tests.support import register
from tests.support.postgres import PostgresProcess
from tests.support.provider import claims_of, running_provider
from tests.support.server import DOMAIN, ServerProcess, run_command
from tests.support.signing_in import App, Place, code_on, enrolled
from tests.support.wire import Device, beside, code_of

pytestmark = pytest.mark.timeout(90)


async def test_a_person_signs_in_is_enrolled_once_and_proven_anew(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn = postgres.dsn(await postgres.new_database())
    people = [f"8{register.rpps(serial)}" for serial in (1, 2)]
    file = register.write(
        tmp_path / "PS_LibreAcces_Personne_activite_202611270300.txt",
        *(register.activity(serial) for serial in (1, 2)),
    )
    run_command(
        *("miss_server", "directory", "import", str(file), "--domain", DOMAIN),
        settings={"MISS_DATABASE": dsn},
    ).check_returncode()
    async with running_provider() as provider:
        server = ServerProcess(
            tmp_path / "none", tmp_path / "log", DOMAIN, settings=provider.settings(), dsn=dsn
        )
        await server.start()
        place = Place(server, provider, people=people)
        await provider.control(person=claims_of(people[0]), refuse="access_denied")
        app = await App.begin(place)
        await app.browse()
        assert ((await app.status()).stage, (await app.status()).code) == (
            "failed",
            "sign_in_refused",
        )
        await provider.control(refuse="")
        await app.again()
        page = await app.browse()
        assert code_of(await app.confirm("22222-22222")) == "confirmation_wrong"
        done = await app.signed_in(code_on(page))
        assert await app.signed_in(code_on(page)) == done
        assert (done.person, done.attested) == (people[0], "provider")
        async with Device(server, app.person).online() as line:
            await line.caught_up()
        again = await App.begin(place)
        assert code_of(await again.confirm(code_on(await again.browse()))) == "already_enrolled"
        async with beside(server) as store:
            assert await store.find(parse_address(again.opened.account)) is None
        newer = await renewing(app)
        assert (await newer.signed_in(code_on(await newer.browse()))).account == done.account
        held = await Device(server, app.person).result(
            "GET", "/v1/identity", None, sign_in.ProofHeld
        )
        assert held.attested == "provider"
        await enrolled(place, people[1])
        assert await server.stop() == 0
        assert "Traceback" not in server.log_text()
