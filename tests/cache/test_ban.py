from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.builders import records_of_all_tags
from tests.cache.cache_parts import Cache, counted
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.cache.ban_lurker import Lurker
from varnishpy.cache.ban_spec import BanError, format_duration, parse_string, parse_words
from varnishpy.cache.hash import Lookup
from varnishpy.cache.objcore import OC_BUSY, OC_DYING
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.stats.names import MainName


def found(cache: Cache, url: str = "/", **headers: str) -> Lookup:
    """Look up and leave everything as it was."""
    req = cache.request(url, **headers)
    lookup, oc, busy = cache.lookup(req)
    if oc is not None:
        cache.deref(oc)
    if busy is not None:
        cache.hash.withdraw(cache.wrk, busy)
    return lookup


def ban(cache: Cache, text: str) -> None:
    assert cache.bans.ban_string(text) is None


# -- the language ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "Wrong number of arguments"),
        ("req.url ==", "Wrong number of arguments"),
        ("req.url == a && b", "Wrong number of arguments"),
        ("req.url == a || req.url == b", 'Found "||" expected &&'),
        ("foo == a", 'Unknown or unsupported field "foo"'),
        ("req.urlx == a", 'Unknown or unsupported field "req.urlx"'),
        ("obj.http. == a", 'Missing header name: "obj.http."'),
        ("req.url <> a", 'expected conditional (==, !=, ~ or !~) got "<>"'),
        ("req.url > a", 'expected conditional (==, !=, ~ or !~) got ">"'),
        ("obj.ttl ~ 1s", 'expected conditional (==, !=, >, >=, < or <=) got "~"'),
        ("obj.ttl > 1x", 'expected duration <n.nn>[ms|s|m|h|d|w|y] got "1x"'),
        ("obj.age > 7", 'expected duration <n.nn>[ms|s|m|h|d|w|y] got "7"'),
    ],
)
def test_errors_of_the_cli(words: str, text: str) -> None:
    with pytest.raises(BanError) as caught:
        parse_words(words.split())
    assert str(caught.value) == text


def test_errors_of_patterns() -> None:
    with pytest.raises(BanError, match="Regex compile error: "):
        parse_words(["req.url", "~", "("])


@pytest.mark.parametrize(
    ("string", "text"),
    [
        ("", "No ban conditions found."),
        ("req.url", "Expected comparison operator."),
        ("req.url ==", "Expected second operand."),
        ("req.url == a and b", 'Expected && between conditions, found "and"'),
        ("req.url == a &&", "No ban conditions found."),
        ('req.url == "a', "Missing '\"'"),
    ],
)
def test_errors_of_vcl(string: str, text: str) -> None:
    with pytest.raises(BanError) as caught:
        parse_string(string)
    assert str(caught.value) == text


def test_words_of_a_string() -> None:
    [one, two] = parse_string(r'req.http.Foo == "a b"   && req.url ~ ^/\d+$')
    assert (one.header, one.text) == ("foo", "a b")
    assert two.text == r"^/\d+$"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.5, "500ms"), (1, "1s"), (1.5, "1.500s"), (60, "1m"), (90, "90s"), (7200, "2h"), (86400, "1d"),
        (604800, "1w"), (31536000, "1y"),
    ],
)  # fmt: skip
def test_durations_in_the_list(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


# -- at lookup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "hit"),
    [
        ("req.url == /", False),
        ("req.url == /other", True),
        ("req.url != /other", False),
        ("req.url ~ ^/", False),
        ("req.url !~ ^/", True),
        ("req.http.foo == bar", False),
        ("req.http.foo == BAR", True),
        ("req.http.none == bar", True),
        ("req.http.none != bar", False),
        ("req.http.none ~ .", True),
        ("req.http.none !~ .", True),
        ("obj.http.content-type ~ plain", False),
        ("obj.http.Content-Type == text/plain", False),
        ("obj.http.none != x", False),
        ("obj.status == 200", False),
        ("obj.status ~ 4..", True),
        ("obj.ttl > 60s", False),
        ("obj.ttl > 2h", True),
        ("obj.ttl <= 2h", False),
        ("obj.age > 1m", True),
        ("obj.age < 1m", False),
        ("obj.grace == 10s", False),
        ("obj.grace != 10s", True),
        ("obj.keep < 1s", False),
        ("obj.last_hit < 1h", False),
        ("obj.last_hit > 1h", True),
        ("req.url == / && obj.status == 200", False),
        ("req.url == / && obj.status == 404", True),
    ],
)
def test_conditions(cache: Cache, spec: str, hit: bool) -> None:
    cache.insert("/", age=5.0)
    ban(cache, spec)
    assert found(cache, "/", Foo="bar") is (Lookup.HIT if hit else Lookup.MISS)
    cache.settle()
    cache.clear()


def test_only_older_objects_are_banned(cache: Cache) -> None:
    cache.insert("/old")
    ban(cache, "req.url ~ .")
    cache.insert("/new")
    assert found(cache, "/new") is Lookup.HIT
    assert found(cache, "/old") is Lookup.MISS
    cache.settle()
    cache.clear()


