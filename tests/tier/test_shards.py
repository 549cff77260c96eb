"""The cluster without an engine (docs/examples/shards) on three nodes: each object is fetched once, by its owner."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.tier.engine_process import free_port
from tests.waiting import wait_for
from varnishpy.tools import adm

PROGRAM = (Path(__file__).parents[2] / "docs" / "examples" / "shards" / "cluster.vcl").read_text()
NAMES = "abc"
PAGES = [f"/page/{number}" for number in range(12)]


def test_each_object_is_fetched_once_for_all(short_tmp: Path) -> None:
    origin = Origin()
    ports = {name: free_port() for name in NAMES}
    program = re.sub(r"[ \t]*\.probe = [^}]*}\n", "", PROGRAM)  # nobody is ill here, and probes would take their time
    program = program.replace('.host = "origin.internal";', f'.host = "127.0.0.1"; .port = "{origin.port}";')
    for name, port in ports.items():
        program = program.replace(f'.host = "{name}.internal";', f'.host = "127.0.0.1"; .port = "{port}";')
    (short_tmp / "cluster.vcl").write_text(program)

    for path in PAGES:

        @origin.page(path)
        def page(exchange: Exchange) -> None:
            exchange.answer(exchange.target.encode(), cache_control="max-age=100")

    with ExitStack() as stack:
        nodes: dict[str, Cache] = {
            name: stack.enter_context(
                running(
                    short_tmp / name,
                    *("-f", str(short_tmp / "cluster.vcl"), "-i", f"node_{name}", "-a", f"127.0.0.1:{port}"),
                )
            )
            for name, port in ports.items()
        }
        for path in PAGES:
            for node in nodes.values():
                response = node.get(path, "GET", None, Host="site")
                assert (response.status, response.body) == (200, path.encode())
        assert {path: origin.hits[path] for path in PAGES} == dict.fromkeys(PAGES, 1)
        assert all(node.get(PAGES[0], "GET", None, Host="site").is_hit for node in nodes.values())
        asked = [exchange.headers for exchange in origin.requests]
        assert not any("x-cluster-asked-by" in headers for headers in asked)

        # and a ban for all of them, with one answer for each
        words = [word for name in NAMES for word in ("-n", str(short_tmp / name))]
        assert adm.main([*words, "ban", "obj.status", "==", "200"]) == 0
        assert adm.main([*words, "-n", str(short_tmp / "nobody"), "-t", "0.1", "ban.list"]) == 2
        wait_for(lambda: nodes["a"].get(PAGES[0], "GET", None, Host="site").status == 200, "an answer")
        assert origin.hits[PAGES[0]] == 2


def test_several_instances_need_a_command() -> None:
    assert adm.main(["-n", "/nowhere/a", "-n", "/nowhere/b"]) == 1
    assert adm.main(["-n", "/nowhere/a", "-n", "/nowhere/b", "-T", "localhost:1", "ping"]) == 1
    assert adm.main(["-T", "127.0.0.1:1,127.0.0.1:2", "-S", "/nowhere/secret", "ping"]) == 2
