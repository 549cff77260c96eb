"""Made-up bodies and gzip, down to the bit at which it ends."""

import contextlib
import gzip
import random
import zlib

import pytest

from varnishpy.vtc import bodies
from varnishpy.vtc.inflate import stop_bit


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000, 100000])
def test_synthetic_bodies(length: int) -> None:
    body = bodies.synthetic(length)
    assert len(body) == length
    assert body[-1:] == b"\n"
    assert all(row and len(row) <= 63 for row in body[:-1].split(b"\n")[:-1])


def test_synthetic_rows_start_one_later_each() -> None:
    rows = bodies.synthetic(64 * 100).split(b"\n")
    assert rows[0].startswith(b'!"#')
    assert rows[1].startswith(b'"#$')
    assert rows[93].startswith(b"!")


def test_random_bodies_follow_the_seed() -> None:
    one, two = (bodies.synthetic(500, random.Random(7)) for _ in range(2))
    assert one == two != bodies.synthetic(500, random.Random(8))


def test_pattern() -> None:
    assert bodies.pattern(10) == b"0123456701"


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("fragment", [False, True])
def test_gzip(level: int, fragment: bool) -> None:
    data = bodies.synthetic(5000, random.Random(1))
    made = bodies.gzip(data, level, fragment)
    assert gzip.decompress(made) == data
    assert bodies.gunzip(made) == data


def test_gunzip_refuses_half_a_body() -> None:
    with pytest.raises(zlib.error):
        bodies.gunzip(bodies.gzip(b"hello" * 100, 9)[:-10])


def test_residuals_are_those_deflate_leaves() -> None:
    """The stop bit lies in the octet before the eight of the trailer."""
    seen = set()
    for number in range(1, 60):
        made = bodies.gzip(bytes(range(150, 150 + number)), 9)
        residual = bodies.residual(made)
        seen.add(residual)
        used = len(made) - 8
        assert 0 <= residual < 8
        assert (stop_bit(made) + 7) // 8 == used
    assert len(seen) > 4


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize(
    "data", [b"a5b2a5b2c", b"0" * 300, b"abcabcd" * 40, bodies.synthetic(3000), bodies.synthetic(900, random.Random(3))]
)
def test_the_stop_bit_lies_behind_repetitions_too(data: bytes, level: int) -> None:
    """Up to it the bits are all of the stream, and with one less they are not."""
    made = bodies.gzip(data, level)
    end = stop_bit(made)
    assert (end + 7) // 8 == len(made) - 8
    deflated = bytearray(made[10 : (end + 7) // 8])
    deflated[-1] |= 0xFF << ((end - 1) % 8 + 1) & 0xFF  # whatever stands behind the stop bit
    whole = zlib.decompressobj(-15)
    assert whole.decompress(bytes(deflated)) == data
    assert whole.eof
    deflated[-1] ^= 1 << (end - 1) % 8
    broken = zlib.decompressobj(-15)
    with contextlib.suppress(zlib.error):
        broken.decompress(bytes(deflated))
    assert not broken.eof
