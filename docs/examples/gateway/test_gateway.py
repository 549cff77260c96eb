"""An API gateway: where requests go, who is refused and how, what is shared by whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")
TOKEN = {"Authorization": "Bearer abc.def"}


@pytest.fixture
def gateway(vcl):
    return vcl.unit(VCL)


def test_services(gateway):
    backends = {gateway.recv(url="/v2/users/1", headers=TOKEN).backend for _ in range(4)}
    assert backends == {"users_a", "users_b"}
    assert gateway.recv(url="/v2/orders/1", headers=TOKEN).backend == "orders"
    assert gateway.recv(url="/v1/x", headers=TOKEN).synth == (404, "No such service")


def test_tokens(gateway):
    r = gateway.recv(url="/v2/users/1", headers={"X-Problem": "forged"})
    assert (r.synth[0], r.called("refuse"), r.req.http["X-Problem"]) == (401, True, "1")
    assert gateway.recv(url="/v2/users/1", headers={"Authorization": "Basic x"}).synth[0] == 401
    assert gateway.recv(url="/v2/users/1", headers=TOKEN).action == "hash"
    assert gateway.recv(method="DELETE", url="/v2/users/1", headers=TOKEN).action == "pass"


def test_request_ids(gateway):
    r = gateway.recv(url="/v2/users/1", headers={**TOKEN, "X-Request-Id": "ABCDEF12"})
    assert r.req.http["X-Request-Id"] == "abcdef12"
    r = gateway.recv(url="/v2/users/1", headers={**TOKEN, "X-Request-Id": "<script>"})
    assert r.req.http["X-Request-Id"].isdecimal()


def test_each_token_has_answers_of_its_own(gateway):
    assert gateway.hash(url="/v2/users/1", headers=TOKEN).hash_parts[0] == "Bearer abc.def"


def test_responses(gateway):
    assert gateway.backend_response(response={"Cache-Control": "no-store"}).action == "pass"
    assert gateway.backend_response(status=500).beresp.uncacheable
    r = gateway.backend_response(response={"Cache-Control": "private, max-age=30"})
    assert (r.action, r.beresp.ttl, r.beresp.grace) == ("deliver", 30, 10)


def test_preflight_and_problems(gateway):
    assert gateway.recv(method="OPTIONS").synth[0] == 204
    r = gateway.synth(status=204)
    assert (r.resp.http["Access-Control-Max-Age"], r.body) == ("600", b"")
    r = gateway.synth(status=401, reason="A bearer token is needed", headers={"X-Problem": "1"})
    assert json.loads(r.body) == {"status": 401, "title": "A bearer token is needed"}
    assert r.resp.http["WWW-Authenticate"] == "Bearer"
    assert "WWW-Authenticate" not in gateway.synth(status=404, reason="x").resp.http


def test_answers_are_not_shared_between_tokens(varnishpy):
    def users(request):
        return 200, {"Cache-Control": "max-age=60"}, {"token": request.header("authorization")}

    cache = varnishpy(VCL, backends={"users_a": users, "users_b": users, "orders": lambda request: 500})
    assert cache.get("/v2/users/1", TOKEN).assert_miss().json() == {"token": "Bearer abc.def"}
    cache.get("/v2/users/1", TOKEN).assert_hit()
    other = cache.get("/v2/users/1", {"Authorization": "Bearer zzz", "X-Request-Id": "12345678"})
    assert other.assert_header("X-Request-Id", "12345678").json() == {"token": "Bearer zzz"}
    assert cache.get("/v2/orders/1", TOKEN).status == 500
