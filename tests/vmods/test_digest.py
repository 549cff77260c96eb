"""VMOD digest. The check values were asked of Debian's module; tests/vtc/vmod_digest.vtc asks both again."""

from __future__ import annotations

import hashlib

import pytest

from tests.vmods.vmod_bench import out, run

QUICK = "The quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (f'hmac_sha256("key", "{QUICK}")', "0xf7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
        ('hmac_sha1("k", "m")', "0x772b71c8a2997e768be01d9711e4a4f34a24ef33"),
        ('hmac_md5("", req.http.none)', "0x74e6f7298a9c2d168935f58c001bad88"),
        ('hmac_md5(req.http.none, "x")', ""),
        ('hash_md5("checksum")', "226190d94b21d1b0c7b1a42d855e419d"),
        ('hash_sha1("")', "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ('hash_sha224("checksum")', "333c3d5a2bce77b000e523d28dce5e9ee2d9ba4253b9eec13509ceae"),
        ('hash_crc32("checksum")', "7fbeb02e"),
        ('hash_crc32b("checksum")', "9adf6fde"),
        ('hash_adler32("checksum")', "5403a10e"),
        ('base64("abc?>~")', "YWJjPz5+"),
        ('base64url("abc?>~a")', "YWJjPz5-YQ=="),
        ('base64url_nopad("abc?>~a")', "YWJjPz5-YQ"),
        ('base64_hex("0x666f6")', "Zm8="),
        ('base64_hex("zz6f")', "AG8="),
        ('base64url_hex("fbFF")', "-_8="),
        ('base64url_nopad_hex("fbFF")', "-_8"),
        ('base64_decode("Zm9vYg")', "foob"),
        ('base64_decode("Zm9vYg==")', "foob"),
        ('base64_decode("Zm9vY")', "foo`"),
        ('base64_decode("YQBi")', "a"),
        ('base64url_decode("-_-_")', "\xfb\xff\xbf"),
        ('base64url_nopad_decode("Zg")', "f"),
        ("base64_decode(req.http.none)", ""),
    ],
)
def test_answers(expression: str, result: str) -> None:
    assert out("digest", f'digest.{expression} + ""') == result


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512", "md5"])
def test_hashes_are_those_of_the_library(name: str) -> None:
    assert out("digest", f'digest.hash_{name}("text")') == hashlib.new(name, b"text").hexdigest()


@pytest.mark.parametrize("text", ["Zm 9v", "-_-_", "Zg=!"])
def test_what_is_no_base64(text: str) -> None:
    bench = run("digest", f'set req.http.out = digest.base64_decode("{text}");')
    assert bench.last.http.get("out") == ""  # type: ignore[attr-defined]
    assert bench.log.texts("VCL_Error") == ["digest: Base64 input contains invalid characters"]


@pytest.mark.parametrize(
    "name", ["gost", "md2", "md4", "haval160", "ripemd128", "snefru256", "tiger", "tiger160", "whirlpool"]
)
def test_algorithms_that_are_not_there_say_so(name: str) -> None:
    bench = run("digest", f'set req.http.out = digest.hash_{name}("x");')
    assert bench.action == "fail"
    assert f"has the algorithm {name}" in bench.log.texts("VCL_Error")[0]


def test_no_room_fails() -> None:
    bench = run("digest vtc", 'vtc.workspace_alloc(client, -10); set req.http.out = digest.hash_sha256("x");')
    assert bench.action == "fail"
