"""VMOD dynamic, over names of the test's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.vcl.vcl_bench import Bench
from tests.waiting import wait_for
from varnishpy.vcl.loader import VclLoadError

ONE, TWO = ("192.0.2.1", 80), ("192.0.2.2", 80)


def resolver(monkeypatch: pytest.MonkeyPatch, resolve: Callable[[str], list[tuple[str, int]]]) -> None:
    """In place of the system's."""

    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: str, **more: Any) -> list[tuple[Any, ...]]:
        if host[0].isdigit():  # an address, which the compiler reads
            return list(real(host, port, **more))
        return [(socket.AF_INET, more["type"], 0, "", place) for place in resolve(host)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """What names stand for; one that is not there cannot be resolved."""
    known: dict[str, list[tuple[str, int]]] = {"one": [ONE], "both": [ONE, TWO]}

    def resolve(host: str) -> list[tuple[str, int]]:
        if host not in known:
            raise socket.gaierror("Name or service not known")
        return known[host]

    resolver(monkeypatch, resolve)
    return known


@pytest.fixture
def make(names: dict[str, list[tuple[str, int]]]) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def bench(arguments: str = "", call: str = "d.backend(req.http.name)", more: str = "") -> Bench:
        init = f"sub vcl_init {{ new d = dynamic.director({arguments}); }}"
        text = f"import dynamic; {more} {init} sub vcl_recv {{ set req.backend_hint = {call}; }}"
        made.append(Bench(text))
        made[-1].vcl.warm()
        return made[-1]

    yield bench
    for each in made:
        each.vcl.cool()
        wait_for(lambda each=each: each.vcl.is_cold, "the lookups to end")  # type: ignore[misc]
        each.vcl.discard()


def hint(bench: Bench, name: str = "one", **headers: str) -> Any:
    return bench.recv(name=name, **headers).director_hint


def picks(director: Any, times: int = 4) -> set[str]:
    return {chosen.vcl_name for chosen in (director.resolve(None) for _ in range(times)) if chosen is not None}


def test_backends_in_turn(make: Callable[..., Bench]) -> None:
    bench = make()
    director = hint(bench, "both")
    assert (director.type, director.vcl_name) == ("dynamic", "d(both:http)")
    assert picks(director) == {"d(192.0.2.1:80)", "d(192.0.2.2:80)"}
    bench.host.backends["d(192.0.2.1:80)"].is_healthy = False
    assert picks(director) == {"d(192.0.2.2:80)"}
    bench.host.backends["d(192.0.2.2:80)"].is_healthy = False
    assert len(picks(director)) >= 1  # none is healthy: any will do
    assert hint(bench, "both") is director


def test_names_share_backends_unless_each_has_its_own(make: Callable[..., Bench]) -> None:
    shared = make()
    assert (
        picks(hint(shared, "one"))
        == picks(
            hint(
                shared,
                "one",
            )
        )
        == {"d(192.0.2.1:80)"}
    )
    assert shared.host.specs["d(192.0.2.1:80)"].host_header == "192.0.2.1"
    assert "d(192.0.2.1:80)" in picks(hint(shared, "both"))
    own = make("share = HOST")
    assert picks(hint(own, "one")) == {"d(one.192.0.2.1:80)"}
    assert own.host.specs["d(one.192.0.2.1:80)"].host_header == "one"


def test_settings_reach_the_backends(make: Callable[..., Bench]) -> None:
    bench = make('port = "8080", host_header = "site", first_byte_timeout = 3s, max_connections = 7')
    director = hint(bench)
    assert director.vcl_name == "d(one:8080)"
    assert picks(director)
    spec = bench.host.specs["d(192.0.2.1:80)"]
    assert (spec.host_header, spec.first_byte_timeout, spec.connect_timeout) == ("site", 3.0, None)
    assert (spec.max_connections, spec.wait_limit) == (7, None)


def test_the_host_header_says_which_name(make: Callable[..., Bench]) -> None:
    bench = make(call="d.backend()")
    assert hint(bench, Host="One:8080").vcl_name == "d(one:http)"
    assert hint(bench, Host="").vcl_name == "b" or bench.log.texts("VCL_Error") == [
        "dynamic d.backend(): there is no host"
    ]


def test_a_name_that_cannot_be_resolved_is_tried_again(
    make: Callable[..., Bench], names: dict[str, list[tuple[str, int]]]
) -> None:
    bench = make("retry_after = 0.5s")
    director = hint(bench, "later")
    assert director.resolve(None) is None
    names["later"] = [ONE]
    wait_for(lambda: director.resolve(None) is not None, "the name to be looked up again")


def test_addresses_that_are_gone_are_kept_for_a_while(
    make: Callable[..., Bench], names: dict[str, list[tuple[str, int]]]
) -> None:
    bench = make("ttl = 0.5s, keep = 1")
    director = hint(bench)
    assert picks(director) == {"d(192.0.2.1:80)"}
    names["one"] = [TWO]
    wait_for(lambda: picks(director) == {"d(192.0.2.2:80)"}, "the old address to go")
    assert "release" in bench.host.backends["d(192.0.2.1:80)"].life


def test_only_what_the_list_allows(make: Callable[..., Bench]) -> None:
    bench = make("whitelist = good", more='acl good { "192.0.2.2"; }')
    assert picks(hint(bench, "both")) == {"d(192.0.2.2:80)"}


def test_a_name_nobody_uses_is_forgotten(make: Callable[..., Bench]) -> None:
    bench = make("ttl = 0.5s, domain_usage_timeout = 0.5s")
    director = hint(bench)
    assert picks(director)
    wait_for(lambda: director not in bench.vcl.directors(), "the name to be forgotten")
    assert "release" in bench.host.backends["d(192.0.2.1:80)"].life


def test_the_first_lookup_is_waited_for_only_so_long(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def slow(host: str) -> list[tuple[str, int]]:
        go_on.wait(10)
        return [ONE]

    resolver(monkeypatch, slow)
    director = hint(make("first_lookup_timeout = 0.05s"))
    assert director.resolve(None) is None
    go_on.set()
    wait_for(lambda: director.resolve(None) is not None, "the answer")


def test_lookups_rest_while_the_program_is_cold(make: Callable[..., Bench]) -> None:
    bench = make("ttl = 0.5s")
    director = hint(bench)
    assert picks(director)
    bench.vcl.cool()
    wait_for(lambda: bench.vcl.is_cold, "the lookups to end")
    bench.vcl.warm()
    assert picks(director)


@pytest.mark.parametrize("arguments", ["ttl_from = dns", "resolver = :YQ==:"])
def test_what_needs_a_resolver_fails_the_program(arguments: str) -> None:
    with pytest.raises(VclLoadError, match="names are looked up by the system"):
        Bench(f"import dynamic; sub vcl_init {{ new d = dynamic.director({arguments}); }}")


def test_services_fail(make: Callable[..., Bench]) -> None:
    bench = make(call='d.service("_http._tcp.one")')
    assert bench.returns() == "fail"
    assert "services need a resolver" in bench.log.texts("VCL_Error")[0]


def test_a_real_name(varnishpy: Callable[..., Any], origin: Callable[..., Any]) -> None:
    site = origin('rxreq\n txresp -hdr "from: localhost"')
    port = site.address.rpartition(":")[2]
    cache = varnishpy(
        f'import dynamic; sub vcl_init {{ new d = dynamic.director(port = "{port}"); }}'
        'sub vcl_recv { set req.backend_hint = d.backend("127.0.0.1"); }'
    )
    assert cache.get("/").headers["from"] == "localhost"
    assert f"d(127.0.0.1:{port})" in cache.cli("backend.list")
