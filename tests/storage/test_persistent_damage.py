"""Storage that outlives a restart, damaged, cut short by a power cut, or on a disk that refuses."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.storage.persistent_life import Life, Lives, found, stored
from varnishpy import stats
from varnishpy.storage.persistent.writer import BACKLOG
from varnishpy.storage.room import NoSpace
from varnishpy.storage.source import SourceError

# -- damage ------------------------------------------------------------------------------------------------------------


def _overwrite(path: Path, start: int, octets: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(octets)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: _overwrite(store / "index.db", 0, b"no database at all"),
        lambda store: os.truncate(store / "index.db", 5000),
        lambda store: _overwrite(store / "data", 0, b"something else"),
        lambda store: (store / "data").unlink(),
        lambda store: os.truncate(store / "data", 10),
    ],
)
def test_what_is_damaged_is_set_aside(
    live: Lives, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object]
) -> None:
    life = live()
    life.insert("/")
    life.end()
    spoil(life.directory)
    again = live()
    assert again.body("/") is None
    text = capsys.readouterr().out
    assert f"{life.directory} is damaged" in text
    assert f"moved to {life.directory}/damaged, the cache begins empty" in text
    assert (life.directory / "damaged" / "index.db").exists()
    again.insert("/", body=b"new")
    again.end()
    assert live().body("/") == b"new"


def test_an_object_with_a_wrong_octet_is_a_miss(live: Lives) -> None:
    life = live()
    oc = life.insert("/", body=b"right" * 1000)
    life.insert("/other")
    life.write()
    start = stored(oc).runs[0].start  # type: ignore[attr-defined]
    life.end()
    _overwrite(life.directory / "data", start + 2000, b"w")
    again = live()
    assert again.body("/") is None
    assert again.body("/other") == b"body"
    assert again.store._damaged == 1


def test_a_long_body_is_looked_at_as_it_is_sent(live: Lives) -> None:
    life = live(size="16m")
    body = random.randbytes(5_000_000)
    oc = life.insert("/", finish=False)
    assert oc.boc is not None
    for start in range(0, len(body), 50_000):
        oc.boc.extend(body[start : start + 50_000])
        life.write()
    life.finish(oc)
    life.write()
    runs = stored(oc).runs  # type: ignore[attr-defined]
    assert len(runs) < 15
    where = runs[-1].start + 3
    life.end()

    again = live(size="16m")
    oc = found(again, "/")
    stobj = stored(oc)
    assert stobj.unchecked
    again.deref(oc)
    assert again.body("/") == body
    assert stobj.unchecked is None
    again.end()

    _overwrite(life.directory / "data", where, bytes([body[0] ^ 255, 1, 2, 3]))
    third = live(size="16m")
    with pytest.raises(SourceError, match="damaged"):
        third.body("/")
    assert third.body("/") is None


def test_a_power_cut_leaves_exact_objects_or_none(live: Lives, tmp_path: Path) -> None:
    """Index and data file from before or after a round of the writer, sectors of the data file mixed as they may be."""
    dice = Random(4)
    life = live(size="1m")
    bodies: dict[str, bytes] = {}
    served = 0
    for turn in range(12):
        before = life.killed(f"before{turn}")
        for _ in range(dice.randrange(1, 8)):
            url = f"/{dice.randrange(12)}"
            old = life.found(url)
            if old is not None:
                life.hash.kill(old)
                life.deref(old)
            life.settle()
            body = dice.randbytes(dice.randrange(200_000))
            bodies[body[:16].hex()] = body
            with contextlib.suppress(NoSpace):
                life.insert(url, body=body)
        life.write()
        after = life.killed(f"after{turn}")
        cut = tmp_path / f"cut{turn}"
        shutil.copytree(dice.choice((before, after)), cut)
        old_data, new_data = ((path / "data").read_bytes() for path in (before, after))
        sectors = [dice.choice((old_data, new_data))[start : start + 512] for start in range(0, len(new_data), 512)]
        (cut / "data").write_bytes(new_data[:512] + b"".join(sectors)[512:])
        shutil.rmtree(before)
        shutil.rmtree(after)
        saved = live(cut, size="1m")
        for number in range(12):
            body_there = saved.body(f"/{number}")
            if body_there is not None:
                served += 1
                assert bodies[body_there[:16].hex()] == body_there
        saved.end()
    assert served > 20


def test_a_broken_journal_is_told_and_the_rest_of_it_applied(live: Lives, capsys: pytest.CaptureFixture[str]) -> None:
    life = live()
    purged = life.insert("/purged")
    life.write()
    life.hash.purge(life.wrk, purged.digest, 0.0)
    left = life.killed("again")
    (journal,) = left.glob("journal.*")
    journal.write_bytes(b'00000000 ["gone",1]\n' + journal.read_bytes() + b'1234 ["ban",12')
    again = live(left)
    assert again.body("/purged") is None
    assert "2 lines of the journal are not whole" in capsys.readouterr().out


# -- a disk that refuses -----------------------------------------------------------------------------------------------


def segment(life: Life) -> stats.Segment:
    """Its counters, as published now."""
    stats.registry.collect()
    (found,) = (counters for counters in stats.registry.all() if counters.name == f"SMP.{life.store.ident}")
    return found


def test_a_directory_that_cannot_be_used_stores_nothing(
    live: Lives, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data").mkdir()  # stands for all that open(2) may refuse, to root too
    life = live()
    assert not life.store.happy
    assert "cannot be used" in capsys.readouterr().out
    with pytest.raises(NoSpace):
        life.insert("/")
    counters = segment(life)
    assert (counters.value("c_req"), counters.value("c_fail"), counters.value("c_error")) == (1, 1, 1)


def _no_more_than(octets: int) -> Callable[[], None]:
    """Let files of this process grow to so many octets and no further; the result undoes it."""
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, limits[1]))

    def undo() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    return undo


def test_a_full_disk_is_counted_and_survived(live: Lives) -> None:
    life = live(size="4m")
    kept = life.insert("/kept")
    life.write()
    undo = _no_more_than(8192)  # neither the data file nor the log of the index can take any more
    try:
        oc = life.insert("/lost", body=b"x" * 100_000)
        life.write()
        life.settle()
        assert not life.store.happy
        with pytest.raises(NoSpace):
            life.insert("/refused")
        life.hash.purge(life.wrk, kept.digest, 0.0)
        life.write()
        assert life.body("/lost") is None
        assert oc.stobj is None
        counters = segment(life)
        assert counters.value("c_error") >= 2
        assert counters.value("c_fail") == 1
    finally:
        undo()
    clock_later(life)
    life.insert("/later")
    life.write()
    again = live(life.killed("again"))
    assert again.body("/kept") is None  # what the index could not take at first it has taken since
    assert again.body("/later") == b"body"


def test_lines_that_the_journal_cannot_take_are_counted(live: Lives) -> None:
    life = live()
    oc = life.insert("/gone")
    life.write()
    undo = _no_more_than(0)
    try:
        life.hash.purge(life.wrk, oc.digest, 0.0)
        assert segment(life).value("c_unlogged") == 1
    finally:
        undo()
    life.write()
    assert live(life.killed("again")).body("/gone") is None  # the index has it


def clock_later(life: Life) -> None:
    """The storage has rested."""
    assert life.store.writer is not None
    life.store.writer._rests_until = 0.0
    assert life.store.happy


def test_what_waits_to_be_written_is_limited(live: Lives) -> None:
    life = live(size="100m")
    writer = life.store.writer
    assert writer is not None
    oc = life.insert("/", finish=False)
    assert oc.boc is not None
    called: list[str] = []
    while oc.boc.wants_more(lambda: called.append("go on")):
        oc.boc.extend(b"x" * (1 << 20))
    assert BACKLOG <= writer.backlog <= BACKLOG + (1 << 20)
    with pytest.raises(NoSpace):
        life.insert("/other")
    assert segment(life).value("c_late") == 1
    assert called == []
    life.write()
    assert called == ["go on"]
    assert writer.backlog == 0
    life.finish(oc)
