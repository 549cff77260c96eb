"""The store on a real engine: what each call does, and how it fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from tests.conftest import Setting
from tests.tier.engine_process import EngineProcess, free_port
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.cache.limits import Bucket
from varnishpy.tier import record
from varnishpy.tier.breaker import State
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore
from varnishpy.tier.errors import TierError, TierTimeout
from varnishpy.tier.record import Invalidation, Variant
from varnishpy.tier.store import Facts, Published

DIGEST, OTHER = b"d" * 32, b"o" * 32
IDENT = b"i" * record.IDENT
NONE, FIRST, SECOND = b"", b"1" * record.NONCE, b"2" * record.NONCE


def index(nonce: bytes, *variants: Variant) -> bytes:
    return record.encode_index(nonce, variants)


def test_an_index_is_published_by_who_knows_the_one_before(store: EngineStore) -> None:
    assert store.ask(DIGEST).index is None
    assert store.publish(DIGEST, NONE, index(FIRST), 0, 60) is Published.STORED
    assert store.ask(DIGEST).index == index(FIRST)
    assert store.publish(DIGEST, NONE, index(SECOND), 0, 60) is Published.CHANGED
    assert store.publish(DIGEST, FIRST, index(SECOND), 0, 60) is Published.STORED
    assert store.ask(DIGEST).index == index(SECOND)
    assert store.ask(OTHER).index is None


def test_what_was_asked_for_before_a_purge_is_not_published_after_it(store: EngineStore) -> None:
    before = store.ask(DIGEST).facts.number
    assert store.publish(DIGEST, NONE, index(FIRST), before, 60) is Published.STORED
    number = store.number()
    assert number == before + 1
    store.mark(Invalidation(record.PURGE, number, digest=DIGEST))
    asked = store.ask(DIGEST)
    assert asked.index is None and asked.mark == number and asked.facts.number == number
    assert store.publish(DIGEST, NONE, index(SECOND), before, 60) is Published.PURGED
    assert store.publish(DIGEST, NONE, index(SECOND), number, 60) is Published.STORED
    store.mark(Invalidation(record.PURGE, number - 1, digest=DIGEST))
    assert store.ask(DIGEST).mark == number, "a mark never becomes lower"


def test_values_and_marks_of_tags_are_read_in_one_go(store: EngineStore) -> None:
    tags = [record.tag_of("", "shoes"), record.tag_of("", "hats")]
    store.write(DIGEST, IDENT, 0, [b"head", b"one", b"two"], 60)
    store.mark(Invalidation(record.KEYS, 7, tags=(tags[1],)))
    assert store.read(DIGEST, IDENT, 0, 2, tags) == ([b"head", b"one"], [0, 7])
    assert store.read(DIGEST, IDENT, 2, 2) == ([b"two", None], [])
    assert store.present(DIGEST, IDENT, 0, 4) == 3
    store.forget(DIGEST, IDENT, 3)
    assert store.present(DIGEST, IDENT, 0, 4) == 0


def test_many_keys_are_marked_in_several_goes(store: EngineStore) -> None:
    tags = tuple(record.tag_of("", f"key{number}") for number in range(1500))
    store.mark(Invalidation(record.KEYS, 3, tags=tags))
    store.write(DIGEST, IDENT, 0, [b"head"], 60)
    assert store.read(DIGEST, IDENT, 0, 1, (tags[0], tags[700], tags[-1])) == ([b"head"], [3, 3, 3])


def test_the_log_is_read_in_order_and_waited_for(store: EngineStore) -> None:
    first, second = (Invalidation(record.PURGE, number, "a", digest=DIGEST) for number in (1, 2))
    assert store.follow(b"0-0", 0.01) == []
    store.append(first)
    [(name, value)] = store.follow(b"0-0", 1.0)
    assert record.decode_invalidation(value) == first
    found: list[list[tuple[bytes, bytes]]] = []
    thread = threading.Thread(target=lambda: found.append(store.follow(name, 20.0)))
    thread.start()
    store.append(second)
    thread.join(20)
    assert [record.decode_invalidation(value) for _, value in found[0]] == [second]


def test_the_log_tells_what_it_does_not_hold_any_more(store: EngineStore, setting: Setting) -> None:
    setting("tier_log_length", "100")
    for number in range(1, 104):
        store.append(Invalidation(record.PURGE, number, digest=DIGEST))
    left = store.follow(b"0-0", 1.0)
    assert [record.decode_invalidation(value).number for _, value in left] == list(range(4, 104))
    assert b"0-0" < store.facts().trimmed < left[0][0]


def test_bans_are_kept_beside_the_log_and_the_last_one_dropped_is_told(store: EngineStore, setting: Setting) -> None:
    setting("tier_bans", "2")
    words = ("obj.status", "==", "404")
    ids = [store.append(Invalidation(record.BAN, number, words=words)) for number in (3, 5, 9)]
    assert [record.decode_invalidation(value).number for _, value in store.bans(b"0-0")] == [5, 9]
    assert store.facts() == Facts(0, 0, ids[-1], 3)
    assert len(store.follow(b"0-0", 1.0)) == 3


def test_an_engine_that_lost_what_we_saw_is_repaired_once(store: EngineStore) -> None:
    store.number()
    facts = store.repair(500)
    assert facts.number == facts.floor > 500
    assert store.repair(500) == store.repair(500, missing=True) == facts
    [(_, value)] = store.follow(b"0-0", 1.0)
    told = record.decode_invalidation(value)
    assert told.kind == record.ALL and told.number == facts.floor


def test_nodes_report_and_leases_have_one_holder(store: EngineStore) -> None:
    store.report("a", b"4-0")
    store.report("b", b"5-1")
    nodes = store.nodes()
    assert {name: applied for name, (applied, _) in nodes.items()} == {"a": b"4-0", "b": b"5-1"}
    assert all(abs(moment - store.time()) < 60 for _, moment in nodes.values())
    assert store.lease(DIGEST, b"a", 60) and store.leased(DIGEST)
    assert not store.lease(DIGEST, b"b", 60)
    store.release(DIGEST, b"b")
    assert store.leased(DIGEST)
    store.release(DIGEST, b"a")
    assert store.lease(DIGEST, b"b", 60)


def test_a_bucket_is_taken_from_by_all_and_refilled(store: EngineStore) -> None:
    def take(amount: int = 1) -> Bucket:
        return store.bucket(b"ip", 2, 3600.0, 0.0, amount)

    assert [take(), take(), take()] == [Bucket(False, 1, 0.0), Bucket(False, 0, 0.0), Bucket(True, 0, 0.0)]
    assert take(0) == Bucket(False, 0, 0.0)
    assert not take(-1).denied and not take().denied and take().denied
    assert store.bucket(b"other", 2, 3600.0, 0.0, 1) == Bucket(False, 1, 0.0)
    assert not store.bucket(b"short", 1, 0.01, 0.0, 1).denied
    wait_for(lambda: not store.bucket(b"short", 1, 0.01, 0.0, 1).denied, "it to be refilled")


def test_a_bucket_that_is_empty_is_blocked(store: EngineStore) -> None:
    assert not store.bucket(b"ip", 1, 0.001, 3600.0, 1).denied
    wait_for(lambda: store.bucket(b"ip", 1, 3600.0, 3600.0, 1).denied, "it to be empty")
    found = store.bucket(b"ip", 1, 0.001, 3600.0, 1)
    assert found.denied and 3000.0 < found.blocked <= 3600.0, "although it is full again"


def test_generations_do_not_see_each_others_objects_but_all_purges(
    engine: EngineProcess, store: EngineStore, counters: stats.Counters[stats.TierName]
) -> None:
    newer = EngineStore(TierSpec("valkey", path=str(engine.path), generation=1), counters)
    store.publish(DIGEST, NONE, index(FIRST), 0, 60)
    assert newer.ask(DIGEST).index is None
    newer.mark(Invalidation(record.PURGE, 8, digest=DIGEST))
    assert store.ask(DIGEST).mark == 8
    newer.close()


# -- failing -----------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_not_there(counters: stats.Counters[stats.TierName], setting: Setting) -> None:
    setting("tier_breaker_errors", "2")
    setting("tier_breaker_pause", "1h")
    store = EngineStore(TierSpec("valkey", "127.0.0.1", free_port()), counters)
    for _ in range(2):
        with pytest.raises(TierError):
            store.ask(DIGEST)
    assert store.state is State.OPEN
    with pytest.raises(TierError, match="a moment ago"):
        store.ask(DIGEST)
    assert counters.get("error") == 2 and counters.get("opened") == 1


def test_a_black_hole_costs_one_deadline(
    engine: EngineProcess, store: EngineStore, counters: stats.Counters[stats.TierName], setting: Setting
) -> None:
    store.ask(DIGEST)
    engine.freeze()
    with pytest.raises(TierTimeout):
        store.ask(DIGEST)
    assert counters.get("timeout") == 1
    engine.thaw()
    wait_for(lambda: _works(store), "the engine to be used again")


def _works(store: EngineStore) -> bool:
    try:
        store.ask(DIGEST)
    except TierError:
        return False
    return True


def test_a_new_deadline_holds_for_connections_that_are_open(
    engine: EngineProcess, store: EngineStore, setting: Setting
) -> None:
    setting("tier_timeout", "0.001")
    wait_for(lambda: _works(store), "an answer in a millisecond")
    setting("tier_timeout", "10")
    engine.command("CLIENT", "PAUSE", "100")
    store.ask(DIGEST)


def test_after_a_restart_it_is_used_again(engine: EngineProcess, store: EngineStore, setting: Setting) -> None:
    setting("tier_breaker_pause", "0.01")
    store.number()
    engine.kill()
    with pytest.raises(TierError):
        store.ask(DIGEST)
    engine.start()
    wait_for(lambda: _works(store), "the engine to be used again")
    assert store.facts() == Facts()


@pytest.mark.parametrize(
    "answer",
    [b"-ERR no\r\n", b"-MOVED 1 127.0.0.1:1\r\n", b"-OOM full\r\n", b"+OK\r\n", b":-7\r\n", b"$2\r\nxx\r\n",
     b"*0\r\n", b"*1\r\n*-1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999999999999999\r\n", b""],
)  # fmt: skip
def test_whatever_listens_there_no_call_raises_anything_but_tier_errors(
    answer: bytes, counters: stats.Counters[stats.TierName], setting: Setting
) -> None:
    setting("tier_breaker_errors", "1000000")
    setting("tier_timeout", "0.02")
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                conn, _ = server.accept()
            except OSError:
                return
            with conn:
                while conn.recv(1 << 16):
                    try:
                        conn.sendall(answer)
                    except OSError:
                        break
                    if not answer:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    store = EngineStore(TierSpec("valkey", "127.0.0.1", server.getsockname()[1]), counters)
    calls: list[Callable[[], object]] = [
        lambda: store.ask(DIGEST),
        lambda: store.read(DIGEST, IDENT, 0, 1),
        lambda: store.write(DIGEST, IDENT, 0, [b"x"], 1),
        lambda: store.publish(DIGEST, NONE, index(FIRST), 0, 1),
        lambda: store.number(),
        lambda: store.mark(Invalidation(record.PURGE, 1, digest=DIGEST)),
        lambda: store.append(Invalidation(record.PURGE, 1, digest=DIGEST)),
        lambda: store.follow(b"0-0", 0.01),
        lambda: store.bans(b"0-0"),
        lambda: store.repair(1),
        lambda: store.facts(),
        lambda: store.time(),
        lambda: store.nodes(),
        lambda: store.lease(DIGEST, b"a", 1),
        lambda: store.bucket(b"b", 1, 1.0, 0.0, 1),
    ]
    outcomes = []
    for call in calls:
        try:
            call()
        except TierError:
            outcomes.append("error")
        else:
            outcomes.append("taken")
    assert "error" in outcomes
    store.close()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(20)
