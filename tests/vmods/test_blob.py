"""VMOD blob: which characters, padding and lengths the members of the base64 family take (vmod_blob(3))."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench
from tests.vmods.vmod_bench import out, run
from varnishpy.vcl.loader import VclLoadError

# the text, and its octets in hexadecimal
TAKEN = [
    ("BASE64", "", ""),
    ("BASE64", "TWFu", "4d616e"),
    ("BASE64", "TWFuTQ==", "4d616e4d"),
    ("BASE64", "TWFuTQ=", "4d616e4d"),
    ("BASE64", "TWFuTQ", "4d616e4d"),
    ("BASE64", "TWE=", "4d61"),
    ("BASE64", "TWE", "4d61"),
    ("BASE64", "TR==", "4d"),
    ("BASE64", "+/+/", "fbffbf"),
    ("BASE64URL", "-_-_", "fbffbf"),
    ("BASE64URL", "TQ=", "4d"),
    ("BASE64URLNOPAD", "-_-_TQ", "fbffbf4d"),
    ("BASE64CF", "-~-~", "fbffbf"),
    ("BASE64CF", "TQ__", "4d"),
    ("BASE64CF", "TQ_", "4d"),
    ("BASE64CF", "TQ", "4d"),
]
REFUSED = [
    ("BASE64", "T==="),
    ("BASE64", "TWFuT"),
    ("BASE64", "=="),
    ("BASE64", "TWFu="),
    ("BASE64", "TWE=="),
    ("BASE64", "TQ==="),
    ("BASE64", "TQ==TQ=="),
    ("BASE64", "TW Fu"),
    ("BASE64", "-_-_"),
    ("BASE64URL", "+/+/"),
    ("BASE64URLNOPAD", "TQ=="),
    ("BASE64URLNOPAD", "+/+/"),
    ("BASE64CF", "TQ=="),
    ("BASE64CF", "+/+/"),
    ("BASE64CF", "TWFu_"),
    ("HEX", "0g"),
]


@pytest.mark.parametrize(("encoding", "text", "octets"), TAKEN)
def test_taken(encoding: str, text: str, octets: str) -> None:
    assert out("blob", f'blob.transcode({encoding}, HEX, encoded="{text}") + "."') == f"{octets}."


@pytest.mark.parametrize(("encoding", "text"), REFUSED)
def test_refused(encoding: str, text: str) -> None:
    bench = run("blob", f'set req.http.out = blob.transcode({encoding}, HEX, encoded="{text}");')
    assert bench.action == "fail"
    said = f'vmod blob error: cannot decode, illegal encoding beginning with "{text}"'
    assert bench.log.texts("VCL_Error") == [said]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ('BASE64, HEX, length=6, encoded="TWFuTWFu"', "4d616e4d"),
        ('BASE64, HEX, length=4, encoded="TWFu!!"', "4d616e"),
        ('HEX, HEX, length=3, encoded="abcdef"', "0abc"),
        # what need not change stays as it was written, with the padding that it lacks
        ('BASE64, BASE64, encoded="TQ"', "TQ"),
        ('BASE64, BASE64, length=2, encoded="TQ"', "TQ=="),
        ('BASE64CF, BASE64CF, encoded="TQ_"', "TQ_"),
        ('HEX, HEX, UPPER, encoded="ab"', "AB"),
        # too short to be looked at
        ('BASE64, HEX, encoded="T"', ""),
        ('BASE64CF, HEX, encoded="!"', ""),
        # a string ends at a NUL
        ('HEX, IDENTITY, encoded="666f6f00626172"', "foo"),
        ('HEX, URL, encoded="6600"', "f%00"),
    ],
)
def test_lengths_and_what_comes_out(call: str, result: str) -> None:
    assert out("blob", f"blob.transcode({call})") == result


@pytest.mark.parametrize(
    "call",
    [
        'blob.encode(HEX, blob=blob.decode(BASE64, encoded="T"))',
        'blob.transcode(BASE64, HEX, length=1, encoded="TQ")',
        'blob.transcode(HEX, HEX, length=2, encoded="00gg")',  # digits to the end, whatever the length
        'blob.transcode(BASE64, BASE64, UPPER, encoded="!")',
        "blob.encode(BASE64, UPPER, blob.decode(HEX))",
    ],
)
def test_failures(call: str) -> None:
    assert run("blob", f"set req.http.out = {call};").action == "fail"


@pytest.mark.parametrize(
    ("pieces", "quoted"),
    [
        ('"g" + req.http.more', "g"),
        ('"g" + "1" + req.http.more', "g1"),
        ('req.http.more + "g"', "12"),
        ('req.http.absent + "g"', "(null)"),
        ('req.http.more + req.http.more + "g"', "12"),
    ],
)
def test_a_refused_text_is_quoted_by_its_first_piece(pieces: str, quoted: str) -> None:
    bench = run("blob", f'set req.http.more = "12"; set req.http.out = blob.transcode(HEX, HEX, encoded={pieces});')
    said = f'vmod blob error: cannot decode, illegal encoding beginning with "{quoted}"'
    assert bench.log.texts("VCL_Error") == [said]


def test_an_object_of_text_in_another_alphabet_is_refused() -> None:
    text = 'import blob; sub vcl_init { new bad = blob.blob(BASE64, "-_-_"); }'
    with pytest.raises(VclLoadError, match='cannot create blob bad, illegal encoding beginning with "-_-_"'):
        Bench(text)
