"""Rate limits: who is counted, who is told to wait, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")


@pytest.fixture
def site(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize(
    ("client", "forwarded", "visitor"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        ("203.0.113.5", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("10.20.1.1", "1.2.3.4, 10.20.1.1", "1.2.3.4"),
        ("10.20.1.1", "nonsense", "10.20.1.1"),
    ],
)
def test_who_a_visitor_is(site, client, forwarded, visitor):
    headers = {"User-Agent": "x"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    assert site.recv(client_ip=client, headers=headers).req.http["X-Visitor"] == visitor


def test_denied(site):
    with site.mock("vsthrottle.is_denied", True) as throttle:
        assert site.recv(method="POST", url="/login").synth == (429, "Too many logins")
        assert site.recv(url="/search?q=a", headers={"User-Agent": "x"}).synth == (429, "Too many searches")
        assert site.recv(url="/").synth == (429, "Busy")
    assert throttle.calls[0][:3] == ("login:198.51.100.7", 5, 60)


def test_admitted(site):
    with site.mock("vsthrottle.is_denied", False):
        assert site.recv(method="POST", url="/login").action == "pass"
        assert site.recv(url="/search").action == "hash"
        assert site.recv(url="/", headers={"User-Agent": "x"}).action == "hash"


def test_what_is_told(site):
    r = site.synth(status=429, reason="Too many logins", url="/login", headers={"X-Visitor": "1.2.3.4"})
    assert (r.resp.http["Retry-After"], r.body, r.std_log) == ("300", b"Too many logins", ["limited 1.2.3.4"])
    assert site.synth(status=429, url="/search").resp.http["Retry-After"] == "10"
    assert site.synth(status=404).action == "deliver"
    assert site.backend_response(url="/search").beresp.ttl == 10
    assert site.backend_response(url="/").beresp.ttl == 120


def test_the_sixth_login_waits(varnishpy):
    cache = varnishpy(VCL, backends={"app": lambda request: "welcome"}, fresh=True)
    statuses = [cache.post("/login", "user=anna").status for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    assert cache.get("/", {"User-Agent": "x"}).status == 200
