"""Shared memory of the two processes, put together: what ``manager/`` and ``child/`` call.

The manager makes both directories; the child writes the index of its own, which is new with every child so that readers
follow a restart.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from varnishpy import log, stats
from varnishpy.log.ring import LogRing
from varnishpy.log.settings import follow
from varnishpy.params import params, table
from varnishpy.shm.writer import CHILD_SET, MANAGER_SET, SetWriter
from varnishpy.stats.publisher import INTERVAL, TEST_INTERVAL, Publisher
from varnishpy.stats.segments import Counters, Registry


class ManagerShm:
    """The manager's side. ``mgt`` are its counters (class MGT)."""

    def __init__(self, workdir: Path, identity: str = "") -> None:
        self.workdir = workdir
        directory = workdir / MANAGER_SET
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(workdir / CHILD_SET, ignore_errors=True)
        directory.mkdir(mode=0o755)
        self.writer = SetWriter(directory, share=False)
        self._owner = os.getpid()
        # a registry of its own: a forked child starts with none of the manager's counters
        registry = Registry()
        self.mgt: Counters[stats.MgtName] = registry.new(stats.MGT)
        self.publisher = Publisher(registry, self.writer)
        # no thread: the manager forks, and drives the publisher from its loop
        self.publisher.start(thread=False)
        # varnishtop and varnishhist insist on finding it
        self.set_arg("-i", identity or socket.gethostname())

    def set_arg(self, ident: str, text: str) -> None:
        """Publish an argument for tools (class Arg): ``-T`` "address port" lines, ``-S`` a path, ``-i`` a name."""
        for segment in self.writer.segments():
            if segment.category == "Arg" and segment.ident == ident:
                segment.free()
        self.writer.add_text("Arg", ident, text)

    def new_child(self) -> Path:
        """An empty directory for the child that is about to start."""
        directory = self.workdir / CHILD_SET
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o750)
        return directory

    def child_gone(self, keep: bool = False) -> None:
        """Remove what a child left (``keep``: debug=+vsm_keep, for reading its log post mortem)."""
        if not keep:
            shutil.rmtree(self.workdir / CHILD_SET, ignore_errors=True)

    def close(self, keep: bool = False) -> None:
        """Stop publishing and remove both directories (``keep``: leave the child's for reading)."""
        if os.getpid() != self._owner:
            return
        self.publisher.stop()
        self.writer.close()
        if not keep:
            shutil.rmtree(self.workdir / MANAGER_SET, ignore_errors=True)
            shutil.rmtree(self.workdir / CHILD_SET, ignore_errors=True)


class ChildShm:
    """The cache process's side: its log ring and its counters.

    From then on the log obeys its parameters; ``log_memory`` is the ring's memory, for readers in this process.

    :param layout: ``vsl_layout``; ``space``: ``vsl_space`` (``-l``), octets; ``tick``: called ten times a second
    """

    def __init__(self, directory: Path, layout: int, space: int, tick: Callable[[], None] | None = None) -> None:
        self.writer = SetWriter(directory, cooldown=params.vsm_free_cooldown)
        stats.registry.add(stats.main)
        # a test program takes two counters read one after the other for one moment's
        interval = TEST_INTERVAL if params.debug.vtc_mode else INTERVAL
        self.publisher = Publisher(stats.registry, self.writer, tick, interval)
        self.publisher.with_locks = True
        segment = self.writer.allocate("Log", space, "Log")
        self.log_memory = segment.view
        self.ring = LogRing(segment.view, layout)
        self._unfollow = follow(table, params, layout)
        stats.add_collector(self._collect)
        self.publisher.start()
        log.set_sink(self.ring)

    def _collect(self) -> None:
        main = stats.main
        for name, value in self.ring.counters().items():
            if main.value(name) != value:
                main.store(name, value)

    def flush(self) -> None:
        """Copy the counters to shared memory now."""
        self.publisher.flush()

    def seal(self) -> None:
        """The process is about to end: counters stay as they are now, and visible, whatever is taken down after."""
        self.publisher.stop()

    def close(self) -> None:
        """Stop publishing. Files stay: the manager removes the directory, so that the last records can be read."""
        log.set_sink(None)
        self._unfollow()
        self.publisher.stop()
        stats.remove_collector(self._collect)
        stats.registry.destroy(stats.main)
