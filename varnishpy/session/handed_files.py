"""Files that the manager has read for a cache process in a jail: certificates, keys, parameters of key exchanges.

A private key is mostly for root alone, and the cache process of ``-j unix`` is not root any more. So the manager hands
it the octets, at its birth and before each ``tls.cert.load`` and ``tls.cert.reload``. What was not handed over is read
from disk. OpenSSL reads keys from files only: it is given one in memory, without a name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


class HandedFiles:
    """By path, as the certificate's specification has it. Handed over by the CLI's thread; reading is for any."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def take(self, path: str, data: bytes | None) -> None:
        """What the manager read, or that it cannot any more."""
        if data is None:
            self._files.pop(path, None)
        else:
            self._files[path] = data

    def read(self, path: str) -> bytes:
        """The contents.

        :raises OSError: it was not handed over, and cannot be read
        """
        found = self._files.get(path)
        return Path(path).read_bytes() if found is None else found

    @contextlib.contextmanager
    def openable(self, path: str) -> Iterator[str]:
        """A path by which a C library can open it, for as long as the block lasts."""
        found = self._files.get(path)
        if found is None:
            yield path
            return
        fd = os.memfd_create("certificate")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(found)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
