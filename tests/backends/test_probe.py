"""Probes: what they send, how they judge, what they log."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from varnishpy.backends import admin
from varnishpy.backends.director import Director
from varnishpy.log.tags import Tag
from varnishpy.vcl.specs import ProbeSpec


@pytest.fixture
def running(rig: Any) -> Iterator[Any]:
    """The rig with pools and the prober's thread."""
    rig.pools.start()
    rig.backends.start()
    yield rig
    rig.backends.stop()
    assert rig.pools.stop(10)


def health(rig: Any) -> list[str]:
    found: list[str] = rig.log.texts(Tag.Backend_health)
    return found


def probed(rig: Any, origin: Any, **fields: Any) -> Any:
    fields.setdefault("interval", 0.01)
    return rig.backend(origin, probe=ProbeSpec("p", **fields))


def test_defaults(rig: Any, origin: Any) -> None:
    backend = rig.backend(origin, probe=ProbeSpec("p"))
    probe = backend.probe
    assert (probe.timeout, probe.interval, probe.window, probe.threshold, probe.expected, probe.initial) == (
        2.0, 5.0, 8, 3, 200, 2,
    )  # fmt: skip
    assert probe.request == b"GET / HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n"
    assert backend.healthy(None)[0] is False, "one good probe is missing"
    assert probe.good == 2


def test_backend_becomes_healthy_and_sick_again(running: Any, origin: Any, scripts: Any, until: Any) -> None:
    good = scripts.reply(b"HTTP/1.1 200 OK\r\n\r\n")
    bad = scripts.reply(b"HTTP/1.1 503 No\r\n\r\n")
    origin.scripts = [good]
    backend = probed(running, origin, window=4, threshold=3, initial=0)
    assert not backend.healthy(None)[0]
    backend.warm()
    until(lambda: backend.healthy(None)[0])
    since = backend.healthy(None)[1]
    origin.scripts = [bad]
    until(lambda: not backend.healthy(None)[0])
    assert backend.healthy(None)[1] > since
    backend.cool()
    lines = health(running)
    pattern = r'b (Still|Went) (sick|healthy) 4---X-RH \d 3 4 \d\.\d{6} \d\.\d{6} "HTTP/1\.1 200 OK"'
    assert any(re.fullmatch(pattern, line) for line in lines)
    assert any(line.startswith("b Went healthy 4---X-RH 3 3 4 ") for line in lines)
    assert any(re.match(r'b Went sick 4---X-R- 2 3 4 .*"HTTP/1\.1 503 No"', line) for line in lines)
    assert backend.vsc.get("happy") == 0, "cold: all is forgotten"


def test_cold_probe_does_not_probe(running: Any, origin: Any, scripts: Any, until: Any) -> None:
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\n\r\n")]
    backend = probed(running, origin)
    backend.warm()
    until(lambda: origin.connections >= 2)
    backend.cool()
    until(lambda: running.pools.any().counts()["active"] == 0)
    count = origin.connections
    other = probed(running, origin, url="/other")
    other.warm()
    until(lambda: len([line for line in health(running) if "Went healthy" in line]) >= 2)
    assert origin.connections > count
    assert not backend.probe.running and other.probe.running


def beyond(count: int, seen: list[bytes]) -> bool:
    return len(seen) > count


def test_what_is_sent(running: Any, origin: Any, until: Any) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        seen.append(peer.head())
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")

    origin.scripts = [script]
    for fields in ({"url": "/health"}, {"request": "HEAD /x HTTP/1.1\r\nHost: me\r\n\r\n"}):
        backend = probed(running, origin, interval=100.0, **fields)
        backend.warm()
        count = len(seen)
        until(functools.partial(beyond, count, seen))
        backend.cool()
    assert seen[0] == b"GET /health HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n"
    assert seen[1] == b"HEAD /x HTTP/1.1\r\nHost: me\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "bits", "text"),
    [
        (b"", "4---X---", "Empty response"),
        (b"HTTP/1.1 404 No\r\n\r\n", "4---X-R-", "HTTP/1.1 404 No"),
        (b"nonsense", "4---X-R-", "nonsense"),
    ],
)
def test_bad_responses(running: Any, origin: Any, scripts: Any, until: Any, wire: bytes, bits: str, text: str) -> None:
    origin.scripts = [scripts.reply(wire)]
    backend = probed(running, origin)
    backend.warm()
    until(lambda: any(bits in line and f'"{text}"' in line for line in health(running)))
    backend.cool()


