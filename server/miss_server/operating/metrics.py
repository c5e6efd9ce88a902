"""What `/metrics` tells, in the text format of Prometheus or OpenMetrics.

Everything is read from plain numbers at the moment of a scrape; between scrapes nothing is done. A
registry of our own: what libraries put into the global one is not ours to tell. No label names a
person, an account or a device.
"""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from miss_server.conditions import State
from miss_server.doorbell.interface import Doorbell
from miss_server.edge.admission import Admission
from miss_server.edge.certificate import Certificate
from miss_server.operating.figures import FiguresKept
from miss_server.operating.freshness import DAY_MS, LIMIT_DAYS
from miss_server.operating.health import Health, Report
from miss_server.relay.clock import Clock
from miss_server.relay.hub import Hub
from miss_server.relay.sweep import Sweep
from miss_server.storage.overview import Figures, Writing
from miss_server.tallies import DoorTally, ProviderTally, Spread

log = structlog.get_logger()


class Metrics(Collector):
    """The metrics of this process. `render` for each scrape."""

    def __init__(
        self,
        *,
        clock: Clock,
        health: Health,
        figures: FiguresKept,
        writing: Writing,
        hub: Hub,
        sweep: Sweep,
        doorbell: Doorbell,
        door: DoorTally,
        admission: Admission,
        certificate: Certificate | None,
        provider: ProviderTally | None = None,
    ) -> None:
        self._clock = clock
        self._health = health
        self._figures = figures
        self._writing = writing
        self._hub = hub
        self._sweep = sweep
        self._doorbell = doorbell
        self._door = door
        self._admission = admission
        self._certificate = certificate
        self._provider = provider
        self._report = Report(())
        self._summed: Figures | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text of now and its media type, as the header `accept` asks for."""
        self._report = await self._health.look()
        try:
            self._summed = await self._figures.get()
        except Exception as error:  # noqa: BLE001  # the numbers of this process are told all the same
            log.error("figures not read", error=str(error))
            self._summed = None
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Everything but the process's own numbers."""
        yield _gauge("miss_build_info", "Always 1; the version.", 1, version=_version())
        yield from self._conditions()
        yield from self._messages()
        yield from self._storage()
        yield from self._connections()
        yield from self._calls()
        if self._provider is not None:
            yield from self._sign_ins(self._provider)
        if self._summed is not None:
            yield from self._database(self._summed)

    def _conditions(self) -> Iterator[Metric]:
        yield _gauge(
            "miss_ready",
            "Whether messages can be made durable (/health/ready).",
            self._report.ready,
        )
        states = GaugeMetricFamily(
            "miss_part_state", "1 for the state that a part is in.", labels=["part", "state"]
        )
        for part in self._report.parts:
            for state in State:
                states.add_metric([part.name, state.value], part.condition.state is state)
        yield states
        yield _counter(
            "miss_figures_failures", "Times the database's sums could not be read.",
            self._figures.failures,
        )  # fmt: skip

    def _messages(self) -> Iterator[Metric]:
        tally = self._hub.tally
        yield _counters(
            "miss_sends", "Sends settled, by outcome: sent, or the code told.", "outcome",
            tally.settled,
        )  # fmt: skip
        yield _counter(
            "miss_acknowledgements", "Acknowledgements made durable.", tally.acknowledged
        )
        yield _histogram(
            "miss_delivery_seconds",
            "From a message's commit until its connected device's acknowledgement is durable.",
            tally.delivery,
        )
        yield _histogram(
            "miss_ring_seconds",
            "From a ring until what it announced is written to its connections.",
            tally.ring,
        )
        yield _counter(
            "miss_sweep_finds",
            "Devices with something waiting that nobody rang for.",
            self._sweep.found,
        )
        bell = self._doorbell.state()
        yield _gauge(
            "miss_doorbell_up", "Whether rings reach other nodes.", bell.up, kind=bell.kind
        )
        rings = CounterMetricFamily(
            "miss_doorbell_rings",
            "Devices announced to other nodes, heard from them, or dropped while the way was down.",
            labels=["way"],
        )
        for way, count in (("rung", bell.rung), ("heard", bell.heard), ("dropped", bell.dropped)):
            rings.add_metric([way], count)
        yield rings
        yield _counter("miss_doorbell_reconnects", "Times it came up again.", bell.reconnects)
        now = self._clock.steady()
        waiting = [now - c.watched_since for c in self._hub.connections() if c.watched]
        yield _gauge(
            "miss_oldest_connected_seconds",
            "Age of the oldest message that was written to a connection and is not acknowledged.",
            max(waiting, default=0.0),
        )

    def _storage(self) -> Iterator[Metric]:
        tally = self._writing.tally
        yield _histogram("miss_batch_jobs", "Jobs made durable by one commit.", tally.batch_jobs)
        yield _histogram(
            "miss_batch_seconds",
            "From a batch's first statement until it is on the disk.",
            tally.batch_seconds,
        )
        yield _histogram(
            "miss_batch_wait_seconds",
            "From handing in a batch's first job until it is answered.",
            tally.batch_wait,
        )
        yield _counters(
            "miss_database_errors", "Failed batches and reads, by cause.", "cause",
            tally.failures,
        )  # fmt: skip

    def _connections(self) -> Iterator[Metric]:
        hub = self._hub
        connections = GaugeMetricFamily(
            "miss_connections", "Open WebSockets, by whether they have logged in.", labels=["state"]
        )
        connections.add_metric(["live"], len(hub))
        connections.add_metric(["login"], len(hub.strangers))
        yield connections
        yield _counters(
            "miss_connections_closed", "Ended WebSockets, by close code; gone: by the peer.", "code",
            hub.tally.closes,
        )  # fmt: skip
        yield _counters(
            "miss_logins", "Logins, by outcome: ok, or the code told.", "outcome",
            self._door.logins,
        )  # fmt: skip
        admission = self._admission
        yield _gauge(
            "miss_connections_max", "Connections that there may be.", admission.limits.connections
        )
        yield _counter(
            "miss_connections_turned_away", "Connections not let in.", admission.turned_away
        )
        yield _counter(
            "miss_strangers_pushed_out",
            "Connections ended to make room, before they had logged in.",
            admission.pushed_out,
        )
        if self._certificate is not None:
            yield _gauge(
                "miss_certificate_days",
                "Days until the server's own certificate ends.",
                self._certificate.days_left(self._clock.now_ms()),
            )
        yield _histogram("miss_loop_lag_seconds", "How late the event loop comes.", hub.tally.lag)

    def _calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "miss_calls", "HTTP calls, by name and status.", labels=["call", "status"]
        )
        limited = CounterMetricFamily(
            "miss_rate_limited", "Refused for being too many, by call.", labels=["call"]
        )
        limited.add_metric(["connection"], self._hub.tally.closes["rate"])
        for (call, status), count in sorted(self._door.calls.items()):
            calls.add_metric([call, str(status)], count)
            if status == 429:
                limited.add_metric([call], count)
        yield calls
        yield limited
        yield _histogram("miss_call_seconds", "How long HTTP calls took.", self._door.call_seconds)

    def _sign_ins(self, it: ProviderTally) -> Iterator[Metric]:
        yield _counters(
            "miss_sign_ins", "Sign-ins at the identity provider.", "outcome", it.outcomes
        )
        yield _counter(
            "miss_provider_failures", "Questions that the provider did not answer.", it.failures
        )

    def _database(self, it: Figures) -> Iterator[Metric]:
        now_ms = self._clock.now_ms()
        yield _gauge("miss_accounts", "Accounts.", it.accounts)
        yield _gauge(
            "miss_accounts_unconfirmed",
            "Accounts that take no messages since a restore until a device came back.",
            it.unconfirmed,
        )
        devices = GaugeMetricFamily(
            "miss_devices", "Devices, by whether they were seen in 30 days.", labels=["state"]
        )
        devices.add_metric(["active"], it.devices - it.dormant)
        devices.add_metric(["dormant"], it.dormant)
        yield devices
        yield _gauge("miss_prekeys", "One-time prekeys of all devices.", it.prekeys)
        supply = GaugeMetricFamily(
            "miss_devices_short_of_prekeys",
            "Active devices that have few or no one-time prekeys.",
            labels=["supply"],
        )
        supply.add_metric(["low"], it.low_on_prekeys - it.without_prekeys)
        supply.add_metric(["none"], it.without_prekeys)
        yield supply
        yield _gauge("miss_mailbox_rows", "Rows that wait in all mailboxes.", it.waiting)
        yield _gauge("miss_mailbox_bytes", "Their bytes.", it.waiting_bytes)
        yield _gauge("miss_mailboxes_waiting", "Mailboxes in which something waits.", it.mailboxes)
        yield _gauge("miss_mailboxes_full", "Mailboxes that take nothing more.", it.full)
        yield _gauge("miss_mailbox_deepest_rows", "Rows in the fullest mailbox.", it.deepest)
        yield _gauge(
            "miss_oldest_waiting_seconds",
            "Age of the oldest message that waits, also for devices that are away.",
            0 if it.oldest_ms is None else max(0, now_ms - it.oldest_ms) / 1000,
        )
        yield _gauge("miss_epoch_number", "Goes up by one with each restore.", it.epoch)
        if it.directory_ms is not None:
            yield _gauge(
                "miss_directory_age_seconds",
                "Age of the directory's oldest data.",
                (now_ms - it.directory_ms) / 1000,
            )
        ages = GaugeMetricFamily(
            "miss_directory_source_age_seconds",
            "Age of the data of each source of the directory.",
            labels=["source"],
        )
        for source, date_ms in it.directory_sources:
            ages.add_metric([source], (now_ms - date_ms) / 1000)
        yield ages
        limits = GaugeMetricFamily(
            "miss_directory_source_limit_seconds",
            "The age from which a source's data wants a look; none for sources that may be old.",
            labels=["source"],
        )
        for source, days in LIMIT_DAYS.items():
            limits.add_metric([source], days * DAY_MS / 1000)
        yield limits
        yield _gauge("miss_directory_entries", "Entries of the directory.", it.directory_entries)
        yield _gauge("miss_reports_open", "Reports that no operator has closed.", it.reports_open)
        yield _gauge(
            "miss_oldest_report_seconds",
            "Age of the oldest of them.",
            0 if it.oldest_report_ms is None else max(0, now_ms - it.oldest_report_ms) / 1000,
        )
        yield _gauge("miss_database_bytes", "What the database takes on its disk.", it.bytes)


def _version() -> str:
    try:
        return version("miss-messenger")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _counters(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, spread: Spread) -> Metric:
    buckets, below = [], 0
    for bound, count in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=spread.total)
