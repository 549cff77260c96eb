"""What the operating system says of this process: for the stats socket and for a panic's dump."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import psutil

from varnishpy.base.dumptext import DumpText


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """CPU in seconds, memory in octets, ``started`` in seconds of the wall clock."""

    pid: int
    started: float
    cpu_user: float
    cpu_system: float
    resident: int
    virtual: int
    threads: int
    descriptors: int
    most_descriptors: int
    switches_voluntary: int
    switches_involuntary: int

    def as_json(self) -> dict[str, float]:
        """What ``/process`` shows."""
        return asdict(self)


Kind = Literal["counter", "gauge"]
_Row = tuple[str, Kind, str, Callable[[ProcessFigures], float]]

# the names that Prometheus' client libraries use for any process
_METRICS: tuple[_Row, ...] = (
    ("process_cpu_seconds", "counter", "CPU time used", lambda f: f.cpu_user + f.cpu_system),
    ("process_resident_memory_bytes", "gauge", "Resident memory", lambda f: f.resident),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory", lambda f: f.virtual),
    ("process_threads", "gauge", "Threads", lambda f: f.threads),
    ("process_open_fds", "gauge", "Open file descriptors", lambda f: f.descriptors),
    ("process_max_fds", "gauge", "Most file descriptors", lambda f: f.most_descriptors),
    ("process_start_time_seconds", "gauge", "Start of the process", lambda f: f.started),
)


def measure() -> ProcessFigures:
    """The figures of this process as they are now; some system calls."""
    process = psutil.Process()
    with process.oneshot():
        times, memory, switches = process.cpu_times(), process.memory_info(), process.num_ctx_switches()
        return ProcessFigures(
            pid=process.pid,
            started=process.create_time(),
            cpu_user=times.user,
            cpu_system=times.system,
            resident=memory.rss,
            virtual=memory.vms,
            threads=process.num_threads(),
            descriptors=process.num_fds(),
            most_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            switches_voluntary=switches.voluntary,
            switches_involuntary=switches.involuntary,
        )


def rows() -> list[tuple[str, Kind, str, float]]:
    """The figures as metrics: name, without ``_total``, kind, meaning, value."""
    figures = measure()
    return [(name, kind, text, value(figures)) for name, kind, text, value in _METRICS]


def dump() -> str:
    """The section of a panic's dump."""
    out = DumpText()
    with out.block("process ="):
        for name, value in measure().as_json().items():
            out.line(f"{name} = {value},")
    return out.text()