@pytest.fixture
def travels() -> Iterator[None]:
    """The clock is right again afterwards."""
    yield
    clock.travel(-clock.travel(0.0))


def test_ages_count_from_the_clock_as_it_is_when_a_ban_is_made(cache: Cache, travels: None) -> None:
    """A list of bans that goes on behind a clock that was set back must not make objects older than they are."""
    clock.travel(7200.0)
    ban(cache, "obj.status == 999")
    clock.travel(-7200.0)
    cache.insert()
    ban(cache, "obj.age > 60s")
    assert found(cache) is Lookup.HIT
    clock.travel(61.0)
    ban(cache, "obj.age > 60s")
    assert found(cache) is Lookup.MISS
    cache.settle()
    cache.clear()


def test_an_object_is_tested_once(cache: Cache) -> None:
    oc = cache.insert()
    ban(cache, "req.url == /x")
    ban(cache, "req.url == /y && req.url == /x")
    names: tuple[MainName, ...] = ("bans_tested", "bans_tests_tested", "bans_obj_killed")
    before = {name: stats.main.get(name) for name in names}
    assert found(cache) is Lookup.HIT
    assert oc.ban is cache.bans.newest
    assert found(cache) is Lookup.HIT
    after = {name: stats.main.get(name) - value for name, value in before.items()}
    assert after == {"bans_tested": 1, "bans_tests_tested": 2, "bans_obj_killed": 0}
    cache.clear()


def test_a_banned_object_is_logged_and_counted(cache: Cache) -> None:
    oc = cache.insert()
    ban(cache, "obj.status == 200")
    killed = stats.main.get("bans_obj_killed")
    req = cache.request()
    with records_of_all_tags() as records:
        cache.lookup(req)
        req.log.flush()
    assert records.texts(Tag.ExpBan) == [f"{oc.xid} banned lookup"]
    assert oc.flags & OC_DYING
    assert stats.main.get("bans_obj_killed") == killed + 1


def test_variants_that_do_not_match_are_tested_when_asked(cache: Cache) -> None:
    oc = cache.insert(headers={"Foo": "1"}, vary="Foo")
    ban(cache, "obj.status == 200")
    assert found(cache, Foo="2") is Lookup.MISS
    assert not oc.flags & OC_DYING
    table.set("ban_any_variant", "10")
    assert found(cache, Foo="2") is Lookup.MISS
    assert oc.flags & OC_DYING
    cache.settle()
    cache.clear()


# -- the list ----------------------------------------------------------------------------------------------------------


def test_duplicates_are_completed(cache: Cache) -> None:
    ban(cache, "req.url == /a")
    ban(cache, "obj.ttl > 1s")
    dups = stats.main.get("bans_dups")
    ban(cache, "req.url == /a")
    ban(cache, "obj.ttl > 1s")  # relative to its own moment: not the same
    assert stats.main.get("bans_dups") == dups + 1
    assert [each.completed for each in cache.bans.snapshot()] == [False, False, False, True, True]
    table.set("ban_dups", "off")
    ban(cache, "req.url == /a")
    assert stats.main.get("bans_dups") == dups + 1


def test_the_list_as_shown(cache: Cache) -> None:
    cache.insert()
    ban(cache, 'req.http.Foo ~ "a b" && obj.age >= 90s')
    lines = cache.bans.list_text().splitlines()
    assert lines[0] == "Present bans:"
    [newest, first] = cache.bans.snapshot()
    assert lines[1] == f"{newest.time:.6f}     0 -  req.http.Foo ~ a b && obj.age >= 90s"
    assert lines[2] == f"{first.time:.6f}     1 C  "
    rows = cache.bans.list_json()
    assert json.loads(json.dumps(rows)) == [
        {
            "time": round(newest.time, 6),
            "refs": 0,
            "completed": False,
            "spec": 'req.http.Foo ~ "a b" && obj.age >= 90s',
        },
        {"time": round(first.time, 6), "refs": 1, "completed": True, "spec": ""},
    ]
    assert newest.time > first.time
    cache.clear()


def test_no_bans_after_shutdown(cache: Cache) -> None:
    cache.bans.stop()
    assert cache.bans.ban_string("req.url == /") == "Shutting down"
    assert cache.bans.ban_words(["req.url", "==", "/"]) == "Shutting down"
    assert cache.bans.ban_string(None) == "Null argument"


# -- the lurker --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lurker(cache: Cache) -> Lurker:
    table.set("ban_lurker_age", "0")
    return Lurker(cache.bans, cache.hash)


def counts(lurker: Lurker) -> dict[str, int]:
    return {name: value for name, value in counted(lurker._counts.stats).items() if name.startswith("bans")}


def test_the_lurker_kills_what_is_banned_and_shortens_the_list(cache: Cache, lurker: Lurker) -> None:
    cache.insert("/a")
    keep = cache.insert("/b", fields=[("Keep", "1")])
    ban(cache, "obj.http.keep != 1")
    ban(cache, "obj.status == 404")
    assert lurker.work() > 1
    cache.settle()
    assert cache.hash.all_objects() == [keep]
    assert keep.ban is cache.bans.newest
    assert counts(lurker) == {
        "bans_lurker_tested": 3,
        "bans_lurker_tests_tested": 3,
        "bans_lurker_obj_killed": 1,
    }
    lurker.work()
    assert [each.completed for each in cache.bans.snapshot()] == [True]
    cache.clear()


