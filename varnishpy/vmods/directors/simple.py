"""Round robin, fallback, random and hash."""

from __future__ import annotations

import hashlib

from varnishpy.backends.director import Director
from varnishpy.base.testable_random import testable_fraction
from varnishpy.vmods.api import BACKEND, BOOL, REAL, STRANDS, Ctx
from varnishpy.vmods.directors.vdir import BackendList, DirectorObject


class _RoundRobin(BackendList):
    type = "round-robin"

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        super().__init__(ctx, vcl_name)
        self._next = 0

    def resolve(self, ctx: Ctx | None) -> Director | None:
        with self.lock:
            members = self.members
            for _ in members:
                self._next = self._next % len(members)
                backend = members[self._next][0]
                self._next += 1
                if backend.healthy(ctx)[0]:
                    return backend
        return None


class round_robin(DirectorObject):
    """Each in turn."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self.director = _RoundRobin(ctx, vcl_name)

    def add_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.add(backend)

    def remove_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.remove(backend)

    def backend(self, ctx: Ctx) -> BACKEND:
        return self.director


class _Fallback(BackendList):
    type = "fallback"

    def __init__(self, ctx: Ctx, vcl_name: str, sticky: bool) -> None:
        super().__init__(ctx, vcl_name)
        self._sticky = sticky
        self._current = 0

    def resolve(self, ctx: Ctx | None) -> Director | None:
        with self.lock:
            members = self.members
            if not self._sticky or self._current >= len(members):
                self._current = 0
            for _ in members:
                backend = members[self._current][0]
                if backend.healthy(ctx)[0]:
                    return backend
                self._current = (self._current + 1) % len(members)
        return None

    def drop(self, backend: Director | None) -> None:
        """Remove a backend and keep pointing at the same one."""
        place = self.remove(backend)
        with self.lock:
            if 0 <= place < self._current:
                self._current -= 1

    def details_text(self) -> str:
        lines = ["\n\n\tBackend\tCurrent\tHealth\n"]
        for place, (name, _weight, healthy) in enumerate(self._rows()):
            mark = "*" if place == self._current else ""
            lines.append(f"\t{name}\t{mark}\t{'healthy' if healthy else 'sick'}\n")
        return "".join(lines)


class fallback(DirectorObject):
    """The first that is healthy."""

    director: _Fallback

    def __init__(self, ctx: Ctx, vcl_name: str, sticky: BOOL = False) -> None:
        self.director = _Fallback(ctx, vcl_name, sticky)

    def add_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.add(backend)

    def remove_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.drop(backend)

    def backend(self, ctx: Ctx) -> BACKEND:
        return self.director


class _Random(BackendList):
    type = "random"
    weighted = True

    def resolve(self, ctx: Ctx | None) -> Director | None:
        return self.pick_weighted(ctx, testable_fraction())


class random(DirectorObject):
    """By chance, each as often as its weight says."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self.director = _Random(ctx, vcl_name)

    def add_backend(self, ctx: Ctx, backend: BACKEND, weight: REAL, /) -> None:
        self.director.add(backend, weight)

    def remove_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.remove(backend)

    def backend(self, ctx: Ctx) -> BACKEND:
        return self.director


class _Hash(BackendList):
    type = "hash"
    weighted = True


class hash_(DirectorObject):
    """The same backend for the same string, as long as it is healthy."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self.director = _Hash(ctx, vcl_name)

    def add_backend(self, ctx: Ctx, backend: BACKEND, /, weight: REAL = 1.0) -> None:
        self.director.add(backend, weight)

    def remove_backend(self, ctx: Ctx, backend: BACKEND, /) -> None:
        self.director.remove(backend)

    def backend(self, ctx: Ctx, text: STRANDS, /) -> BACKEND:
        key = hash_text(text)
        return self.director.pick_weighted(ctx, key / 0x1_0000_0000)


def hash_text(text: str) -> int:
    """32 bits of a string: the last four octets of its SHA-256, the low one first."""
    return int.from_bytes(hashlib.sha256(text.encode("latin-1")).digest()[-4:], "little")
