"""Storage that outlives a restart: what comes back, and what must not."""

from __future__ import annotations

import contextlib
import math
import os
import random
import sqlite3
from pathlib import Path

import pytest

from tests.storage.persistent_life import Lives, found, stored
from varnishpy.base import clock
from varnishpy.cache.ban_lurker import Lurker
from varnishpy.cache.objcore import OC_ASK
from varnishpy.params import table
from varnishpy.storage.boc import BocState
from varnishpy.storage.config import StorageConfigError, StorageSpec, list_json, parse_storage
from varnishpy.storage.object import ObjectFlag
from varnishpy.storage.persistent.datafile import GRANULE, DataDamaged, DataFile
from varnishpy.storage.persistent.stevedore import PersistentStevedore
from varnishpy.storage.room import NoSpace, StorageError

# -- what comes back ---------------------------------------------------------------------------------------------------


def test_an_object_comes_back_as_it_was(live: Lives) -> None:
    life = live()
    body = random.randbytes(300_000)
    before = life.insert("/a", ttl=300.0, grace=20.0, keep=5.0, age=7.0, body=body, finish=False)
    stobj = stored(before)
    stobj.headers.add("X-Odd", 'latin \xe4 and "quotes"')
    stobj.headers.reason = "Fine"
    stobj.attrs["GZIPBITS"] = bytes(range(32))
    stobj.flags = ObjectFlag.GZIPED
    stobj.last_modified = 1234.0
    assert before.boc is not None
    before.boc.extend(body)
    life.finish(before)
    life.end()

    again = live()
    assert len(again.cold) == 1
    oc = found(again, "/a")
    after = stored(oc)
    assert oc is not before
    assert (oc.ttl, oc.grace, oc.keep, oc.xid) == (300.0, 20.0, 5.0, before.xid)
    assert oc.t_origin == before.t_origin
    assert after.headers.headers == stobj.headers.headers
    assert (after.headers.status, after.headers.reason) == (200, "Fine")
    assert (after.attrs, after.flags, after.last_modified) == (stobj.attrs, stobj.flags, 1234.0)
    again.deref(oc)
    assert again.body("/a") == body
    assert len(again.cold) == 0
    again.settle()
    assert len(again.expiry) == 1


def test_only_what_is_complete_and_may_be_shared_comes_back(live: Lives) -> None:
    life = live()
    growing = life.insert("/growing", finish=False)
    failing = life.insert("/failing", finish=False)
    life.insert("/whole")
    life.fail(failing)
    life.write()
    again = live(life.killed("after"))
    assert again.body("/growing") is None
    assert again.body("/failing") is None
    assert again.body("/whole") == b"body"
    life.finish(growing)


def test_variants_come_back_under_one_digest(live: Lives) -> None:
    life = live()
    for language in ("de", "en"):
        life.insert("/", {"Accept_Language": language}, vary="Accept-Language", body=language.encode())
    life.end()
    again = live()
    assert again.body("/", Accept_Language="en") == b"en"
    assert again.body("/", Accept_Language="de") == b"de"
    assert again.body("/", Accept_Language="fr") is None


def test_what_must_be_asked_for_each_time_stays_so(live: Lives) -> None:
    life = live()
    life.insert("/", ttl=0.0, grace=0.0, keep=100.0, flags=OC_ASK)
    life.end()
    again = live()
    assert again.cold.thaw(b"/".ljust(32, b"\0"))
    (oc,) = again.hash.all_objects()
    assert oc.flags & OC_ASK


def test_times_that_were_changed_come_back_changed(live: Lives) -> None:
    life = live()
    oc = life.insert("/", ttl=100.0)
    life.write()
    life.expiry.rearm(oc, oc.t_origin, 50.0, 3.0, math.nan)
    again = live(life.killed("after"))  # the writer has not even seen it
    after = found(again, "/")
    assert (after.ttl, after.grace, after.keep) == (50.0, 3.0, 0.0)
    again.deref(after)


def test_what_has_expired_meanwhile_gives_its_room_back(live: Lives) -> None:
    life = live()
    life.insert("/old", ttl=1.0, grace=0.0, age=0.5, body=b"x" * 100_000)
    life.insert("/new", ttl=100.0)
    life.end()
    clock.travel(10.0)
    try:
        again = live()
        assert again.body("/old") is None
        assert again.body("/new") == b"body"
        assert again.store.used_space < 10_000
    finally:
        clock.travel(-10.0)


def test_a_body_that_is_being_sent_keeps_its_octets(live: Lives) -> None:
    life = live(size="1m")
    body = random.randbytes(200_000)
    oc = life.insert("/", body=body)
    life.write()
    views = list(stored(oc).chunks)
    assert all(isinstance(view, memoryview) for view in views)
    life.hash.purge(life.wrk, oc.digest, 0.0)
    life.settle()
    used = life.store.used_space
    assert used >= 200_000  # it is in use, though nobody can find it
    life.insert("/2", body=random.randbytes(500_000))
    life.write()
    assert b"".join(views) == body
    views.clear()
    assert life.store.used_space < used + 500_000 - 190_000


