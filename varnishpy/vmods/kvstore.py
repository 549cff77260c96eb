"""VMOD kvstore: keys and values that VCL sets and asks for, after the module of that name of Varnish Enterprise.

A store belongs to its VCL. Values may be given a time to live; what is over is forgotten when it is asked for, and all
of it by `compact`.
"""

from __future__ import annotations

from typing import Final

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.log.tag_numbers import VCL_ERROR
from varnishpy.vmods._records import RecordsError, read
from varnishpy.vmods.api import DURATION, INT, STRING, Ctx, VclFailure

MOST: Final = 1_000_000  # keys of a store


class init:
    """An empty store. *buckets* is taken for the sake of programs that give it: there is one dictionary."""

    def __init__(self, ctx: Ctx, vcl_name: str, buckets: INT = 25000) -> None:
        self._name = vcl_name
        self._lock = make_lock("vmod_kvstore")
        self._values: dict[str, tuple[str, float]] = {}  # value, and when it is over (monotonic)

    def _live(self, key: str) -> str | None:
        """The lock is held."""
        found = self._values.get(key)
        if found is None:
            return None
        if found[1] <= clock.mono():
            del self._values[key]
            return None
        return found[0]

    def _put(self, key: str, value: str, ttl: float) -> None:
        """The lock is held."""
        if key not in self._values and len(self._values) >= MOST:
            self._compact()
            if len(self._values) >= MOST:
                raise VclFailure(f"kvstore {self._name}: more than {MOST} keys")
        self._values[key] = (value, clock.mono() + ttl if ttl > 0 else clock.NEVER)

    def _compact(self) -> int:
        now = clock.mono()
        over = [key for key, (_value, until) in self._values.items() if until <= now]
        for key in over:
            del self._values[key]
        return len(over)

    def get(self, ctx: Ctx, key: STRING, default: STRING = "") -> STRING:
        """The value of a key, or the default."""
        with self._lock:
            found = self._live(key or "")
        return default if found is None else found

    def set_(self, ctx: Ctx, key: STRING, value: STRING, ttl: DURATION = 0.0) -> None:
        """Set a value, for so long (0: for ever). A store that is full fails the VCL."""
        with self._lock:
            self._put(key or "", value or "", ttl)

    def delete(self, ctx: Ctx, key: STRING) -> None:
        """Forget a key."""
        with self._lock:
            self._values.pop(key or "", None)

    def counter(self, ctx: Ctx, key: STRING, increment: INT, ttl: DURATION = 0.0) -> INT:
        """Add to a whole number and say what it is then; one that is not there begins at 0, with that time to live."""
        with self._lock:
            found = self._live(key or "")
            if found is None:
                self._put(key or "", str(increment), ttl)
                return increment
            try:
                number = int(found) + increment
            except ValueError:
                raise VclFailure(f"kvstore {self._name}.counter(): {key} is no number") from None
            self._values[key or ""] = (str(number), self._values[key or ""][1])
            return number

    def compact(self, ctx: Ctx) -> INT:
        """Forget all that is over; how much it was."""
        with self._lock:
            return self._compact()

    def init_file(self, ctx: Ctx, path: STRING, delimiter: STRING = ",") -> INT:
        """Take all keys and values from a file (see VMOD table) in place of what is there; how many, or -1.

        Why it could not be read stands in the log. Who asks meanwhile gets what was there before.
        """
        try:
            rows = read(path or "", delimiter or ",")
        except RecordsError as error:
            ctx.log(VCL_ERROR, f"kvstore {self._name}.init_file(): {error}")
            return -1
        fresh = {key: (values[0] if values else "", clock.NEVER) for key, values in rows.items()}
        with self._lock:
            self._values = fresh
        return len(fresh)
