"""A node of this version on the tables of the version before: nobody signs in yet, all else goes on."""

import pytest

from miss_protocol.errors import Code, Refused
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.proofs import Begun
from tests.server.storage.test_migrating import first_database
from tests.support.devices import NOW, address
from tests.support.postgres import PostgresProcess


async def test_sign_ins_wait_for_the_upgrade_and_nobody_lapses(postgres: PostgresProcess) -> None:
    store = PostgresStore(Options(postgres.dsn(await first_database(postgres))))
    store.open()
    try:
        begun = Begun("code", bytes(32), state="state")
        for call in (
            store.new_sign_in(address(), expires_ms=NOW + 1),
            store.open_renewal("secret", address(), expires_ms=NOW + 1, now_ms=NOW),
            store.begin_sign_ins([("secret", begun)], now_ms=NOW),
        ):
            with pytest.raises(Refused) as refused:
                await call
            assert refused.value.code is Code.BUSY
            assert refused.value.retry_after
        for look in (store.sign_in("secret", now_ms=NOW), store.take_state("state", now_ms=NOW)):
            with pytest.raises(Refused) as refused:
                await look
            assert refused.value.code is Code.BUSY
        assert await store.proof(address()) is None
        assert await store.lapse(before_ms=NOW, now_ms=NOW) == []
    finally:
        await store.close()