def test_pieces_of_a_growing_body_turn_into_views(live: Lives) -> None:
    life = live(size="8m")
    oc = life.insert("/", finish=False)
    assert oc.boc is not None
    body = b""
    for size in (10, 20, 5000, 3, 65536, 65536, 65536, 65536, 65536, 65536, 7):
        piece = random.randbytes(size)
        body += piece
        oc.boc.extend(piece)
        life.write()
    life.finish(oc)
    life.write()
    assert life.body("/") == body
    assert all(isinstance(chunk, memoryview) for chunk in stored(oc).chunks)
    life.end()
    again = live(size="8m")
    assert again.body("/") == body


# -- what must not -----------------------------------------------------------------------------------------------------


def test_what_was_purged_does_not_come_back(live: Lives) -> None:
    life = live()
    kept, purged = life.insert("/kept"), life.insert("/purged")
    life.write()
    life.hash.purge(life.wrk, purged.digest, 0.0)
    again = live(life.killed("after"))
    assert again.body("/purged") is None
    assert again.body("/kept") == b"body"
    assert kept.stobj is not None


def test_a_purge_finds_what_nobody_has_asked_for_yet(live: Lives) -> None:
    life = live()
    purged = life.insert("/purged")
    life.end()
    again = live()
    assert again.hash.purge(again.wrk, purged.digest, clock.now()) == 1
    assert again.body("/purged") is None
    third = live(again.killed("third"))
    assert third.body("/purged") is None


def test_bans_come_back_and_are_held_against_what_comes_back(live: Lives) -> None:
    life = live()
    life.insert("/old")
    life.write()
    assert life.bans.ban_string('obj.http.content-type ~ "text" && req.url == /old') is None
    life.insert("/new")
    life.write()
    again = live(life.killed("again"))
    (ban,) = (ban for ban in again.bans.snapshot() if ban.tests)
    assert ban.show() == "obj.http.content-type ~ text && req.url == /old"
    assert again.body("/old") is None
    assert again.body("/new") == b"body"


def test_a_ban_counts_from_the_moment_it_was_made(live: Lives) -> None:
    life = live()
    life.insert("/")
    life.write()
    assert life.bans.ban_words(["obj.age", ">", "0s"]) is None
    moment, made = life.bans.newest.time, life.bans.newest.moment
    again = live(life.killed("again"))
    (ban,) = (ban for ban in again.bans.snapshot() if ban.tests)
    assert (ban.time, ban.moment) == (moment, made)
    assert again.bans.newest.time > moment


def test_bans_stay_until_all_that_came_back_was_tested(live: Lives) -> None:
    table.set("ban_lurker_age", "0")
    life = live()
    for url in ("/a", "/b"):
        life.insert(url)
    life.write()
    life.bans.ban_words(["obj.http.x", "==", "1"])
    again = live(life.killed("again"))
    lurker = Lurker(again.bans, again.hash)
    clock.travel(1.0)
    try:
        lurker.work()
        assert [ban.completed for ban in again.bans.snapshot() if ban.tests] == [False]
        again.cold.thaw_all()
        assert again.bans.cold == 0
        lurker.work()
        assert [ban.completed for ban in again.bans.snapshot() if ban.tests] == [True]
    finally:
        clock.travel(-1.0)


def test_bans_are_forgotten_with_the_last_object(live: Lives) -> None:
    life = live()
    life.bans.ban_words(["obj.status", "==", "404"])
    again = live(life.killed("again"))
    assert not any(ban.tests for ban in again.bans.snapshot())
    again.write()
    third = live(again.killed("third"))
    assert third.store.bans == []


def test_keys_find_what_nobody_has_asked_for_yet(live: Lives) -> None:
    life = live()
    for number in range(6):
        oc = life.insert(f"/{number}", finish=False)
        stored(oc).headers.add("Xkey", f"k{number % 2} all")
        life.finish(oc)
    life.end()
    again = live()
    wanted = again.hash.keys.want("xkey")
    assert again.hash.keys.purge("k1") == 3
    again.settle()
    assert len(again.cold) == 3
    assert [again.found(f"/{number}") is not None for number in range(6)] == [True, False] * 3
    assert again.hash.keys.purge("all") == 3
    again.hash.keys.unwant(wanted)


def test_who_replaces_an_object_replaces_what_is_stored(live: Lives) -> None:
    life = live()
    old = life.insert("/", body=b"old")
    life.write()
    new = life.insert("/", body=b"new", age=1.0)
    life.hash.ref(old)
    life.hash.replace(old, new)
    life.deref(old)
    life.write()
    again = live(life.killed("again"))
    assert again.body("/") == b"new"


# -- room --------------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first_across_a_restart(live: Lives) -> None:
    life = live(size="2m")
    for number in range(8):
        life.insert(f"/{number}", body=b"%d" % number * 100_000)
    life.write()
    first = found(life, "/0")
    life.store.lru.touch(first, clock.now() + 100.0)
    life.deref(first)
    life.end()
    again = live(size="2m")
    for number in range(18):
        again.insert(f"/new{number}", body=b"n" * 100_000)
        again.write()
    assert [number for number in range(8) if again.body(f"/{number}") is not None] == [0, 7]
    assert all(again.body(f"/new{number}") is not None for number in range(18))


