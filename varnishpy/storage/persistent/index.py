"""The index of a persistent storage: one SQLite database, with one row for each object and for each ban.

It is in WAL mode and writes every commit through to the disk (``synchronous=FULL``), so a commit that has returned is
there after a power cut, and one that has not is there as a whole or not at all. Only the writer's thread uses it once
it is open. Why SQLite, and not LMDB, and why bodies are not in it: docs/storage.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from varnishpy.storage.persistent.records import Record, Row

_FORMAT: Final = 1
_TABLES: Final = (
    "create table if not exists store (format integer, label blob)",
    "create table if not exists object (number integer primary key, digest blob, t_origin real, ttl real, grace real,"
    " keep real, flags integer, xid integer, ban real, used real, spans blob)",
    "create table if not exists ban (time real primary key, moment real, conditions text)",
)
_INSERT: Final = "insert or replace into object values (?,?,?,?,?,?,?,?,?,?,?)"

Words = list[str]  # the conditions of a ban, as the arguments of the CLI command
BanRow = tuple[float, float, Words]  # its time, by which the list is sorted; the moment it was made; its conditions
Times = tuple[float, float, float, float, int]  # t_origin, ttl, grace, keep; the number of the object


class IndexFailed(Exception):
    """The index cannot be used; the text says why."""


class IndexDamaged(IndexFailed):
    """It is not an index, or not a whole one."""


class IndexBusy(IndexFailed):
    """The disk is full, cannot be written, or fails: perhaps later."""


class Changes:
    """What one commit is to do; in this order: objects go, objects change, bans come, bans go, objects come."""

    __slots__ = ("bans", "bans_gone", "gone", "new", "times", "used")

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.times: list[Times] = []
        self.used: list[tuple[float, int]] = []
        self.bans: list[BanRow] = []
        self.bans_gone: list[float] = []
        self.new: list[Record] = []

    def add(self, later: Changes) -> None:
        """Do what another one says as well, after ours."""
        self.gone += later.gone
        self.times += later.times
        self.used += later.used
        self.bans += later.bans
        self.bans_gone += later.bans_gone
        self.new += later.new

    def __bool__(self) -> bool:
        return bool(self.gone or self.times or self.used or self.bans or self.bans_gone or self.new)


class Index:
    """See the module text. Made open.

    :param label: of the data file; an index without one gets it, one with another is damaged
    :raises IndexFailed:
    """

    def __init__(self, path: Path, label: bytes) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except sqlite3.Error as error:
            raise IndexBusy(str(error)) from None
        try:
            self._prepare(label)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, label: bytes) -> None:
        try:
            if self._db.execute("pragma journal_mode=wal").fetchone() != ("wal",):
                raise IndexBusy("SQLite has no write-ahead log here")
            self._db.execute("pragma synchronous=full")
            found = self._db.execute("pragma quick_check(1)").fetchall()
            if found != [("ok",)]:
                raise IndexDamaged(str(found[0][0]).replace("\n", " ") if found else "no answer to quick_check")
            self._db.execute("begin immediate")
            for statement in _TABLES:
                self._db.execute(statement)
            row = self._db.execute("select format, label from store").fetchone()
            if row is None:
                self._db.execute("insert into store values (?, ?)", (_FORMAT, label))
            elif row[0] != _FORMAT:
                raise IndexDamaged(f"it is of format {row[0]}, not {_FORMAT}")
            elif row[1] != label:
                raise IndexDamaged("it belongs to another data file")
            self._db.execute("commit")
        except sqlite3.Error as error:
            raise self._judge(error) from None

    @staticmethod
    def _judge(error: sqlite3.Error) -> IndexFailed:
        """An OperationalError is of the machine (full, read-only, locked), any other DatabaseError of the file."""
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            return IndexBusy(str(error))
        return IndexDamaged(str(error))

    def objects(self, now: float) -> list[Row]:
        """All rows of objects that somebody may have a use for yet, those used longest ago first; the others go.

        :raises IndexFailed:
        """
        try:
            self._db.execute("delete from object where t_origin + ttl + grace + keep <= ?", (now,))
            return self._db.execute("select * from object order by used").fetchall()
        except sqlite3.Error as error:
            raise self._judge(error) from None

    def bans(self) -> list[BanRow]:
        """All bans, oldest first.

        :raises IndexFailed:
        """
        try:
            rows = self._db.execute("select time, moment, conditions from ban order by time").fetchall()
            return [
                (float(time), float(moment), [str(word) for word in json.loads(text)]) for time, moment, text in rows
            ]
        except sqlite3.Error as error:
            raise self._judge(error) from None
        except ValueError as damage:
            raise IndexDamaged(f"a ban cannot be read: {damage}") from None

    def commit(self, changes: Changes) -> None:
        """Make changes, all or none; they are on the disk when this returns.

        :raises IndexFailed: nothing was changed
        """
        try:
            self._db.execute("begin immediate")
            try:
                self._many("delete from object where number=?", ((number,) for number in changes.gone))
                self._many("update object set t_origin=?, ttl=?, grace=?, keep=? where number=?", changes.times)
                self._many("update object set used=? where number=?", changes.used)
                self._many(
                    "insert or ignore into ban values (?, ?, ?)",
                    ((time, moment, json.dumps(words)) for time, moment, words in changes.bans),
                )
                self._many("delete from ban where time=?", ((time,) for time in changes.bans_gone))
                self._many(_INSERT, changes.new)
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
        except sqlite3.Error as error:
            raise self._judge(error) from None

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)

    def close(self) -> None:
        """Take the log into the database, if that can be done, and close it."""
        try:
            self._db.execute("pragma wal_checkpoint(truncate)")
        except sqlite3.Error:
            pass  # the log stays, and is read when the index is opened next
        self._db.close()
