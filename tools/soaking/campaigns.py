"""The campaigns of tools/faults, as data, and how one is run."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tools.soaking.stand import Stand, stand

DIED: Final = 0x40  # exit status of a daemon whose child died of a signal
CALM: Final = 2.0  # seconds of traffic without faults at the end, which must all be answered


@dataclass(frozen=True)
class Campaign:
    """One thing that goes wrong.

    :param rates: failures in a million calls, see `Shim.set`
    :param act: done again and again meanwhile
    :param words: of the command line
    :param dies: children die of it, and that is not their fault
    :param status: with which the daemon ends
    :param disk: size of a file system of its own, for all files of the cache; needs root
    :param ages: answers are held to their age
    """

    text: str
    rates: Mapping[str, int] = field(default_factory=dict)
    act: Callable[[Stand, random.Random], None] | None = None
    words: tuple[str, ...] = ()
    storage: str = "malloc,24m"
    dies: bool = False
    status: int = 0
    disk: str = ""
    ages: bool = True


def _signal(at: Stand, rng: random.Random) -> None:
    """Signals that no daemon may mind, at any moment."""
    pid = at.cache.child_pid
    for number in rng.choices((signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG), k=20):
        os.kill(rng.choice((pid, at.cache.process.pid)), number)
        time.sleep(0.001)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(rng.uniform(0.0, 0.2))
    os.kill(pid, signal.SIGCONT)


def _kill(at: Stand, rng: random.Random) -> None:
    """The child is killed, the manager makes another."""
    time.sleep(rng.uniform(0.0, 1.0))
    os.kill(at.cache.child_pid, signal.SIGKILL)
    at.wait_well()


def _kill_manager(at: Stand, rng: random.Random) -> None:
    """The manager is killed: the child ends, and whoever starts another finds all in order."""
    time.sleep(rng.uniform(0.0, 1.0))
    os.kill(at.cache.process.pid, signal.SIGKILL)
    at.begin_again()


def _fill(at: Stand, rng: random.Random) -> None:
    """The file system is filled to its last octet, used so, and has room again."""
    junk = at.directory / "junk"
    try:
        with junk.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    time.sleep(rng.uniform(0.0, 0.5))
    _reload(at, rng)
    if rng.randrange(2):
        junk.unlink()
        time.sleep(rng.uniform(0.0, 0.5))


def _set_clock(at: Stand, rng: random.Random) -> None:
    assert at.shim is not None
    at.shim.set_clock(rng.choice((0, 3600, -3600, 7 * 3600, -24 * 3600, rng.randrange(-100, 100))))


def _reload(at: Stand, rng: random.Random) -> None:
    """VCL is loaded, which writes files; it may be refused."""
    assert at.shim is not None
    at.shim.spare(0)
    name = f"v{rng.randrange(10**9)}"
    status, text = at.cache.cli_result("vcl.load", name, str(at.program))
    if status == 200:
        at.cache.cli("vcl.use", name)
        at.cache.cli("vcl.discard", at.replaced)
        at.replaced = name
    elif "Traceback" in text:
        at.tally.note("mistake", text)


def _perturb(at: Stand, rng: random.Random) -> None:
    at.cache.cli("ban", "obj.http.X-Path", "~", f"^/[cvz]/{rng.randrange(40)}/")


_SOCKET_ERRORS: Final = ("ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "ETIMEDOUT")

CAMPAIGNS: Final[Mapping[str, Campaign]] = {
    "short": Campaign(
        "transfers are short, interrupted, or have to be made again",
        {
            "recv short": 300_000,
            "send short": 300_000,
            "send EAGAIN": 50_000,
            "send EINTR": 50_000,
            "recv EINTR": 50_000,
        },
    ),
    "sockets": Campaign(
        "connections break at any transfer",
        {f"{call} {error}": 8_000 for call in ("recv", "send") for error in _SOCKET_ERRORS},
    ),
    "accept": Campaign(
        "connections cannot be accepted",
        {
            f"accept {error}": 80_000
            for error in ("EMFILE", "ENFILE", "ECONNABORTED", "ENOMEM", "ENOBUFS", "EPERM", "EINTR")
        },
    ),
    "connect": Campaign(
        "the origin cannot be reached",
        {
            **{f"connect {error}": 50_000 for error in ("ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL", "ETIMEDOUT")},
            **{f"socket {error}": 50_000 for error in ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")},
        },
        words=("-p", "backend_local_error_holddown=0", "-p", "backend_remote_error_holddown=0"),
    ),
    "threads": Campaign(
        "threads cannot be created",
        {"thread EAGAIN": 600_000},
        words=("-p", "thread_pool_min=5", "-p", "thread_pool_timeout=10", "-p", "thread_pool_fail_delay=0.01"),
    ),
    "descriptors": Campaign(
        "eventfd and epoll refuse",
        {"eventfd EMFILE": 100_000, "eventfd ENOMEM": 50_000, "epoll ENOMEM": 10_000, "epoll ENOSPC": 10_000},
    ),
    "disk": Campaign(
        "the disk is full, broken, read-only",
        {
            **{f"write {error}": 50_000 for error in ("ENOSPC", "EIO", "EROFS", "short")},
            **{f"open {error}": 100_000 for error in ("EMFILE", "ENOSPC", "EROFS", "EACCES")},
        },
        act=_reload,
    ),
    "full": Campaign(
        "a real file system is full, and has room again",
        act=_fill,
        storage="persistent,{directory}/store,24m",
        disk="96m",
    ),
    "clock": Campaign("the clock of the wall is set, by hours, both ways", act=_set_clock, ages=False),
    "signals": Campaign("signals come at any moment; the process is stopped and goes on", act=_signal),
    "kill": Campaign("the child is killed", act=_kill, dies=True, status=DIED),
    "storage": Campaign("storage is far too small", storage="malloc,1m", words=("-s", "Transient=malloc,3m")),
    "allocations": Campaign("every seventh request for storage is refused", storage="debug,failevery=7,24m"),
    "manager": Campaign(
        "the manager is killed, and another started in its directory",
        act=_kill_manager,
        storage="persistent,{directory}/store,24m",
        dies=True,
    ),
    "workspace": Campaign(
        "workspaces are far too small",
        words=("-p", "workspace_client=9k", "-p", "workspace_backend=1k", "-p", "http_resp_hdr_len=400b"),
    ),
    "perturb": Campaign("threads pause wherever they can", act=_perturb, words=("-p", "debug=+perturb")),
}


def run(campaign: Campaign, seconds: float, rate: float, seed: int, calm: float = CALM) -> tuple[list[str], str]:
    """What was wrong, and a line about what happened.

    :param calm: how long there is traffic without faults, before and after
    """
    rng = random.Random(seed)
    with stand(
        *campaign.words, storage=campaign.storage, faults=True, status=campaign.status, disk=campaign.disk
    ) as at:
        assert at.shim is not None
        at.site.ages = campaign.ages
        at.wait_well()
        at.come(rate)
        time.sleep(calm)
        at.leave()
        wrong = [f"before any fault: {at.errors()}"] if at.errors() and campaign.storage == "malloc,24m" else []
        threads, descriptors = at.figures()
        child = at.cache.child_pid
        at.shim.set(campaign.rates)
        at.come(rate)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if campaign.act is not None:
                campaign.act(at, rng)
            time.sleep(0.3)
        at.leave()
        at.shim.calm()
        happened = at.shim.counts()
        errors = at.errors()
        wrong += _recovered(at, campaign, rate, calm, child, (threads, descriptors))
        if campaign.rates and not any(happened.values()):
            wrong.append("no fault happened")
        return wrong, f"{at.tally.sent} requests, {sum(happened.values())} faults, errors {errors}"


def _recovered(
    at: Stand, campaign: Campaign, rate: float, calm: float, child: int, before: tuple[int, int]
) -> list[str]:
    """What is wrong once nothing fails any more."""
    at.wait_well()
    errors = at.errors()
    at.come(rate)
    time.sleep(calm)
    at.leave()
    wrong = []
    tight = (campaign.storage != "malloc,24m" and not campaign.rates) or "workspace_client=9k" in campaign.words
    if at.errors() != errors and not tight:
        wrong.append(f"errors after the last fault: {errors} became {at.errors()}")
    if at.cache.child_pid != child and not campaign.dies:
        wrong.append("the child died: " + "".join(at.cache.output)[-4000:])
    wrong += at.wrongs()
    threads, descriptors = at.figures()
    if threads > before[0] + 60 or descriptors > before[1] + 5:
        wrong.append(f"threads and descriptors: {before} before, {(threads, descriptors)} now")
    return wrong
