"""VMOD table: keys and values from a file, read again when it changes.

A file whose name ends in ``.json`` holds an object; any other holds lines of a key and its values, parted by the
delimiter (CSV). A change is seen by the first lookup *check* after the last look, and read in the background: lookups
never wait for it. A file that cannot be read then leaves what is there, and says so in the log.
"""

from __future__ import annotations

import os
import threading

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.log import vsl
from varnishpy.log.tag_numbers import ERROR
from varnishpy.vmods._records import RecordsError, read
from varnishpy.vmods.api import BOOL, DURATION, INT, STRING, Ctx, VclFailure

Identity = tuple[int, int, int]


class table:
    """A file of keys and values; one that cannot be read fails the VCL as it is loaded."""

    def __init__(self, ctx: Ctx, vcl_name: str, path: STRING, delimiter: STRING = ",", check: DURATION = 5.0) -> None:
        self._name = vcl_name
        self._path = path or ""
        self._delimiter = delimiter or ","
        self._check = check
        self._lock = make_lock("vmod_table")
        self._reading = False
        self._next_look = clock.mono() + check
        self._seen = self._identity()
        try:
            self._rows = read(self._path, self._delimiter)  # replaced, never changed
        except RecordsError as error:
            raise VclFailure(f"table {vcl_name}: {error}") from None

    def _identity(self) -> Identity | None:
        try:
            found = os.stat(self._path.encode("latin-1"))
        except (OSError, ValueError):
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _look(self) -> None:
        """Has the file changed? One look at a time, and none more often than wanted."""
        now = clock.mono()
        with self._lock:
            if now < self._next_look or self._reading:
                return
            self._next_look = now + self._check
            fresh = self._identity()
            if fresh is None or fresh == self._seen:
                return
            self._seen = fresh
            self._reading = True
        threading.Thread(target=self._read_again, name=f"vmod-table-{self._name}", daemon=True).start()

    def _read_again(self) -> None:
        try:
            self._rows = read(self._path, self._delimiter)
        except RecordsError as error:
            vsl(ERROR, 0, f"table {self._name}: {error}")
        finally:
            with self._lock:
                self._reading = False

    def lookup(self, ctx: Ctx, key: STRING, default: STRING = None, column: INT = 1) -> STRING:
        """The value of a key, or the default. *column*: which of several values, the first being 1."""
        self._look()
        values = self._rows.get(key) if key is not None else None
        if values is None or not 1 <= column <= len(values):
            return default
        return values[column - 1]

    def contains(self, ctx: Ctx, key: STRING) -> BOOL:
        """Is there such a key?"""
        self._look()
        return key in self._rows

    def size(self, ctx: Ctx) -> INT:
        """How many keys there are."""
        self._look()
        return len(self._rows)
