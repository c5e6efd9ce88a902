"""Puts the parts together: the only place that picks implementations."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from miss_protocol.errors import RemoteError
from miss_server.charter import load_charter
from miss_server.config import Settings
from miss_server.doorbell.interface import Doorbell
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.dsn import Dsn
from miss_server.edge.addresses import TrustedProxies
from miss_server.edge.admission import Admission, Limits
from miss_server.edge.certificate import Certificate
from miss_server.edge.open_files import connections_possible, raise_limit
from miss_server.http.beginnings import Beginnings
from miss_server.http.counting import Counts, CountsWatch, NodeCounts
from miss_server.http.problems import (
    on_fault,
    on_gone,
    on_no_route,
    on_not_durable,
    on_remote_error,
)
from miss_server.http.requests import Requests, never_failed
from miss_server.http.routes import routes
from miss_server.http.services import Services
from miss_server.http.throttle import Throttle
from miss_server.lines import line_of
from miss_server.listening import bind, listen, server_of
from miss_server.operating import pulse
from miss_server.operating.edge_watching import CertificateWatch, RoomWatch
from miss_server.operating.figures import FiguresKept
from miss_server.operating.health import Health
from miss_server.operating.metrics import Metrics
from miss_server.operating.watching import (
    ArchiveWatch,
    ClockWatch,
    DatabaseWatch,
    DirectoryWatch,
    DiskWatch,
    DoorbellWatch,
    ProviderWatch,
    StayingWatch,
)
from miss_server.provider import settings as provider_settings
from miss_server.relay.clock import Clock, EarlierClock, SystemClock
from miss_server.relay.delivery import Delivery
from miss_server.relay.departing import Departing
from miss_server.relay.hub import Hub
from miss_server.relay.keeper import Keeper
from miss_server.relay.login import Login
from miss_server.relay.recovering import RECOVER_EVERY, Recovering
from miss_server.relay.renewing import LAPSE_EVERY, Renewing
from miss_server.relay.sweep import Sweep
from miss_server.storage.messages import NotDurable
from miss_server.stores import Opened, as_worker, prepare_once, serving
from miss_server.workers import Workers, WorkersError

if TYPE_CHECKING:
    from miss_server.provider.signing_in import Provider

log = structlog.get_logger()


def build(settings: Settings, opened: Opened, clock: Clock) -> Starlette:
    """The application over an open store."""
    store = opened.store
    hub, doorbell = Hub(store), doorbell_of(settings, clock)
    sweep = Sweep(store, hub)
    doorbell.listen(sweep.hear)
    earlier = EarlierClock(clock, store.tally)
    departing = Departing(store, hub, doorbell, earlier, grace_days=settings.leaving_days)
    provider = provider_of(settings)
    renewing = Renewing(
        store,
        hub,
        doorbell,
        earlier,
        # Nobody could prove themselves anew without a provider.
        renew_days=settings.provider_renew_days if provider else 0,
        grace_days=settings.provider_grace_days,
    )
    keeper = Keeper(
        store,
        hub,
        doorbell,
        sweep,
        clock,
        sweep_every=settings.sweep_every,
        rounds=[
            (settings.leaving_every, departing.depart),
            (LAPSE_EVERY, renewing.lapse),
            (RECOVER_EVERY, Recovering(store, hub, doorbell, earlier).recover),
        ],
    )
    figures = FiguresKept(opened.overview, clock)
    admission, certificate = admission_of(settings), certificate_of(settings, clock)
    connections = admission.limits.connections
    if connections < settings.max_connections:
        log.warning("fewer connections than by default: open files", connections=connections)
    counts = counts_of(settings, clock)
    health = Health(
        clock,
        [
            StayingWatch(hub),
            DatabaseWatch(store, clock),
            DoorbellWatch(doorbell),
            DiskWatch(opened.disk),
            DirectoryWatch(figures, clock),
            RoomWatch(admission),
            *([ClockWatch(store)] if opened.seat is not None else []),
            *([ArchiveWatch(figures)] if opened.seat is not None else []),
            *([CountsWatch(counts)] if settings.redis is not None else []),
            *([CertificateWatch(certificate, clock)] if certificate is not None else []),
            *([ProviderWatch(provider.tally)] if provider is not None else []),
        ],
    )
    throttle = Throttle(
        counts,
        enrolment_tries_per_hour=settings.enrolment_tries_per_hour,
        rings_per_hour=settings.rings_per_hour,
    )
    services = Services(
        settings=settings,
        charter=load_charter(settings),
        messages=store,
        accounts=store,
        directory=store,
        invitations=store,
        meeting=store,
        departures=store,
        standings=store,
        reports=store,
        attestations=store,
        organisations=store,
        recoveries=store,
        doorbell=doorbell,
        hub=hub,
        sweep=sweep,
        delivery=Delivery(store, hub, doorbell, clock),
        login=Login(
            store,
            clock,
            domain=settings.domain,
            minimum_app=settings.minimum_app,
            may_log_in=throttle.may_log_in,
        ),
        throttle=throttle,
        clock=clock,
        admission=admission,
        certificate=certificate,
        proofs=store,
        beginnings=Beginnings(store, clock),
        provider=provider,
        provider_info=provider.info(renew_days=settings.provider_renew_days) if provider else None,
    )
    metrics = Metrics(
        clock=clock,
        health=health,
        figures=figures,
        writing=store,
        hub=hub,
        sweep=sweep,
        doorbell=doorbell,
        door=services.tally,
        provider=provider.tally if provider is not None else None,
        admission=admission,
        certificate=certificate,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Services]]:
        rounds: list[asyncio.Task[None]] = []
        if opened.seat is not None:
            rounds.append(asyncio.create_task(opened.seat.hold()))
        await doorbell.start()
        await throttle.shared.start()
        await keeper.begin()
        rounds += [
            asyncio.create_task(keeper.run()),
            asyncio.create_task(health.run()),
            asyncio.create_task(pulse.feel(clock, hub.tally.lag)),
        ]
        yield {"services": services}
        for each in rounds:
            each.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)
        await throttle.shared.stop()
        if provider is not None:
            await provider.close()
        await doorbell.stop()
        await store.close()
        if opened.seat is not None:
            opened.seat.leave()

    services.tally.calls.update(never_failed(table := routes()))
    app = Starlette(
        routes=table,
        lifespan=lifespan,
        middleware=[Middleware(Requests, tally=services.tally, clock=clock)],
        exception_handlers={
            RemoteError: on_remote_error,
            NotDurable: on_not_durable,
            HTTPException: on_no_route,
            ClientDisconnect: on_gone,
            Exception: on_fault,
        },
    )
    app.state.services = services
    app.state.health, app.state.metrics = health, metrics
    return app


def doorbell_of(settings: Settings, clock: Clock) -> Doorbell:
    """How this node reaches the others, if there are any."""
    line = line_of(settings)
    if line is None:
        return MemoryDoorbell(clock.now_ms)
    return NodeDoorbell(line, clock.now_ms)


async def try_doorbell(settings: Settings, clock: Clock) -> None:
    """Connect once, before anybody is served. What cannot be reached now is reached later.

    Raises:
        DoorbellError: it refuses us as the settings are; the text says what to change.
    """
    doorbell = doorbell_of(settings, clock)
    await doorbell.start()
    await doorbell.stop()


def provider_of(settings: Settings) -> "Provider | None":
    """The identity provider, if there is one.

    Raises:
        ProviderSettingsError: what is set does not go together.
    """
    chosen = provider_settings.of(settings)
    if chosen is None:
        return None
    # Its libraries take 100 ms to load: a server without a provider does not wait for them.
    from miss_server.provider.signing_in import Provider

    return Provider(chosen)


def counts_of(settings: Settings, clock: Clock) -> Counts:
    """Where the rate limits are counted that all nodes share."""
    if settings.redis is None:
        return NodeCounts()
    from miss_server.http.shared_counting import SharedCounts

    return SharedCounts(settings.redis.get_secret_value(), settings.domain, clock.now_ms)


def admission_of(settings: Settings) -> Admission:
    """Who may connect.

    Raises:
        TooFewFilesError: the system allows fewer open files than `max_connections` needs.
    """
    connections = connections_possible(
        settings.max_connections,
        allowed=raise_limit(),
        must="max_connections" in settings.model_fields_set,
    )
    limits = Limits(
        connections=connections,
        strangers=settings.max_strangers,
        per_address=settings.connections_per_address,
        rate=settings.address_rate,
        burst=settings.address_burst,
    )
    return Admission(limits, TrustedProxies(settings.trusted_proxies, settings.proxy_headers))


def certificate_of(settings: Settings, clock: Clock) -> Certificate | None:
    """The server's own certificate, if it is to speak TLS.

    Raises:
        CertificateError: it cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key, now_ms=clock.now_ms())


