"""Storing an object in the tier: head and chunks first, the index last, and only if nothing has happened meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from varnishpy.params import params
from varnishpy.tier.errors import BadRecord
from varnishpy.tier.reading import CHUNK, INLINE
from varnishpy.tier.record import IDENT, NONCE, SEALED, Head, Variant, decode_index, encode_chunk, encode_index
from varnishpy.tier.store import Published

if TYPE_CHECKING:
    from varnishpy.storage.object import StoredObject
    from varnishpy.storage.source import Piece
    from varnishpy.tier.store import Store

_TRIES: Final = 4  # of publishing, while others publish the same index
_MARGIN: Final = 60.0  # seconds that octets outlive the index that leads to them
_AT_A_TIME: Final = 4  # chunks sent at once


def chunks_of(pieces: Sequence[Piece]) -> Iterator[list[bytes | memoryview]]:
    """The pieces of a body in runs of `CHUNK` octets; nothing is copied."""
    run: list[bytes | memoryview] = []
    room = CHUNK
    for piece in pieces:
        view = memoryview(piece)
        while len(view):
            run.append(view[:room])
            taken = len(run[-1])
            view = view[taken:]
            room -= taken
            if not room:
                yield run
                run, room = [], CHUNK
    if run:
        yield run


def head_of(stobj: StoredObject) -> Head:
    """What goes into the head, with a small body."""
    stored = stobj.headers
    headers = tuple((name, value) for _, name, value in stored.headers)
    attrs = {name: octets for name, octets in stobj.attrs.items() if name != "VARY"}  # which stands in the index
    body = b"".join(stobj.chunks) if stobj.length <= INLINE else b""
    return Head(stored.proto, stored.status, stored.reason, stobj.last_modified, headers, attrs, body)


def put(store: Store, digest: bytes, variant: Variant, stobj: StoredObject, now: Callable[[], float]) -> Published:
    """Store an object. The caller keeps it alive.

    :param variant: all but ident, length and chunks is taken from here
    :param now: the engine's clock
    :return: ``CHANGED`` if others have stored as good a one meanwhile
    :raises TierError:
    """
    asked = store.ask(digest)
    least = max(asked.mark, asked.facts.floor)
    if variant.position < least:
        return Published.PURGED
    ident = os.urandom(IDENT)
    large = stobj.length > INLINE
    count = -(-stobj.length // CHUNK) if large else 0
    variant = replace(variant, ident=ident, flags=stobj.flags, length=stobj.length, chunks=count)
    life = min(variant.until - now(), params.tier_max_life)
    if life <= 0.0:
        return Published.CHANGED
    written = 0
    outcome = Published.CHANGED
    try:
        for attempt in range(_TRIES):
            if attempt:
                asked = store.ask(digest)
            nonce, others = _others(asked.index)
            others = [other for other in others if other.until > now() and other.position >= asked.mark]
            if any(_as_good(other, variant) for other in others):
                return outcome
            if not written:
                written = 1
                store.write(digest, ident, 0, [head_of(stobj).encode(ident)], life + _MARGIN)
                if large:
                    written += _write_body(store, digest, ident, stobj.chunks, life + _MARGIN)
            kept = [other for other in others if other.vary != variant.vary][: params.tier_variants - 1]
            index = encode_index(os.urandom(NONCE), [variant, *kept])
            longest = max(min(other.until - now(), params.tier_max_life) for other in (variant, *kept))
            outcome = store.publish(digest, nonce, index, variant.position, longest)
            if outcome is not Published.CHANGED:
                break
        if outcome is Published.STORED:
            for other in others:
                if other not in kept:
                    store.forget(digest, other.ident, other.chunks + 1)
        return outcome
    finally:
        if written and outcome is not Published.STORED:
            store.forget(digest, ident, written)


def _others(index: bytes | None) -> tuple[bytes, list[Variant]]:
    """Nonce and entries of an index; one that cannot be read is replaced."""
    if index is None:
        return b"", []
    try:
        return decode_index(index)
    except BadRecord:
        return index[SEALED : SEALED + NONCE], []


def _as_good(other: Variant, variant: Variant) -> bool:
    """Is there no need of ours any more?"""
    return other.vary == variant.vary and other.position >= variant.position and other.t_origin >= variant.t_origin


def _write_body(store: Store, digest: bytes, ident: bytes, pieces: Sequence[Piece], life: float) -> int:
    """How many chunks that were."""
    batch: list[bytes] = []
    number = 1
    for number, run in enumerate(chunks_of(pieces), 1):
        batch.append(encode_chunk(ident, number, run))
        if len(batch) == _AT_A_TIME:
            store.write(digest, ident, number + 1 - len(batch), batch, life)
            batch = []
    if batch:
        store.write(digest, ident, number + 1 - len(batch), batch, life)
    return number