def test_the_lurker_comes_to_every_object_in_portions(cache: Cache, lurker: Lurker) -> None:
    """Half of them are killed, half are moved, and some that are on hold stay with their ban."""
    objects = [cache.insert(f"/{number}", status=200 + number % 2) for number in range(2500)]
    held = objects[::100]
    for oc in held:
        oc.flags |= OC_BUSY  # whoever made them is not done
    ban(cache, "obj.status == 201")
    lurker.work()
    assert all(bool(oc.flags & OC_DYING) == bool(number % 2) for number, oc in enumerate(objects))
    left = {oc for number, oc in enumerate(objects) if not number % 2} - set(held)
    assert set(cache.bans.newest.objcores()) == left
    for oc in held:
        oc.flags &= ~OC_BUSY
    cache.settle()
    assert set(cache.bans.oldest.objcores()) == set(held)
    cache.clear()


def test_a_portion_goes_on_where_the_one_before_ended_whoever_left_meanwhile(cache: Cache) -> None:
    a, b, c, d = [cache.insert(f"/{name}") for name in "abcd"]
    one = cache.bans.newest
    one.rewind()
    assert one.next_objcores(2) == [a, b]
    ban(cache, "obj.status == 404")
    for oc in (b, c):
        cache.bans.move(oc, one, cache.bans.newest)
    assert one.next_objcores(10) == [d]
    assert one.next_objcores(10) == []
    assert one.objcores() == [a, d]
    cache.clear()


def test_the_gauges_agree_with_the_list(cache: Cache, lurker: Lurker) -> None:
    def gauges() -> list[int]:
        return [stats.main.get(name) for name in ("bans", "bans_completed", "bans_obj", "bans_req")]

    before = gauges()
    for number in range(5):
        cache.insert(f"/{number}")
        ban(cache, f"obj.status == 40{number}")
        ban(cache, f"req.url == /{number}x")
    for _ in range(2):
        lurker.work()
        listed = cache.bans.snapshot()
        assert [now - then for now, then in zip(gauges(), before, strict=True)] == [
            len(listed) - 1,
            sum(each.completed for each in listed) - 1,
            sum(each.on_object for each in listed),
            sum(each.on_request for each in listed),
        ]
        cache.clear()


def test_young_bans_are_left_to_requests(cache: Cache, lurker: Lurker) -> None:
    table.set("ban_lurker_age", "60")
    oc = cache.insert()
    ban(cache, "obj.status == 200")
    assert 50 <= lurker.work() <= 60 or lurker.work() == pytest.approx(49.62)
    assert not oc.flags & OC_DYING
    cache.clear()


def test_the_lurker_does_not_wait_for_a_clock_that_was_set_back(cache: Cache, lurker: Lurker, travels: None) -> None:
    table.set("ban_lurker_age", "0.1")
    oc = cache.insert()
    ban(cache, "obj.status == 200")
    clock.travel(-3600.0)
    wait_for(lambda: lurker.work() and oc.flags & OC_DYING, "the object's end")
    cache.clear()


def test_bans_on_requests_are_barriers_for_moving_not_for_testing(cache: Cache, lurker: Lurker) -> None:
    cache.insert("/a", status=404)
    stays = cache.insert("/b")
    ban(cache, "req.url == /nothing")
    ban(cache, "obj.status == 404")
    lurker.work()
    cache.settle()
    assert cache.hash.all_objects() == [stays]
    newest, on_request, *_ = cache.bans.snapshot()
    assert newest.completed
    assert not on_request.completed
    assert stays.ban is not newest  # a request still has to test it
    ban(cache, "req.url == /b")
    assert found(cache, "/b") is Lookup.MISS
    cache.settle()
    cache.clear()


def test_cutoff(cache: Cache, lurker: Lurker) -> None:
    cache.insert("/a")
    for number in range(5):
        ban(cache, f"req.url == /{number}")
    table.set("ban_cutoff", "3")
    lurker.work()
    cache.settle()
    assert cache.hash.all_objects() == []
    assert counts(lurker) == {"bans_lurker_obj_killed_cutoff": 1}
    lurker.work()
    assert len(cache.bans.snapshot()) <= 5


def test_the_thread_works_when_a_ban_is_added_and_stops(cache: Cache) -> None:
    table.set("ban_lurker_age", "0.01")
    oc = cache.insert()
    cache.bans.start()
    ban(cache, "obj.status == 200")
    wait_for(lambda: oc.flags & OC_DYING, "the lurker to find the object")
    cache.bans.stop()
    cache.settle()
    cache.clear()


def test_objects_on_their_way_out_are_let_go(cache: Cache, lurker: Lurker) -> None:
    oc = cache.insert()
    cache.hash.ref(oc)
    cache.hash.kill(oc)
    ban(cache, "obj.status == 404")
    lurker.work()
    assert oc.ban is None
    cache.settle()
    cache.deref(oc)
    cache.clear()
