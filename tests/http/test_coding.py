"""Accept-Encoding: the one predicate that VCL and delivery ask."""

from __future__ import annotations

import pytest

from varnishpy.http.coding import accepts_gzip
from varnishpy.http.message import Message


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True),
        ("GZip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip ; q = 0.000", False),
        ("gzip;Q=0", False),
        ("gzip;a=1;q=0", False),
        ("gzip;q=.5", True),
        ("gzip;q=1x", True),
        ("gzip;q=", False),
        ("gzip;q=.", False),
        ("gzip;q=x", False),
        ("gzip;q=\xb2", False),
        ("x-gzip", True),
        ("x-gzip;q=0", True),
        ("gzip;q=0, x-gzip", True),
        ("gzip;q=0, gzip", False),
        ("br", False),
        ("gzippy, pigzip", False),
        ("", False),
    ],
)
def test_who_takes_gzip(value: str, accepted: bool) -> None:
    request = Message()
    request.headers = [("accept-encoding", "Accept-Encoding", value)]
    assert accepts_gzip(request) is accepted


def test_several_lines_are_one_list() -> None:
    request = Message()
    assert not accepts_gzip(request)
    request.headers = [("accept-encoding", "Accept-Encoding", value) for value in ("br", "gzip")]
    assert accepts_gzip(request)
