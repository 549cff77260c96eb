"""A program compiled and loaded in this process, with stand-ins for everything that lies outside of it.

There is one `Stage` in a process: a cache with storage, but without sockets, pools at work or an expiry thread. Each
`Program` is compiled for coverage and loaded into it. What runs is what the daemon runs; only its surroundings are
replaced, so nothing here knows what a statement of VCL means.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from varnishpy.backends.director import Director
from varnishpy.backends.registry import Backends
from varnishpy.cache.ban import Bans
from varnishpy.cache.expire import Expiry
from varnishpy.cache.hash import Hash
from varnishpy.child.host import Host
from varnishpy.kit import coverage
from varnishpy.kit.views import Messages
from varnishpy.request.env import Env
from varnishpy.request.new_env import new_env
from varnishpy.storage.config import StorageSet, parse_storage
from varnishpy.threads.pool import Pool
from varnishpy.threads.poolset import PoolSet
from varnishpy.threads.waiter import Waiter
from varnishpy.threads.worker import Worker
from varnishpy.vcl import counts
from varnishpy.vcl.codegen import CoveragePoint
from varnishpy.vcl.compiler import Compiled, CompileOptions, VclError, compile_vcl
from varnishpy.vcl.context import PrivateData
from varnishpy.vcl.loader import Vcl, load
from varnishpy.vcl.module import entry

if TYPE_CHECKING:
    from varnishpy.vcl.context import Ctx
    from varnishpy.vcl.specs import BackendSpec

IDENTITY: Final = "varnishpy"


class ProgramError(Exception):
    """A program does not compile, or does not load; the text is the compiler's or the loader's report."""


class StandIn(Director):
    """In place of a backend: it is healthy or not, and nobody connects to it."""

    type = "backend"

    def __init__(self, vcl_name: str, vcl: str) -> None:
        super().__init__(vcl_name, vcl)
        self.is_healthy = True

    def assess(self, ctx: object) -> tuple[bool, float]:
        """As the test says."""
        return self.is_healthy, self.health_changed


class StageHost(Host):
    """The child's services for programs; backends are stand-ins, bans are only noted."""

    def __init__(self, env: Env, backends: Backends) -> None:
        super().__init__(env, backends)
        self.backends: dict[tuple[str, str], StandIn] = {}  # by program and name
        self.bans: list[str] = []

    def new_backend(self, vcl: Vcl, spec: BackendSpec, via: Director | None) -> Director:
        """A stand-in."""
        made = self.backends[vcl.name, spec.vcl_name] = StandIn(spec.vcl_name, vcl.name)
        return made

    def ban(self, spec: str) -> str | None:
        """Check a ban and note it; what is wrong with it, or None."""
        wrong = super().ban(spec)
        if wrong is None:
            self.bans.append(spec)
        return wrong

    def purge(self, ctx: Ctx, ttl: float, grace: float, keep: float) -> int:
        """Nothing is cached, so nothing is purged."""
        return 0


class Stage:
    """The process around programs: made once, see `stage`."""

    def __init__(self) -> None:
        self.expiry = Expiry()
        self.hash = Hash(self.expiry, Bans())
        self.storage = StorageSet(parse_storage(["s0=malloc,64m"]))
        self.storage.open(self.hash)
        self.waiter = Waiter("kit")
        self.pools = PoolSet()
        self.env = new_env(self.hash, self.storage, self.pools, self.waiter, identity=IDENTITY, hostname="localhost")
        self.backends = Backends(self.waiter, self.pools)
        self.host = StageHost(self.env, self.backends)
        self.pool = Pool("kit", 1)
        self.worker = Worker(self.pool, "unit")  # it never runs: requests want to count somewhere


@functools.cache
def stage() -> Stage:
    """The stage of this process."""
    return Stage()


def _visible(arguments: Sequence[object]) -> list[object]:
    """The arguments that VCL wrote: what a VMOD is given of its own is left out."""
    return [each for each in arguments if not isinstance(each, PrivateData)]


class _Mocked:
    """An object of a VMOD, some of whose methods are answered by a test."""

    def __init__(self, real: object, answers: dict[str, Callable[..., object]]) -> None:
        self.real = real
        self.answers = answers

    def __getattr__(self, name: str) -> object:
        answer = self.answers.get(name)
        if answer is None:
            return getattr(self.real, name)
        return lambda ctx, *arguments, **named: answer(*_visible(arguments), *named.values())


