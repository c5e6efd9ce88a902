"""The dashboard and the alert rules against a real scrape: no name that does not exist."""

import json
import re
from datetime import timedelta
from pathlib import Path

import promql_parser
import pytest

from tests.support.deployed import UP, expressions, nodes, panels, rules, selectors
from tests.support.operating import Samples, scrape
from tests.support.server import DOMAIN, ServerProcess, miss_server, run_command

MANUAL = Path(__file__).parents[3] / "server" / "README.md"

OF_PROMETHEUS = {"job", "instance"}
"""Labels that a scrape gets from who scrapes."""
OPEN_ENDED = {("miss_calls_total", "status"), ("miss_calls_total", "call")}
"""Labels whose values come with what happens."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a small directory."""
    folder = tmp_path_factory.mktemp("directory")
    people, database = folder / "people.txt", folder / "miss.sqlite"
    run_command("miss_server", "directory", "generate", str(people), "--people", "30")
    miss_server("directory", "import", str(people), "--domain", DOMAIN, database=database)
    return database


async def samples_of(database: Path, log: Path) -> Samples:
    """What a server that has just started tells Prometheus the second time."""
    server = ServerProcess(database, log)
    await server.start()
    try:
        await scrape(server)
        return await scrape(server)
    finally:
        await server.stop()


async def test_every_name_label_and_value_is_in_a_real_scrape(
    directory: Path, tmp_path: Path
) -> None:
    samples = await samples_of(directory, tmp_path / "server.log")
    labels: dict[str, dict[str, set[str]]] = {UP: {}}
    for name, pairs in samples:
        known = labels.setdefault(name, {})
        for label, value in pairs:
            known.setdefault(label, set()).add(value)
    wrong: list[str] = []
    seen = 0
    for where, expression in expressions():
        for selector in selectors(expression):
            seen += 1
            if selector.name not in labels:
                wrong.append(f"{where}: no {selector.name}")
                continue
            for matcher in selector.matchers.matchers:
                values = labels[selector.name].get(matcher.name)
                if matcher.name in OF_PROMETHEUS:
                    continue
                if values is None:
                    wrong.append(f"{where}: {selector.name} has no label {matcher.name}")
                elif (
                    matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual)
                    and matcher.value not in values
                    and (selector.name, matcher.name) not in OPEN_ENDED
                ):
                    wrong.append(f"{where}: no {matcher.name}={matcher.value} of {selector.name}")
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        names = {word.strip() for group in grouped for word in group.split(",")}
        there = {label for s in selectors(expression) for label in labels.get(s.name, {})}
        wrong += [
            f"{where}: by {name}, which is no label" for name in names - there - OF_PROMETHEUS
        ]
    assert not wrong
    assert seen > 50


def test_a_wrong_name_would_be_found() -> None:
    [one] = selectors('rate(miss_no_such_thing_total{call="x"}[5m])')
    assert one.name == "miss_no_such_thing_total"
    with pytest.raises(ValueError, match="unclosed"):
        selectors("sum(rate(miss_sends_total[5m])")


def test_a_restore_for_which_the_nodes_were_away_for_days_is_told_for_an_hour() -> None:
    [rule] = [rule for rule in rules() if rule["alert"] == "MissRestored"]
    assert re.match(r"max\(\w+\) > max\(max_over_time\(", rule["expr"])
    [window] = nodes(rule["expr"], promql_parser.MatrixSelector)
    # What was before is looked for within this time before the hour in which it is told.
    assert window.vector_selector.offset == timedelta(hours=1)
    assert window.range >= timedelta(days=3)


def anchors() -> set[str]:
    """The alerts that the manual has a paragraph for, as anchors."""
    text = MANUAL.read_text("utf-8")
    section = text.partition("## What each alert means")[2].partition("\n## ")[0]
    return {heading.lower() for heading in re.findall(r"^### (Miss\w+)$", section, re.MULTILINE)}


def test_each_alert_links_to_its_paragraph_and_each_paragraph_has_one() -> None:
    linked = set()
    for rule in rules():
        link = rule["annotations"]["runbook_url"]
        assert link == f"server/README.md#{rule['alert'].lower()}"
        linked.add(link.partition("#")[2])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["summary_fr"]
    assert linked == anchors()
    assert len(linked) == len(rules())


def test_labels_in_texts_are_those_of_the_result() -> None:
    for rule in rules():
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        grouped = re.findall(r"(?:sum|max|min) by \(([^)]*)\)", rule["expr"])
        kept = {word.strip() for group in grouped for word in group.split(",")} - {"le"}
        if grouped:
            assert used <= kept, rule["alert"]
        elif re.match(r"\s*(sum|max|min|histogram_quantile)\(", rule["expr"]):
            assert not used, rule["alert"]


def test_panels_do_not_overlap_and_have_titles_in_both_languages() -> None:
    places: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not places & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        assert " / " in panel["title"] or panel["title"] == "MiSS"
        places |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
