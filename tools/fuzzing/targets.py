"""All targets by name, and fuzzing without a guide."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.fuzzing import text, wire

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "http1_request": wire.http1_request,
    "http1_response": wire.http1_response,
    "chunked": wire.chunked,
    "hpack": wire.hpack,
    "proxy": wire.proxy,
    "ranges": wire.ranges,
    "fields": wire.fields,
    "unzip": wire.unzip,
    "tier": wire.tier,
    "vcl": text.vcl,
    "vtc": text.vtc,
    "cli": text.cli,
    "vslq": text.vslq,
    "esi": text.esi,
    "words": text.words,
    "stats": text.stats,
}

_NASTY: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"=",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"\xff",
    b"\x80",
    b"0",
    b"-1",
    b"99999999999999999999",
)


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    """An input made of those that there are."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        choice = rng.randrange(6)
        if choice == 0:
            data[at:at] = rng.choice(_NASTY)
        elif choice == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif choice == 2 and data:
            data[at % len(data)] = rng.randrange(256)
        elif choice == 3:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            data[at:at] = other[begin : begin + rng.randrange(1, 40)]
        elif choice == 4:
            data[at:at] = data[at : at + rng.randrange(1, 20)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 4))
    return bytes(data[:2000])


def seeds_of(corpus: Path) -> list[bytes]:
    """The inputs of a corpus, in a fixed order."""
    return [path.read_bytes() for path in sorted(corpus.iterdir())]


def by_lot(name: str, seconds: float, corpus: Path, seed: int = 1, most: int = 1 << 60) -> tuple[int, str | None]:
    """Try inputs for a while; how many there were, and what was found (the input is in the file that it names)."""
    rng = random.Random(seed)
    seeds = seeds_of(corpus)
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until and count < most:
        data = seeds[count] if count < len(seeds) else mutate(rng, seeds)
        count += 1
        try:
            TARGETS[name](data)
        except Exception:
            file = Path(f"crash-{name}-{count}")
            file.write_bytes(data)
            return count, f"{file}: {traceback.format_exc()}"
    return count, None
