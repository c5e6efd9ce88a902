"""What an operator sees of a running server, read as a program reads it."""

from collections.abc import Mapping

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.wire import Server, open_call

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(server: Server) -> Samples:
    """`/metrics`, by name and labels."""
    answer = await open_call(server, "GET", "/metrics")
    assert answer.status_code == 200, answer.content
    return parsed(answer)


def parsed(answer: httpx2.Response) -> Samples:
    """The samples of a scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, labels: Mapping[str, str] | None = None) -> float:
    """One sample, by all of its labels."""
    return samples[name, frozenset((labels or {}).items())]
