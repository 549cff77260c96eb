"""Threads that pause at locks and between steps, for as long as a block lasts, or for the whole run (`make soak`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from varnishpy.base import locks, perturb

ALWAYS: Final = bool(os.environ.get("VARNISHPY_TEST_PERTURB"))


def begin() -> None:
    """From now on, where the whole run is to be perturbed."""
    if ALWAYS:
        locks.watch(True)
        perturb.perturb(True)


@contextmanager
def watched_locks() -> Iterator[None]:
    """Locks made in the block are watched."""
    locks.watch(True)
    try:
        yield
    finally:
        locks.watch(ALWAYS)


@contextmanager
def perturbed() -> Iterator[None]:
    """Threads pause by lot."""
    with watched_locks():
        perturb.perturb(True)
        try:
            yield
        finally:
            perturb.perturb(ALWAYS)
