"""first.vcl tested with pytest; the fixtures come with varnishpy."""

from __future__ import annotations

from pathlib import Path

VCL = (Path(__file__).parent / "first.vcl").read_text()
RULES = VCL[VCL.index("sub vcl_recv") :]  # the backend is the test's own


def test_pages_are_shared(varnishpy, origin):
    site = origin("""
        rxreq
        expect req.http.cookie == <undef>
        txresp -body page
    """)
    cache = varnishpy(RULES)
    answers = [cache.get("/", headers={"Cookie": f"user={number}"}) for number in range(3)]
    assert [answer.body for answer in answers] == [b"page"] * 3
    site.wait()  # one request got there, and only one


def test_the_administration_is_not(varnishpy, origin):
    site = origin(
        """
        rxreq
        expect req.http.cookie == "user=1"
        txresp -hdr "Connection: close" -body secret
        """,
        repeat=2,
    )
    cache = varnishpy(RULES)
    for _ in range(2):
        assert cache.get("/admin", headers={"Cookie": "user=1"}).body == b"secret"
    site.wait()