def serve(settings: Settings) -> None:
    """Run the server until SIGINT or SIGTERM.

    Raises:
        Refusal: it cannot serve as it is set up, of workers the first that finds so.
        OSError, UnicodeDecodeError: a file that the settings name cannot be used.
    """
    # Until it serves a reload has nothing to read anew, and must not end it, nor a worker.
    signal.signal(signal.SIGHUP, lambda *_: None)
    clock = SystemClock()
    settings.must_not_be_lost()
    load_charter(settings)
    provider_settings.of(settings)
    # What cannot work must show before the database is touched.
    admission_of(settings)
    certificate_of(settings, clock)
    if settings.workers > 1 and not isinstance(settings.database, Dsn):
        raise WorkersError(
            "workers need PostgreSQL: set MISS_DATABASE to its address, or MISS_WORKERS to 1"
        )
    asyncio.run(try_doorbell(settings, clock))
    if settings.workers > 1:
        prepare_once(settings, now_ms=clock.now_ms())
        with bind(settings, shared=True) as kept:  # a port that the system picked, too
            chosen = settings.model_copy(update={"port": kept.getsockname()[1]})
            workers = Workers(
                settings.workers,
                lambda number, ready: _serve(as_worker(chosen, number), clock, ready),
                settings.drain_seconds,
            )
            if status := workers.run():
                raise SystemExit(status)
        return
    _serve(settings, clock)


def _serve(settings: Settings, clock: Clock, ready: Callable[[], None] = lambda: None) -> None:
    """Be one node, until told to end; `ready` is called once it serves."""
    with serving(settings, now_ms=clock.now_ms()) as opened:
        listening = listen(settings, shared=settings.workers > 1)
        # What is loaded stays, and a message makes a hundred objects that reference counting frees:
        # looking for cycles at every 700 of them costs more than it finds.
        gc.set_threshold(20_000, 20, 20)
        gc.freeze()
        # Another node of this name may have begun at the same instant: one of the two ends here.
        first = None if opened.seat is None else opened.seat.take_at_start
        server = server_of(build(settings, opened, clock), settings, first, ready)
        server.run(sockets=[listening])
