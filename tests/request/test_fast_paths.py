"""What is prepared once answers, and is logged, as what is worked out each time."""

from __future__ import annotations

import re

import pytest

from tests.request.request_harness import Answer, Cache
from tests.waiting import wait_for
from varnishpy.log.memory import MemoryLog, captured
from varnishpy.vcl.compiler import CompileOptions, compile_vcl

BACKEND = 'vcl 4.1; backend default { .host = "127.0.0.1"; }'
HEADS = [
    {"Cache-Control": "max-age=100"},
    {"Cache-Control": "max-age=100", "Via": "1.1 other", "ETag": '"x"', "Content-Type": "text/plain"},
    {"Cache-Control": "max-age=100", "Accept-Ranges": "bytes", "Set-Cookie": "a=1"},
]
_FLEETING = re.compile(r"\d+(\.\d+)?")  # transactions, moments and how long things took


def transactions(memory: MemoryLog) -> list[list[str]]:
    """The records of each transaction, once all have ended; empty before."""
    found: dict[int, list[str]] = {}
    for record in list(memory.records):
        if record.vxid:
            found.setdefault(record.vxid, []).append(_FLEETING.sub("#", f"{record.name} {record.text}"))
    return sorted(found.values()) if all(lines[-1].startswith("End") for lines in found.values()) else []


def told(cache: Cache, url: str, **more: object) -> tuple[int, list[tuple[str, str]], bytes, list[list[str]]]:
    """The answer and all that was logged of it, but for numbers."""
    with captured() as memory:
        client = cache.get(url, **more)
        cache.idle(2)
        logged = wait_for(lambda: transactions(memory), "the transactions to end")
        headers = [(name, _FLEETING.sub("#", value)) for name, value in client.headers.items()]
        return client.status, headers, client.body, logged


@pytest.mark.parametrize("headers", HEADS)
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=1-2"}, {"If-None-Match": '"x"'}])
def test_each_hit_is_as_the_first(cache: Cache, headers: dict[str, str], asked: dict[str, str]) -> None:
    """The first hit prepares what others take: fields, records of the log."""
    cache.origin.on("/p", Answer(b"body", headers=headers))
    cache.get("/p")
    first = told(cache, "/p", headers=asked)
    assert first == told(cache, "/p", headers=asked) == told(cache, "/p", headers=asked)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_methods_that_only_return_something_are_as_if_they_were_called(cache: Cache, method: str) -> None:
    """The loader does not call these (`Module.fixed`); in a program that counts what is passed it does."""
    seen = []
    for coverage in (False, True):
        name = f"fast-{method}-{coverage}".lower()
        compiled = compile_vcl(BACKEND, name, CompileOptions(coverage=coverage))
        vcl = cache.vcls.load(name, compiled.python_source)
        assert bool(vcl.module.fixed) is not coverage
        cache.vcls.use(name)
        cache.origin.on(f"/f{coverage:d}", Answer(b"body", headers=HEADS[0]))
        answers = [told(cache, f"/f{coverage:d}", method=method) for _ in range(2)]
        seen.append(str(answers).replace(name, "NAME"))
    assert seen[0] == seen[1]
