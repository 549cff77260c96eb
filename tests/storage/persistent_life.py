"""Lives of a cache with persistent storage: what one process leaves behind, the next one finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cache.cache_parts import Cache
from varnishpy.cache.cold import ColdObjects
from varnishpy.cache.hash import Lookup
from varnishpy.cache.objcore import ObjectCore
from varnishpy.storage.object import StoredObject
from varnishpy.storage.objectsource import open_body
from varnishpy.storage.persistent.stevedore import PersistentStevedore
from varnishpy.storage.source import END


class Life(Cache):
    """A cache whose only storage is a directory; the writer has no thread, but works when it is told to (`write`)."""

    def __init__(self, directory: Path, size: str = "4m") -> None:
        super().__init__()
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.store = PersistentStevedore("p", str(directory), size)
        self.store.threaded = False
        self.store.lru.reclaimer = self.hash
        self.stevedore = self.store
        self.store.open()
        self.cold = ColdObjects(self.hash, [self.store])

    def write(self) -> None:
        """Have the writer do what it has to do."""
        writer = self.store.writer
        assert writer is not None
        writer.round()

    def killed(self, name: str) -> Path:
        """What a process that was killed at this moment would leave, in a directory beside ours."""
        copy = self.directory.with_name(name)
        shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("*.pid"))
        return copy

    def end(self) -> None:
        """End as a process does that is told to."""
        writer = self.store.writer
        if writer is not None:
            writer.start()  # so that it can be stopped
        self.store.close()

    def found(self, url: str, **headers: str) -> ObjectCore | None:
        """What a lookup finds, with a reference to be given back; ``None``: a miss."""
        req = self.request(url, **headers)
        how, oc, busy = self.lookup(req)
        if busy is not None:
            self.hash.withdraw(self.wrk, busy)
        if how in (Lookup.HIT, Lookup.HIT_GRACE):
            return oc
        if oc is not None:
            self.deref(oc)
        return None

    def body(self, url: str, **headers: str) -> bytes | None:
        """The body that a client gets, ``None`` for a miss; raises `SourceError` when it is cut off."""
        oc = self.found(url, **headers)
        if oc is None:
            return None
        try:
            stobj = oc.stobj
            assert stobj is not None
            source = open_body(stobj, oc.boc)
            body = bytearray()
            while (piece := source.pull(100_000)) is not END:
                assert isinstance(piece, bytes | memoryview)
                body += piece
            source.close()
            return bytes(body)
        finally:
            self.deref(oc)


Lives = Callable[..., Life]


def stored(oc: ObjectCore) -> StoredObject:
    assert oc.stobj is not None
    return oc.stobj


def found(life: Life, url: str) -> ObjectCore:
    oc = life.found(url)
    assert oc is not None, url
    return oc
