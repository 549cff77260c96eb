"""One text and one set of octets for each address."""

from __future__ import annotations

import pytest

from varnishpy.base.ipaddr import bare, normal, of_octets, packed


@pytest.mark.parametrize(
    ("written", "text", "octets"),
    [
        ("192.0.2.4", "192.0.2.4", "c0000204"),
        ("::ffff:192.0.2.4", "192.0.2.4", "c0000204"),
        ("::FFFF:c000:204", "192.0.2.4", "c0000204"),
        ("2001:DB8:0:0::1", "2001:db8::1", "20010db8000000000000000000000001"),
        ("fe80::1%lo", "fe80::1%lo", "fe800000000000000000000000000001"),
        ("::ffff:192.0.2.4%lo", "192.0.2.4", "c0000204"),
        ("::192.0.2.4", "::c000:204", "000000000000000000000000c0000204"),
    ],
)
def test_normal(written: str, text: str, octets: str) -> None:
    assert normal(written) == text
    assert packed(written) == bytes.fromhex(octets)
    assert normal(of_octets(packed(written))) == text.partition("%")[0] == bare(written)


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "::g", "1.2.3.4/8", "1.2.3.4:80"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        normal(text)
