"""What all tests share: programs that may be missing, and temporary directories short enough for Unix sockets."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from tests import perturbing
from tests.waiting import Until, wait_for
from varnishpy.log import configure, set_sink
from varnishpy.log.memory import MemoryLog, captured
from varnishpy.params import table
from varnishpy.threads import PoolSet, Waiter

Setting = Callable[[str, str], object]  # the fixture `setting`

# A shell that puts a suite into the background has it ignore these, and what we start would inherit that.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# The tests get by with what most systems give a process, so that a leak is found on every machine.
_DESCRIPTORS = 1024
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft == resource.RLIM_INFINITY or _soft > _DESCRIPTORS:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _hard))

# how long a busy machine takes over making an input, or over a test, says nothing
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


# `make races`: a thread's turn, in seconds
if _turn := os.environ.get("VARNISHPY_TEST_SWITCH"):
    sys.setswitchinterval(float(_turn))

perturbing.begin()


def require_program(name: str) -> str:
    """The path of a program; where it is missing the test is skipped, but in CI that is a failure."""
    path = shutil.which(name)
    if path is None:
        reason = f"the program {name} is not installed"
        if os.environ.get("VARNISHPY_TEST_NO_SKIP"):
            pytest.fail(f"{reason}, and VARNISHPY_TEST_NO_SKIP forbids skipping", pytrace=False)
        pytest.skip(reason)
    return path


@pytest.fixture
def program() -> Callable[[str], str]:
    """`require_program` as a fixture."""
    return require_program


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary directory with a short name: a Unix socket's path has at most 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="vp-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def until() -> Until:
    """`wait_for` as a fixture."""
    return wait_for


@pytest.fixture
def setting() -> Iterator[Setting]:
    """Set parameters for one test: ``setting("timeout_idle", "0.1")``."""
    before: dict[str, str] = {}

    def change(name: str, value: str) -> None:
        before.setdefault(name, table.text(name))
        table.set(name, value)

    yield change
    table.load(before.items())


@dataclass(frozen=True)
class Running:
    """What serves sessions in a process: one pool of eight workers and a waiter; and all that is logged, Debug too."""

    pools: PoolSet
    waiter: Waiter
    log: MemoryLog


@pytest.fixture
def running(setting: Setting) -> Iterator[Running]:
    setting("thread_pools", "1")
    setting("thread_pool_min", "8")
    configure(masked=bytes(256))
    waiter = Waiter("test")
    waiter.start()
    pools = PoolSet()
    pools.start()
    with captured() as log:
        try:
            yield Running(pools, waiter, log)
        finally:
            assert pools.stop(5)
            waiter.stop()
            configure()


@pytest.fixture
def log_ends() -> Iterator[None]:
    """The log is as it was before the test; see `tests.builders.TaskRecords`."""
    yield
    set_sink(None)
    configure()
