"""``-s [name=]method[,option...]``: reading it, and making the stevedores of a process.

The manager reads and checks (`parse_storage`, `StorageSpec.check`), the child makes and opens (`StorageSet`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from varnishpy.base.units import UnitError, parse_bytes
from varnishpy.storage.debug import DebugStevedore
from varnishpy.storage.file import FileStevedore
from varnishpy.storage.lru import Reclaimer
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.persistent.stevedore import PersistentStevedore
from varnishpy.storage.stevedore import Stevedore

TRANSIENT: Final = "Transient"
_DEBUG_OPTIONS: Final = ("lessspace", "maxspace", "failevery", "dinit", "dopen")
#: names of the method; the second is the reference's
PERSISTENT: Final = ("persistent", "deprecated_persistent")
_METHODS: Final = {"deprecated_persistent": "persistent"}  # as storage.list names them
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class StorageConfigError(ValueError):
    """A wrong ``-s``; the text is for the user."""


@dataclass(slots=True, frozen=True)
class StorageSpec:
    """One ``-s`` argument."""

    ident: str
    method: str
    args: tuple[str, ...] = ()

    def make(self) -> Stevedore:
        """The stevedore, not yet opened.

        :raises StorageConfigError:
        """
        try:
            return self._make()
        except StorageConfigError:
            raise
        except ValueError as exc:
            raise StorageConfigError(str(exc)) from None

    def _make(self) -> Stevedore:
        if self.method in ("malloc", "default", "umem"):
            # libumem is Solaris's allocator; where it does not exist the reference has no such method either
            if self.method == "umem":
                raise StorageConfigError('Unknown stevedore method "umem" (this is not Solaris: use malloc)')
            return MallocStevedore(self.ident, self._size(self.args))
        if self.method == "debug":
            options = [arg for arg in self.args if arg.partition("=")[0] in _DEBUG_OPTIONS]
            return DebugStevedore(self.ident, self._size([arg for arg in self.args if arg not in options]), options)
        if self.method == "file":
            if len(self.args) > 4:
                raise StorageConfigError("(-sfile) too many arguments")
            return FileStevedore(self.ident, *(self.args or ("",)))
        if self.method in PERSISTENT:
            if self.ident == TRANSIENT:
                raise StorageConfigError("(-spersistent) Transient storage is for what is not to be kept")
            if len(self.args) > 2:
                raise StorageConfigError("(-spersistent) too many arguments")
            return PersistentStevedore(self.ident, *self.args)
        raise StorageConfigError(f'Unknown stevedore method "{self.method}"')

    @staticmethod
    def _size(args: Sequence[str]) -> int:
        if len(args) > 1:
            raise StorageConfigError("(-smalloc) too many arguments")
        if not args or not args[0]:
            return 0
        text = args[0]
        try:
            size = parse_bytes(text)
        except UnitError as exc:
            raise StorageConfigError(f'(-smalloc) size "{text}": {exc}') from None
        if size >= 1 << 63:
            raise StorageConfigError(f'(-smalloc) size "{text}": too big')
        if size < 1 << 20:
            raise StorageConfigError(f'(-smalloc) size "{text}": too small, did you forget to specify M or G?')
        return size

    def check(self) -> None:
        """Everything that can be known to be wrong before a child is started; creates files and directories.

        :raises StorageConfigError:
        """
        stevedore = self.make()
        try:
            stevedore.check()
        except ValueError as exc:
            raise StorageConfigError(str(exc)) from None

    @property
    def directory(self) -> Path | None:
        """The directory that nobody else may use, if the method has one."""
        return Path(self.args[0]).absolute() if self.method in PERSISTENT and self.args else None

    @property
    def file(self) -> Path | None:
        """The file of ``-s file``, or the directory in which it makes a nameless one."""
        return Path(self.args[0]).absolute() if self.method == "file" and self.args else None


def parse_storage(texts: Sequence[str]) -> list[StorageSpec]:
    """All ``-s`` arguments, in order; with none, 100 MB on the heap; Transient is added if not named.

    :raises StorageConfigError:
    """
    specs: list[StorageSpec] = []
    nameless = 0
    for text in texts or ("default,100m",):
        equals = text.find("=")
        comma = text.find(",")
        named = equals >= 0 and (comma < 0 or equals < comma)
        if named:
            ident = text[:equals]
            if not _NAME.fullmatch(ident):
                raise StorageConfigError(f'invalid -s name "{ident}"=[...]')
            rest = text[equals + 1 :]
            if not rest:
                raise StorageConfigError(f'Empty named -s argument "{text}"')
        else:
            ident = f"s{nameless}"
            nameless += 1
            rest = text
        method, *args = rest.split(",")
        if not method:
            raise StorageConfigError("-s argument lacks strategy {malloc, file, ...}")
        if any(spec.ident == ident for spec in specs):
            raise StorageConfigError(f"(-s {text}) '{ident}' is already defined")
        if method == "debug" and any(spec.method == "debug" for spec in specs):
            raise StorageConfigError("Only one -sdebug instance supported")
        directory = StorageSpec(ident, method, tuple(args)).directory
        if directory is not None and any(spec.directory == directory for spec in specs):
            raise StorageConfigError(f"(-s {text}) {directory} is another storage's")
        specs.append(StorageSpec(ident, method, tuple(args)))
    if all(spec.ident != TRANSIENT for spec in specs):
        specs.append(StorageSpec(TRANSIENT, "default"))
    return specs


def list_text(specs: Sequence[StorageSpec]) -> str:
    """The answer to ``storage.list``."""
    return "Storage devices:\n" + "".join(f"\tstorage.{row['name']} = {row['storage']}\n" for row in list_json(specs))


def list_json(specs: Sequence[StorageSpec]) -> list[dict[str, str]]:
    """The elements of the answer to ``storage.list -j``."""
    return [{"name": spec.ident, "storage": _METHODS.get(spec.method, spec.method)} for spec in specs]


class StorageSet:
    """The stevedores of a cache process, in the order of ``-s``, Transient last.

    :raises StorageConfigError:
    """

    def __init__(self, specs: Sequence[StorageSpec]) -> None:
        made = [spec.make() for spec in specs]
        for stevedore in made:
            stevedore.prepare()
        made.sort(key=lambda stevedore: stevedore.ident == TRANSIENT)
        self.by_name: dict[str, Stevedore] = {stevedore.ident: stevedore for stevedore in made}
        self.transient = self.by_name[TRANSIENT]
        self._regular = [stevedore for stevedore in made if stevedore is not self.transient] or [self.transient]
        self._turn = 0
        self._lock = threading.Lock()

    @property
    def default(self) -> Stevedore:
        """The first one."""
        return self._regular[0]

    def next(self) -> Stevedore:
        """The stevedore of an object that does not say where it wants to live: each in turn."""
        if len(self._regular) == 1:
            return self._regular[0]
        with self._lock:
            self._turn = (self._turn + 1) % len(self._regular)
            return self._regular[self._turn - 1]

    def open(self, reclaimer: Reclaimer | None = None) -> None:
        """Open all; raises `StorageError`. ``reclaimer`` is the cache (`Hash`), which the LRU lists need."""
        for stevedore in self.by_name.values():
            stevedore.open()
            stevedore.lru.reclaimer = reclaimer

    @property
    def persistent(self) -> list[PersistentStevedore]:
        """Those whose objects outlive the process."""
        return [stevedore for stevedore in self.by_name.values() if isinstance(stevedore, PersistentStevedore)]

    def close(self) -> None:
        for stevedore in self.by_name.values():
            stevedore.close()