def test_refused_connection(running: Any, until: Any) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        backend = running.backend(ipv4=sock.getsockname(), probe=ProbeSpec("p", interval=0.01))
        backend.warm()
        until(lambda: any('"Open error 111 (Connection refused)"' in line for line in health(running)))
        assert backend.vsc.get("fail_econnrefused") >= 1
        backend.cool()


def test_slow_response(running: Any, origin: Any, scripts: Any, until: Any) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\n\r\n", hold)]
    backend = probed(running, origin, timeout=0.03)
    backend.warm()
    until(lambda: any("4---Xr--" in line and "Poll " in line for line in health(running)))
    backend.cool()
    lenient = probed(running, origin, timeout=0.03, expect_close=False)
    lenient.warm()
    until(lambda: lenient.healthy(None)[0])
    lenient.cool()
    hold.set()


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_header(running: Any, origin: Any, until: Any, version: int) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        seen.append(peer.head() if version == 1 else peer.take(16))
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")

    origin.scripts = [script]
    backend = running.backend(origin, proxy_header=version, probe=ProbeSpec("p", interval=100.0))
    backend.warm()
    until(lambda: seen)
    backend.cool()
    if version == 1:
        assert re.match(rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 (\d+) \1\r\nGET ", seen[0])
    else:
        assert seen[0] == b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def test_release_while_probing(running: Any, origin: Any, scripts: Any, until: Any) -> None:
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\n\r\n")]
    backend = probed(running, origin)
    backend.warm()
    until(lambda: origin.connections >= 1)
    backend.release()
    until(lambda: backend.pool.used == 0)
    assert backend.admin_health == "deleted"


# -- the CLI's view ----------------------------------------------------------------------------------------------------


def test_list_text_has_the_known_shape(rig: Any, origin: Any) -> None:
    first = rig.backend(origin, vcl_name="default", probe=ProbeSpec("p"))
    second = rig.backend(origin, vcl_name="b2")
    for backend in (first, second):
        backend.health_changed = 1795417747.9
    assert admin.list_text([first, second], None, "vcl1") == (
        "Backend name   Admin     Probe   Health    Last change\n"
        "vcl1.default   probe     2/8     sick      Mon, 23 Nov 2026 07:09:07 GMT\n"
        "vcl1.b2        healthy   0/0     healthy   Mon, 23 Nov 2026 07:09:07 GMT\n"
    )
    details = admin.list_text([first], None, "vcl1", details=True)
    assert (
        " Current states  good:  2 threshold:  3 window:  8\n"
        "  Average response time of good probes: 0.000000\n"
        "  Oldest ================================================== Newest\n"
        "  --------------------------------------------------------------HH Happy\n"
    ) in details


def test_list_json(rig: Any, origin: Any) -> None:
    first = rig.backend(origin, vcl_name="default", probe=ProbeSpec("p"))
    entry = admin.list_json([first], None, "vcl1")["vcl1.default"]
    assert entry == {
        "type": "backend",
        "admin_health": "probe",
        "probe_message": [2, 8, "sick"],
        "last_change": round(first.health_changed, 3),
    }
    full = admin.list_json([first], "*", "vcl1", details=True)["vcl1.default"]
    assert isinstance(full, dict)
    probe = full["probe_details"]
    assert isinstance(probe, dict) and probe["bits_H"] == 3 and probe["window"] == 8
    assert full["ipv4"] == "127.0.0.1"
    assert list(full)[-1] == "last_change"


def test_patterns() -> None:
    found = [Director("a", "one"), Director("ab", "one"), Director("a", "two")]
    assert admin.select(found, None, "one") == found[:2]
    assert admin.select(found, "a", "two") == [found[2]]
    assert admin.select(found, "*.a", "one") == [found[0], found[2]]
    found[0].release()
    assert admin.select(found, "*.a", "one") == [found[2]]


def test_set_health(rig: Any, origin: Any) -> None:
    backend = rig.backend(origin)
    admin.set_health([backend], "b", "Sick", "vcl1")
    assert backend.healthy(None)[0] is False
    shown = admin.list_json([backend], "b", "vcl1")["vcl1.b"]
    assert isinstance(shown, dict) and shown["admin_health"] == "sick"
    admin.set_health([backend], "b", "auto", "vcl1")
    assert backend.healthy(None)[0] is True
    with pytest.raises(admin.AdminError, match="Invalid state foo"):
        admin.set_health([backend], "b", "foo", "vcl1")
    with pytest.raises(admin.AdminError, match="No Backends matches"):
        admin.set_health([backend], "nosuch", "sick", "vcl1")