def test_what_does_not_fit_pushes_no_more_out_than_it_may(live: Lives) -> None:
    table.set("nuke_limit", "3")
    life = live(size="1m")
    for number in range(8):
        life.insert(f"/{number}", body=b"x" * 100_000)
    oc = life.insert("/big", finish=False)
    assert oc.boc is not None
    with pytest.raises(NoSpace):
        oc.boc.extend(b"y" * 900_000)
    life.fail(oc)
    assert sum(life.body(f"/{number}") is not None for number in range(8)) == 5


def test_everything_given_back_leaves_nothing(live: Lives) -> None:
    life = live()
    for number in range(20):
        life.insert(f"/{number}", body=b"x" * (number * 5000 + 1))
    life.write()
    life.clear()
    life.write()
    assert len(live(life.killed("again")).cold) == 0


def test_extents_are_told_to_be_damaged_when_two_lie_over_each_other(tmp_path: Path) -> None:
    data = DataFile(tmp_path / "data", 1 << 20)
    data.lay_out([(GRANULE, 100), (3 * GRANULE, 1000)])
    assert (data.used, data.allocations) == (3 * GRANULE, 2)
    run = data.take(GRANULE)
    assert run is not None
    assert run.start == 2 * GRANULE
    for taken in ([(GRANULE, 1000), (2 * GRANULE, 10)], [(0, 10)], [(1 << 20, 10)]):
        with pytest.raises(DataDamaged):
            data.lay_out(taken)
    data.close()


def test_a_smaller_storage_keeps_what_still_fits(live: Lives) -> None:
    life = live(size="4m")
    for number in range(10):
        life.insert(f"/{number}", body=b"%d" % number * 300_000)
    life.end()
    again = live(size="2m")
    bodies = [again.body(f"/{number}") for number in range(10)]
    assert 3 <= sum(body is not None for body in bodies) <= 7
    assert all(body in (None, b"%d" % number * 300_000) for number, body in enumerate(bodies))
    assert (again.directory / "data").stat().st_size == 2 << 20


# -- the command line --------------------------------------------------------------------------------------------------


def test_two_processes_cannot_have_one_directory(live: Lives) -> None:
    life = live()
    other = PersistentStevedore("q", str(life.directory), "4m", handover=0.0)
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        other.open()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["persistent"], "(-spersistent) a directory is mandatory"),
        (["persistent,/x"], "(-spersistent) a size is mandatory"),
        (["persistent,/x,10k"], '(-spersistent) size "10k": too small, did you forget to specify M or G?'),
        (["persistent,/x,zz"], '(-spersistent) size "zz": Invalid number'),
        (["persistent,/x,1m,2"], "(-spersistent) too many arguments"),
        (["Transient=persistent,/x,1m"], "(-spersistent) Transient storage is for what is not to be kept"),
        (["a=persistent,/x,1m", "persistent,/x,2m"], "(-s persistent,/x,2m) /x is another storage's"),
    ],
)
def test_what_is_wrong_is_told(texts: list[str], message: str) -> None:
    with pytest.raises(StorageConfigError) as caught:
        for spec in parse_storage(texts):
            spec.make()
    assert str(caught.value) == message


def test_the_directory_is_made_and_a_file_refused(tmp_path: Path) -> None:
    StorageSpec("s0", "deprecated_persistent", (str(tmp_path / "new"), "1m")).check()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "silo").write_bytes(b"x")
    with pytest.raises(StorageConfigError, match="is not a directory"):
        StorageSpec("s0", "persistent", (str(tmp_path / "silo"), "1m")).check()
    with pytest.raises(StorageConfigError, match="cannot be made: No such file"):
        StorageSpec("s0", "persistent", (str(tmp_path / "no" / "x"), "1m")).check()
    with pytest.raises(StorageConfigError, match="larger than the file system"):
        StorageSpec("s0", "persistent", (str(tmp_path), "1000000T")).check()


def test_both_names_are_listed_alike() -> None:
    specs = parse_storage(["a=persistent,/x,1m", "b=deprecated_persistent,/y,1m"])
    assert [row["storage"] for row in list_json(specs)] == ["persistent", "persistent", "default"]


def test_the_index_is_an_ordinary_database(live: Lives) -> None:
    life = live()
    life.insert("/")
    life.end()
    with contextlib.closing(sqlite3.connect(life.directory / "index.db")) as db:
        assert db.execute("select count(*) from object").fetchone() == (1,)
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)


def test_states_of_a_fetch_reach_the_storage_once(live: Lives) -> None:
    life = live()
    oc = life.insert("/", finish=False)
    assert oc.boc is not None
    life.write()
    assert life.store.writer is not None
    commits = life.store.writer.commits
    life.hash.set_state(life.wrk, oc, BocState.FINISHED)
    life.write()
    assert life.store.writer.commits == commits
    life.hash.deref_boc(life.wrk, oc)
    life.write()
    assert life.store.writer.commits == commits + 1
    life.deref(oc)
