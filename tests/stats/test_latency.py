"""Histograms of latencies: buckets, sums, names, and many workers at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from varnishpy.params import ParamError
from varnishpy.params.buckets import DEFAULT_BUCKETS, parse_buckets
from varnishpy.params.table import ParamTable
from varnishpy.stats import latency
from varnishpy.stats.latency import OF_FETCH, OF_HIT, OF_MISS, OTHERS, Latencies


@pytest.fixture(autouse=True)
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = latency.bounds()
    monkeypatch.setattr(latency, "_known", {})
    latency.set_bounds([0.001, 0.01, 0.1])
    yield
    latency.set_bounds(before)


def test_a_bound_belongs_to_its_bucket() -> None:
    found = Latencies()
    for seconds in (0.0005, 0.001, 0.0011, 0.1, 0.2, 3000.0):
        found.observe(OF_HIT, "b", seconds)
    histogram = found.rows[OF_HIT]["b"]
    assert histogram.counts == [2, 1, 1, 2]
    assert histogram.seconds == pytest.approx(3000.3026)
    assert not found.rows[OF_MISS]


def test_a_clock_that_was_set_back_takes_nothing_off() -> None:
    found = Latencies()
    found.observe(OF_FETCH, "b", -5.0)
    assert (found.rows[OF_FETCH]["b"].counts[0], found.rows[OF_FETCH]["b"].seconds) == (1, 0.0)


def test_those_of_many_workers_add_up() -> None:
    workers = [Latencies() for _ in range(4)]

    def work(own: Latencies, name: str) -> None:
        for _ in range(1000):
            own.observe(OF_HIT, name, 0.005)
            own.observe(OF_MISS, "all", 0.05)

    threads = [threading.Thread(target=work, args=(own, f"b{n % 2}")) for n, own in enumerate(workers)]
    for thread in threads:
        thread.start()
    before: dict[str, int] = {}
    while any(thread.is_alive() for thread in threads):
        before = total(workers, before)
    for thread in threads:
        thread.join()
    assert total(workers, before) == {"b0": 2000, "b1": 2000, "all": 4000}


def total(workers: list[Latencies], before: dict[str, int]) -> dict[str, int]:
    """Counts by backend, of which none is below what it was."""
    added = Latencies()
    for own in workers:
        added.add(own)
    found = {name: sum(histogram.counts) for row in added.rows for name, histogram in row.items()}
    assert all(found[name] >= count for name, count in before.items())
    return found


def test_names_are_limited() -> None:
    found, other = Latencies(), Latencies()
    for number in range(latency.MOST_BACKENDS + 50):
        found.observe(OF_HIT, f"b{number}", 0.5)
    other.observe(OF_HIT, "late", 0.5)
    other.observe(OF_HIT, "b0", 0.5)
    found.add(other)
    row = found.rows[OF_HIT]
    assert len(row) == latency.MOST_BACKENDS + 1
    assert (sum(row[OTHERS].counts), sum(row["b0"].counts)) == (51, 2)


def test_the_default_is_a_value() -> None:
    assert ParamTable().text("latency_buckets") == DEFAULT_BUCKETS
    assert len(parse_buckets(DEFAULT_BUCKETS)) == 16
    assert parse_buckets("0.5, 1 2") == [0.5, 1.0, 2.0]


TOO_MANY = " ".join(map(str, range(1, 52)))


@pytest.mark.parametrize("text", ["", "x", "0 1", "-1 1", "1 1", "2 1", "1 inf", "nan", TOO_MANY])
def test_what_is_no_list_of_buckets(text: str) -> None:
    with pytest.raises(ParamError, match="latency_buckets are bounds in seconds"):
        ParamTable().set("latency_buckets", text)
