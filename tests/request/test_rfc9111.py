"""What feature bits make of RFC 9111, 9213 and 5861, through the state machines."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Setting
from tests.request.request_harness import Answer, Body, Cache
from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.cache.search_rules import SearchRules
from varnishpy.http.dates import format_date
from varnishpy.http.search_variance import SearchVariance
from varnishpy.params import params
from varnishpy.params.bits import FEATURE_GROUPS
from varnishpy.request.groups import GroupIndex


def fetched_twice(cache: Cache, headers: dict[str, str], age: float = 0.0, **more: Any) -> bool:
    """Is the second of two requests answered by the origin, so many seconds later?"""
    cache.origin.on("/p", Answer(b"one", headers=headers, **more), Answer(b"two", headers=headers, **more))
    cache.get("/p")
    grow_old(cache, age)
    return cache.get("/p").body != b"one"


def grow_old(cache: Cache, seconds: float) -> None:
    """Make all that is stored older."""
    for oc in cache.env.hash.all_objects():
        oc.t_origin -= seconds


def test_one_name_turns_all_on(setting: Setting) -> None:
    setting("feature", "+rfc9111")
    assert all(getattr(params.feature, bit) for bit in FEATURE_GROUPS["rfc9111"])
    setting("feature", "-invalidate")
    assert not params.feature.invalidate and params.feature.age
    setting("feature", "-rfc9111")
    assert not any(getattr(params.feature, bit) for bit in FEATURE_GROUPS["rfc9111"])


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "s-maxage=5"])
def test_must_revalidate(cache: Cache, setting: Setting, directive: str) -> None:
    """Sections 5.2.2.2, 5.2.2.8 and 5.2.2.10: once stale it MUST NOT be used without validation."""
    headers = {"ETag": '"b"', "Cache-Control": f"max-age=5, {directive}, stale-while-revalidate=60"}
    assert not fetched_twice(cache, headers, 7)
    setting("feature", "+must_revalidate")
    cache.origin.on("/q", Answer(b"one", headers=headers), Answer(b"two", headers=headers))
    cache.get("/q")
    grow_old(cache, 7)
    assert cache.get("/q").body == b"two"
    assert cache.origin.requests[-1].get("if-none-match") == '"b"'  # it is asked about


@pytest.mark.parametrize(("swr", "again"), [("", True), (", stale-while-revalidate=60", False)])
def test_explicit_grace(cache: Cache, setting: Setting, swr: str, again: bool) -> None:
    """Section 4.2.4: a stale response MUST NOT be used unless that is explicitly permitted."""
    setting("feature", "+explicit_grace")
    assert fetched_twice(cache, {"Cache-Control": f"max-age=5{swr}"}, 7) is again


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
@pytest.mark.parametrize(("status", "gone"), [(200, True), (204, True), (303, True), (404, False), (500, False)])
def test_invalidate(cache: Cache, setting: Setting, method: str, status: int, gone: bool) -> None:
    """Section 4.4: MUST invalidate the target URI when a non-error status is received for an unsafe method."""
    setting("feature", "+invalidate")
    setting("feature", "+any_method")
    page = {"Cache-Control": "max-age=100"}
    cache.origin.on("/i", Answer(b"one", headers=page), Answer(b"", status=status), Answer(b"two", headers=page))
    cache.get("/i")
    assert cache.get("/i", method=method).status == status
    assert cache.get("/i").body == (b"two" if gone else b"one")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_safe_methods_invalidate_nothing(cache: Cache, setting: Setting, method: str) -> None:
    setting("feature", "+invalidate")
    cache.origin.on("/i", Answer(b"one", headers={"Cache-Control": "max-age=100"}), Answer(b"x"))
    cache.get("/i")
    cache.get("/i", method=method)
    assert cache.get("/i").body == b"one"


def test_methods_that_nobody_knows(cache: Cache, setting: Setting) -> None:
    assert cache.get("/m", method="M-SEARCH").status == 501
    setting("feature", "+any_method")
    cache.origin.on("/m", Answer(b"x"))
    assert cache.get("/m", method="M-SEARCH").body == b"x"
    assert cache.get("/m", method="CONNECT").status == 501


@pytest.mark.parametrize(
    ("targeted", "control", "again"),
    [
        ("max-age=100", "no-store", False),
        ("no-store", "max-age=100", True),
        ("private", "max-age=100", True),
        ("max-age=0", "max-age=100", True),
        ('max-age="1"', "no-store", True),
    ],
)
def test_targeted_fields(cache: Cache, setting: Setting, targeted: str, control: str, again: bool) -> None:
    """RFC 9213 section 2.2."""
    setting("feature", "+targeted")
    assert fetched_twice(cache, {"Our-CC": targeted, "Cache-Control": control}) is ("no-store" in control)
    setting("targeted_fields", "Our-CC CDN-Cache-Control")
    cache.origin.requests.clear()
    cache.vcl("sub vcl_hash { hash_data(1); }")
    assert fetched_twice(cache, {"Our-CC": targeted, "Cache-Control": control}) is again


def test_a_lifetime_by_rule_of_thumb(cache: Cache, setting: Setting) -> None:
    """Section 4.2.2: where nothing is said, and only if it is known when the response was modified."""
    setting("feature", "+heuristic")
    assert fetched_twice(cache, {})
    cache.vcl("sub vcl_hash { hash_data(1); }")
    assert not fetched_twice(cache, {"Last-Modified": "Thu, 26 Nov 2020 13:46:59 GMT"})


@pytest.mark.parametrize(
    ("status", "bit", "kept"),
    [
        (303, "", True),
        (403, "", True),
        (503, "", False),
        (503, "+all_statuses", True),
        (303, "+cache_compat", False),
    ],
)
def test_statuses_that_say_how_long(cache: Cache, setting: Setting, status: int, bit: str, kept: bool) -> None:
    """Section 3: any final status may be stored when there is explicit freshness."""
    if bit:
        setting("feature", bit)
    assert fetched_twice(cache, {"Cache-Control": "max-age=100"}, status=status) is not kept


@pytest.mark.parametrize(("status", "again"), [(200, False), (299, True)])
def test_must_understand(cache: Cache, setting: Setting, status: int, again: bool) -> None:
    setting("feature", "+all_statuses")
    control = {"Cache-Control": "max-age=100, no-store, must-understand"}
    assert fetched_twice(cache, control, status=status) is again


def test_no_cache_is_asked_about_each_time(cache: Cache, setting: Setting) -> None:
    """Section 5.2.2.4: MUST NOT be used without successful validation; but it may be stored."""
    setting("feature", "+no_cache")
    headers = {"Cache-Control": "no-cache, max-age=100", "ETag": '"b"'}
    gate = threading.Event()
    same = Answer(b"", status=304, headers=headers)
    cache.origin.on("/n", Answer(b"one", headers=headers, gate=gate), same)
    first = cache.start("/n")
    cache.origin.wait_requests(1)
    second = cache.start("/n")  # waits for what the first one fetches, and may not have it
    gate.set()
    assert first.wait().body == second.wait().body == b"one"
    assert cache.get("/n").body == b"one"
    assert [seen.get("if-none-match") for seen in cache.origin.requests] == [None, '"b"', '"b"']


def test_requests_for_what_must_be_asked_about_do_not_wait(cache: Cache, setting: Setting) -> None:
    setting("feature", "+no_cache")
    headers = {"Cache-Control": "no-cache", "ETag": '"b"'}
    gate = threading.Event()
    cache.origin.on("/n", Answer(b"one", headers=headers), Answer(b"", status=304, headers=headers, gate=gate))
    cache.get("/n")
    clients = [cache.start("/n") for _ in range(3)]
    cache.origin.wait_requests(4)
    gate.set()
    assert {client.wait().body for client in clients} == {b"one"}


@pytest.mark.parametrize(
    ("headers", "again"),
    [
        ({"Cache-Control": "max-age=100"}, False),
        ({}, True),
        ({"Cache-Control": "private, max-age=100"}, True),
    ],
)
def test_cookies(cache: Cache, setting: Setting, headers: dict[str, str], again: bool) -> None:
    """Section 7.3: Set-Cookie does not keep a response from being stored; Cache-Control does."""
    cookie = {"Set-Cookie": "a=b", **headers}
    assert fetched_twice(cache, cookie)
    setting("feature", "+cookies")
    cache.vcl("sub vcl_hash { hash_data(1); }")
    assert fetched_twice(cache, cookie) is again
    cache.vcl("sub vcl_hash { hash_data(2); }")
    cache.origin.on("/c", Answer(b"one", headers=headers), Answer(b"two", headers=headers))
    cache.get("/c", headers={"Cookie": "x=y"})
    assert (cache.get("/c").body != b"one") is again


@pytest.mark.parametrize(
    ("control", "again"),
    [
        ("max-age=100", True),
        ("public, max-age=100", False),
        ("s-maxage=100", False),
        ("must-revalidate, max-age=9", False),
    ],
)
def test_authorization(cache: Cache, setting: Setting, control: str, again: bool) -> None:
    """Section 3.5: MUST NOT use a response to a request with Authorization unless it allows that."""
    setting("feature", "+authorization")
    headers = {"Cache-Control": control}
    cache.origin.on("/a", Answer(b"one", headers=headers), Answer(b"two", headers=headers))
    cache.get("/a", headers={"Authorization": "Basic eDp5"})
    assert (cache.get("/a").body != b"one") is again


def test_ages(cache: Cache, setting: Setting) -> None:
    """Section 4.2.3: the apparent age counts, and what the response was on its way."""
    headers = {"Date": format_date(clock.now() - 150), "Cache-Control": "max-age=100, stale-while-revalidate=0"}
    assert not fetched_twice(cache, headers)
    setting("feature", "+age")
    cache.vcl("sub vcl_hash { hash_data(1); }")
    assert fetched_twice(cache, headers)
    assert int(cache.get("/p").headers["age"]) >= 150


@pytest.mark.parametrize(("control", "unpacked"), [("max-age=9", True), ("max-age=9, no-transform", False)])
def test_no_transform(cache: Cache, setting: Setting, control: str, unpacked: bool) -> None:
    """RFC 9110 section 7.7."""
    setting("feature", "+no_transform")
    packed = gzip.compress(b"plain")
    cache.origin.on("/t", Answer(packed, headers={"Content-Encoding": "gzip", "Cache-Control": control, "ETag": '"b"'}))
    for _ in range(2):
        client = cache.get("/t", headers={"Accept-Encoding": "identity"})
        assert client.body == (b"plain" if unpacked else packed)
        assert client.headers["etag"] == ('W/"b"' if unpacked else '"b"')
        assert client.headers.get("content-encoding") == (None if unpacked else "gzip")


ERRORS = [FetchError("no backend"), Answer(b"sorry", status=500), Answer(b"sorry", status=503)]


@pytest.mark.parametrize("error", ERRORS, ids=["cut off", "500", "503"])
@pytest.mark.parametrize(
    ("said", "serves"),
    [("stale-if-error=60", True), ("stale-if-error=1", False), ("stale-if-error=60, must-revalidate", False)],
)
def test_stale_if_error(cache: Cache, setting: Setting, error: Any, said: str, serves: bool) -> None:
    """RFC 5861 section 4; RFC 9111 section 4.2.4: unless it is forbidden."""
    setting("feature", "+stale_if_error")
    setting("default_grace", "0")
    setting("default_keep", "60")
    headers = {"Cache-Control": f"max-age=5, {said}", "X": "y"}
    cache.origin.on("/e", Answer(b"one", headers=headers), error, Answer(b"two", headers=headers))
    assert cache.get("/e").body == b"one"
    grow_old(cache, 7)
    client = cache.get("/e")
    assert client.status == (200 if serves else getattr(error, "status", 503))
    if serves:
        assert (client.body, client.headers["x"], int(client.headers["age"]) >= 7) == (b"one", "y", True)
    assert cache.get("/e").body == b"two"  # and it is asked again each time


def test_without_a_word_stale_serves_only_who_is_cut_off(cache: Cache, setting: Setting) -> None:
    """RFC 9111 section 4.2.4: unless it is disconnected; for as long as default_grace says."""
    setting("feature", "+rfc9111")
    headers = {"Cache-Control": "max-age=5"}
    cache.origin.on("/e", Answer(b"one", headers=headers), FetchError("x"), Answer(b"sorry", status=503))
    cache.get("/e")
    grow_old(cache, 7)
    assert cache.get("/e").body == b"one"
    assert cache.get("/e").status == 503


def test_a_fresh_answer_of_vcl_goes_before_a_stale_one(cache: Cache, setting: Setting) -> None:
    setting("feature", "+stale_if_error")
    setting("default_grace", "0")
    cache.vcl('sub vcl_backend_error { set beresp.status = 200; set beresp.body = "fine"; return (deliver); }')
    headers = {"Cache-Control": "max-age=5, stale-if-error=60"}
    cache.origin.on("/e", Answer(b"one", headers=headers), FetchError("x"))
    cache.get("/e")
    grow_old(cache, 7)
    assert cache.get("/e").body == b"fine"


def test_content_range_is_a_field_like_others_with_a_200(cache: Cache, setting: Setting) -> None:
    """Section 3.1: all fields are stored but those of the hop; RFC 9110 section 14.4: it means nothing there."""
    headers = {"Content-Range": "x", "Cache-Control": "max-age=9"}
    cache.origin.on("/r", Answer(b"one", headers=headers))
    for _ in range(2):
        assert cache.get("/r").headers["content-range"] == "x"


def test_a_posted_body_is_still_passed(cache: Cache, setting: Setting) -> None:
    setting("feature", "+rfc9111")
    cache.origin.on("/p", Answer(b"x", status=201))
    assert cache.get("/p", method="POST", body=Body([b"abc"], 3)).status == 201
    assert cache.origin.bodies == [b"abc"]


@pytest.fixture
def groups(cache: Cache, setting: Setting) -> Iterator[Cache]:
    setting("feature", "+cache_groups")
    index = GroupIndex(cache.env.hash.keys)
    index.follow(True)
    yield cache
    index.follow(False)


@pytest.mark.parametrize(
    ("named", "method", "host", "status", "gone"),
    [
        ('"a"', "POST", "example.com", 200, True),
        ('"x", "b"', "DELETE", "example.com", 204, True),
        ('"c"', "POST", "example.com", 200, False),
        ("a", "POST", "example.com", 200, False),  # a token is no string
        ('"a"', "POST", "example.com", 500, False),
        ('"a"', "GET", "example.com", 200, False),  # section 3: not from responses to safe methods
        ('"a"', "POST", "example.org", 200, False),  # section 2: within one origin
    ],
)
def test_groups(groups: Cache, named: str, method: str, host: str, status: int, gone: bool) -> None:
    """RFC 9875."""
    kept = {"Cache-Control": "max-age=100"}
    groups.origin.on("/g", Answer(b"one", headers={**kept, "Cache-Groups": '"a", "b"'}), Answer(b"two", headers=kept))
    groups.origin.on("/else", Answer(b"", status=status, headers={"Cache-Group-Invalidation": named}))
    groups.get("/g")
    groups.env.expiry.step()
    groups.get("/else", method=method, headers={"Host": host})
    assert groups.get("/g").body == (b"two" if gone else b"one")


EARLY = (103, {"Link": "</x>", "Keep-Alive": "5", "Connection": "X-Hop", "X-Hop": "1"})


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("taking", [False, True], ids=["pulling", "pushing"])
def test_interim_responses_are_passed_on(cache: Cache, setting: Setting, method: str, taking: bool) -> None:
    """RFC 9110 section 15.2: a proxy MUST forward 1xx responses; without what concerns the other connection."""
    setting("feature", "+interim")
    cache.origin.on("/h", Answer(b"x", headers={"Cache-Control": "max-age=9"}, interim=[(102, {}), EARLY]))
    client = cache.get("/h", method=method, taking=taking)
    assert [(status, [name for _, name, _ in fields]) for status, fields in client.interim] == [
        (102, []),
        (103, ["Link"]),
    ]
    assert "link" not in client.headers
    if method == "GET":
        assert cache.get("/h").interim == []  # they are not stored


@pytest.mark.parametrize(("bit", "proto"), [("-interim", "HTTP/1.1"), ("+interim", "HTTP/1.0")])
def test_interim_responses_that_are_not(cache: Cache, setting: Setting, bit: str, proto: str) -> None:
    """Section 15.2: never to an HTTP/1.0 client."""
    setting("feature", bit)
    cache.origin.on("/h", Answer(b"x", interim=[EARLY]))
    assert cache.get("/h", proto=proto).interim == []


@pytest.mark.parametrize("compat", [False, True])
def test_what_is_purged_while_it_is_asked_about_is_fetched(cache: Cache, setting: Setting, compat: bool) -> None:
    """Section 4.3.3: a 304 selects a stored response; where none is left, the request is made without condition."""
    if compat:
        setting("feature", "+cache_compat")
    headers = {"Cache-Control": "max-age=5", "ETag": '"b"'}
    gate = threading.Event()
    cache.vcl("sub vcl_backend_response { set beresp.keep = 60s; set beresp.grace = 0s; }")
    same = Answer(b"", status=304, headers=headers, gate=gate)
    cache.origin.on("/k", Answer(b"one", headers=headers), same, Answer(b"two", headers=headers))
    cache.get("/k")
    grow_old(cache, 7)
    second = cache.start("/k")
    cache.origin.wait_requests(2)
    for oc in cache.env.hash.all_objects():
        if oc.stobj is not None:
            cache.env.hash.kill(oc)
    gate.set()
    if compat:
        assert second.wait().status == 503
        return
    assert second.wait().body == b"two"
    assert [seen.get("if-none-match") for seen in cache.origin.requests] == [None, '"b"', None]


@pytest.fixture
def searched(cache: Cache, setting: Setting) -> Cache:
    setting("feature", "+no_vary_search")
    return cache


SEARCH = {"Cache-Control": "max-age=100", "No-Vary-Search": 'params=("utm")'}


def test_no_vary_search(searched: Cache) -> None:
    searched.origin.on("/p", Answer(b"one", headers=SEARCH))
    for url in ("/p?utm=1", "/p?utm=2", "/p?utm=3", "/p"):
        searched.get(url)
    assert [r.url for r in searched.origin.requests] == ["/p?utm=1", "/p?utm=2"]  # the second one knows
    searched.get("/p?id=1")
    searched.get("/p?id=1&utm=9")
    assert len(searched.origin.requests) == 3


def test_a_response_that_takes_back_what_was_said_is_not_shared(searched: Cache) -> None:
    plain = {"Cache-Control": "max-age=100"}
    searched.origin.on("/back", Answer(b"0", headers=SEARCH), Answer(b"1", headers=plain), Answer(b"2", headers=plain))
    assert [searched.get(f"/back?utm={n}").body for n in (1, 2)] == [b"0", b"1"]
    # nothing holds any more: URLs are as different as they look
    assert [searched.get(f"/back?utm={n}").body for n in (3, 3)] == [b"2", b"2"]
    assert searched.env.search.key_of("http://example.com", "/back").rule is None


def test_without_the_bit_a_query_is_a_query(cache: Cache) -> None:
    cache.origin.on("/p", Answer(b"one", headers=SEARCH))
    for n in range(3):
        cache.get(f"/p?utm={n}")
    assert len(cache.origin.requests) == 3


def test_the_table_of_rules_is_bounded() -> None:
    rules = SearchRules(2)
    rule = SearchVariance(frozenset(), True, False)
    grown = [rules.heard(f"http://h/{n}", rule) for n in (1, 2, 1, 3)]
    assert grown == [1, 1, 0, 0]
    assert [rules.key_of("http://h", f"/{n}?x").rule for n in (1, 2, 3)] == [rule, None, rule]
    assert rules.heard("http://h/1", None) == -1 and rules.heard("http://h/9", None) == 0