class Program:
    """A loaded program.

    :param source: the text, or a `Path` to it; a path is what messages and coverage call it
    :param vcl_path: folders that ``include`` looks in besides that of the program
    :param vmod_path: folders with VMODs in Python
    :param labels: programs that ``return (vcl(...))`` may go to, by label
    :param host: the process it is loaded into; else the stage of this process, where backends are stand-ins
    :param stand_ins: where backends are to be found, see `CompileOptions`
    :raises ProgramError: with the report
    """

    _numbers = 0

    def __init__(
        self,
        source: str | Path,
        vcl_path: Sequence[str | Path] = (),
        vmod_path: Sequence[str | Path] = (),
        labels: Mapping[str, Program] | None = None,
        host: Host | None = None,
        stand_ins: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host if host is not None else stage().host
        Program._numbers += 1
        self.name = f"unit{Program._numbers}"
        self.labels = dict(labels or {})
        folders = [str(folder) for folder in vcl_path]
        if isinstance(source, Path):
            text: str | bytes = source.read_bytes()
            filename = str(source)
            folders.insert(0, str(source.parent))
        else:
            text, filename = source, "<vcl.inline>"
        options = CompileOptions(
            filename=filename,
            vcl_path=[*folders, *CompileOptions().vcl_path],
            vmod_path=[str(folder) for folder in vmod_path],
            labels=tuple(self.labels),
            stand_ins=dict(stand_ins or {}),
            offline=True,
            coverage=True,
        )
        try:
            self.compiled: Compiled = compile_vcl(text, self.name, options)
        except VclError as error:
            raise ProgramError(str(error)) from None
        self.vcl = self._load()
        self.globals = self.vcl.module.names
        self.hits: list[int] = entry(self.globals, "HITS", list)
        self.points = counts.points_of(self.globals)
        self.coverage = coverage.record(self.compiled.sources, self.points)

    def _load(self) -> Vcl:
        loaded = {name: program.vcl for name, program in self.labels.items()}
        try:
            vcl = load(self.name, self.compiled.python_source, self.host, loaded.__getitem__)
            vcl.warm()
        except Exception as error:
            raise ProgramError(str(error)) from error
        return vcl

    def backend(self, name: str) -> StandIn:
        """The stand-in of a backend. :raises KeyError: the program has none of that name"""
        try:
            return stage().host.backends[self.name, name]
        except KeyError:
            known = ", ".join(sorted(each for program, each in stage().host.backends if program == self.name))
            raise KeyError(f"no backend is named {name!r}; there are: {known or 'none'}") from None

    def backends(self) -> list[StandIn]:
        """All stand-ins of the program."""
        return [each for (program, _), each in stage().host.backends.items() if program == self.name]

    def take_bans(self) -> list[str]:
        """The bans added since the last call."""
        bans = stage().host.bans
        taken = bans.copy()
        bans.clear()
        return taken

    def replace(self, name: str, answer: Callable[..., object]) -> Callable[[], None]:
        """Have VCL call something else; see `Unit.mock`. Returns what undoes it. :raises KeyError:"""
        first, dot, second = name.partition(".")
        if not dot:
            return self._replace_sub(name, answer)
        objects = dict(entry(self.globals, "OBJECTS", list))
        if first in objects:
            return self._replace_method(objects[first], second, answer)
        vmod = self.globals.get(f"vmod_{first}")
        # as in VMODs, a word that Python keeps for itself has a trailing underscore
        attribute = second if hasattr(vmod, second) else f"{second}_"
        if vmod is None or not hasattr(vmod, attribute):
            raise KeyError(f"the program calls nothing that is named {name!r}")
        real = getattr(vmod, attribute)
        places = [key for key, value in self.globals.items() if value is real]
        if not places:
            raise KeyError(f"the program does not call {name}")

        def stand_in(ctx: Ctx, *arguments: object, **named: object) -> object:
            return answer(*_visible(arguments), *named.values())

        return self._put(dict.fromkeys(places, stand_in))

    def _replace_sub(self, name: str, answer: Callable[..., object]) -> Callable[[], None]:
        code = next((key for key in self.globals if key == f"sub_{name}"), None)
        if code is None:
            raise KeyError(f"the program has no subroutine {name!r}")

        def stand_in(ctx: Ctx) -> object:
            return answer(Messages(ctx))

        return self._put({code: stand_in})

    def _replace_method(self, code: str, method: str, answer: Callable[..., object]) -> Callable[[], None]:
        real = self.globals[code]
        if isinstance(real, _Mocked):
            real.answers[method] = answer
            return lambda: real.answers.pop(method, None) and None
        if not hasattr(real, method):
            raise KeyError(f"the object has no method {method!r}")
        return self._put({code: _Mocked(real, {method: answer})})

    def _put(self, values: dict[str, object]) -> Callable[[], None]:
        before = {key: self.globals[key] for key in values}
        self.globals.update(values)
        return lambda: self.globals.update(before)

    @property
    def own_points(self) -> list[CoveragePoint]:
        """The points of the program's own files, the builtin VCL left out."""
        builtin = len(self.compiled.sources) - 1
        return [point for point in self.points if point.source != builtin]

    def take_hits(self) -> list[int]:
        """How often each point was passed since the last call; they are added to the program's coverage."""
        hits = self.hits
        taken = hits.copy()
        hits[:] = [0] * len(hits)
        self.coverage.add(taken)
        return taken

    def discard(self) -> None:
        """Run vcl_fini and let go of everything."""
        self.take_hits()
        self.vcl.cool()
        self.vcl.discard()
        self.take_hits()
        host = stage().host
        for key in [key for key in host.backends if key[0] == self.name]:
            del host.backends[key]
