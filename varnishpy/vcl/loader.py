"""Loading compiled programs into the cache process, and running them.

A `Vcl` is a loaded program. It is *cold* (its probes rest) or *warm*; only warm ones serve. One that was sent
cold is *busy* while tasks still use it, and *cooling* while a VMOD is not done with it yet (`Vcl.hold`). It counts who
uses it: tasks (``busy``) and programs that return to it. `VclRegistry` in ``registry.py`` keeps them by name.

What runs are the functions without trace points; those with them are made when a traced task first comes along. A
method that does nothing but return an action need not be run at all (`Vcl.fixed`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from varnishpy.base.locks import make_lock
from varnishpy.base.panic import invariant
from varnishpy.base.regex import RegexMatchError, set_limits
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import Records
from varnishpy.params import params
from varnishpy.vcl.context import Ctx, Method, PrivateData, VclFailure, end_private, module_name
from varnishpy.vcl.methods import METHODS
from varnishpy.vcl.module import Module, entry
from varnishpy.vcl.specs import BackendSpec
from varnishpy.vcl.vmodfind import version

if TYPE_CHECKING:
    from varnishpy.backends.director import Director
    from varnishpy.cache.keys import KeyIndex
    from varnishpy.cache.limits import SharedLimits
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.storage.source import Source
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.threads.worker import Worker
    from varnishpy.vcl.tasks import ClientTask

_VCL_CALL = int(Tag.VCL_call)
_VCL_RETURN = int(Tag.VCL_return)
_VCL_ERROR = int(Tag.VCL_Error)
_ERROR = int(Tag.Error)
_METHOD_TEXT = {name: name.upper() for name in METHODS}


class Fixed:
    """A method whose result is known: what it returns, and the log records that running it leaves."""

    __slots__ = ("action", "records")

    def __init__(self, method: str, action: str) -> None:
        self.action = action
        self.records = Records([(_VCL_CALL, _METHOD_TEXT[method]), (_VCL_RETURN, action)])


#: makes a fetch or delivery processor (``request/filters.py``); what one is, that room knows
Maker = Callable[[], object]


class VclLoadError(Exception):
    """The program could not be loaded or warmed; the text is for the CLI."""


class VclHost(Protocol):
    """What a program needs of the process that it is loaded into."""

    identity: str
    hostname: str

    def new_backend(self, vcl: Vcl, spec: BackendSpec, via: Director | None) -> Director:
        """Make a backend (cold); ``via`` is the backend to go through, or ``None``."""

    def stevedore(self, name: str) -> Stevedore | None:
        """A storage by name, or ``None``."""

    def ban(self, spec: str) -> str | None:
        """Add a ban given as one string; what is wrong with it, or ``None``."""

    def drop_bereq_body(self, ctx: Ctx) -> None:
        """``unset bereq.body``."""

    def rollback(self, ctx: Ctx, which: str) -> None:
        """``std.rollback``: ``req`` or ``bereq`` as it came."""

    def cache_req_body(self, ctx: Ctx, size: int) -> int:
        """``std.cache_req_body``: octets cached, or -1."""

    def purge(self, ctx: Ctx, ttl: float, grace: float, keep: float) -> int:
        """``purge.soft`` and ``hard`` (all zero): how many objects."""

    def add_filters(self, vcl: Vcl, fetch: Mapping[str, Maker], delivery: Mapping[str, Maker]) -> None:
        """Register processors (see ``request/filters.py``) by name, for as long as the program is loaded."""

    def forget(self, vcl: Vcl) -> None:
        """The program is gone, and so is what was registered for it."""

    def subscribe(self, listener: Callable[[str, ObjectCore], None]) -> None:
        """Be told of ``insert`` and ``expire`` of objects (see ``cache/expire.py``)."""

    def unsubscribe(self, listener: Callable[[str, ObjectCore], None]) -> None:
        """Undo `subscribe`."""

    def key_index(self) -> KeyIndex:
        """Objects by their keys (see ``cache/keys.py``)."""

    def shared_limits(self) -> SharedLimits | None:
        """Limits that many nodes share (see ``cache/limits.py``), if there is a tier."""

    def deliver_elsewhere(
        self, ctx: Ctx, name: str, wrap: Callable[[Worker, ClientTask, Source], Source] | None
    ) -> None:
        """Have the response of ``ctx.req`` sent by a task of its own (see ``http1/elsewhere.py``)."""

    def default_resp_filters(self, ctx: Ctx) -> str:
        """The delivery filters that would be chosen for ``ctx.req`` as it stands."""

    def default_beresp_filters(self, ctx: Ctx) -> str:
        """The fetch filters that would be chosen for ``ctx.bo`` as it stands."""


@dataclass(frozen=True, slots=True)
class VmodInUse:
    """A VMOD that a program imports: its name, and what was loaded."""

    name: str
    module: ModuleType

    @property
    def path(self) -> str:
        """The file it came from."""
        return self.module.__file__ or ""

    @property
    def version(self) -> str:
        """Its version; empty if nobody knows."""
        return version(self.module)


class VclHold:
    """Keeps a program from going cold, or from being discarded, until it is let go; see `Vcl.hold`."""

    __slots__ = ("_vcl", "keeps_warm", "why")

    def __init__(self, vcl: Vcl, why: str, keeps_warm: bool) -> None:
        self._vcl = vcl
        self.why = why
        self.keeps_warm = keeps_warm

    def release(self) -> None:
        """Let go, once; from any thread."""
        self._vcl._let_go(self)


class Vcl:
    """A program in memory; see the module text."""

    def __init__(
        self, name: str, python_source: str, host: VclHost, labels: Callable[[str], Vcl] | None = None
    ) -> None:
        self.name = name
        self.host = host
        self.state = "auto"
        self.is_warm = False
        self._is_loaded = False
        self.is_resting = True  # cold, or to become so as soon as may be
        self.busy = 0
        self._holds: list[VclHold] = []
        self.discarded = False
        self.retired = False  # nobody may start to use it any more; under the lock
        self.label_count = 0
        self.default_director: Director | None = None
        self.backends: dict[str, Director] = {}
        self.event_privs: dict[Hashable, PrivateData] = {}
        self.lock = make_lock("vcl")
        self.labels = _Labels(labels)
        self._directors: list[Director] = []  # those of VMODs too
        self.module = Module(f"vcl {name}", module_name(name), python_source)
        self.syntax = self.module.syntax
        self.references = self.module.references
        self.default_probe = self.module.default_probe
        self._methods = self.module.methods
        self._traced: dict[str, Method] | None = None
        self._always_traced = self.module.writes_trace
        self.fixed: dict[str, Fixed] = {}
        if not self._always_traced:
            self.fixed = {method: Fixed(method, action) for method, action in self.module.fixed.items()}
        self.vmods = [
            VmodInUse(vmod, entry(self.module.names, f"vmod_{alias}", ModuleType))
            for alias, vmod, _listens in self.module.vmods
        ]

    # -- running --------------------------------------------------------------------------------------------------

    def run(self, method: str, ctx: Ctx) -> str:
        """Run a built-in subroutine and say which action it returned; failures are logged and are ``fail``."""
        ctx.method = method
        log = ctx.vsl
        assert log is not None  # methods that tasks run have one
        log.put(_VCL_CALL, _METHOD_TEXT[method])
        function = (self._traced_methods() if ctx.trace or self._always_traced else self._methods)[method]
        try:
            action = function(ctx) or ctx.handling
        except VclFailure as failure:
            action = self._failed(ctx, str(failure))
        except RegexMatchError as fault:
            action = self._failed(ctx, f"Regexp matching failed: {fault}")
        except Exception as error:
            # a defect of a VMOD or of ours: this request fails, with all there is to know in its log
            action = self._failed(ctx, f"{type(error).__name__}: {error}")
            for line in traceback.format_exc().splitlines():
                log.put(_ERROR, line)
        assert action is not None
        log.put(_VCL_RETURN, action)
        return action

    @staticmethod
    def _failed(ctx: Ctx, text: str) -> str:
        ctx.failure = text
        ctx.log(_VCL_ERROR, text)
        return "fail"

    def _traced_methods(self) -> dict[str, Method]:
        traced = self._traced
        if traced is None:
            with self.lock:
                if self._traced is None:
                    self._traced = self.module.traced_methods()
                traced = self._traced
        return traced

    # -- life -----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Make backends and objects and run vcl_init; on failure everything is undone.

        :raises VclLoadError: with the messages for the CLI
        """
        ctx = Ctx.for_cli(self)
        ctx.method = "init"
        try:
            self._make_backends()
            self._event(ctx, "load")
            action = self._methods["init"](ctx) or ctx.handling
            if action != "ok":
                raise VclFailure(f"vcl_init returned {action}")
            for name, code in self.module.objects:
                if self.module.names[code] is None:
                    raise VclFailure(f"Object {name} not initialized")
            end_private(self.event_privs)  # which may fail as vcl_init itself may
            self._is_loaded = True
        except Exception as error:
            ctx.log(_VCL_ERROR, str(error) if isinstance(error, VclFailure) else f"{type(error).__name__}: {error}")
            messages = "\n".join(ctx.messages or ())
            text = f'VCL "{self.name}" Failed initialization\nMessage:\n\t{messages}\n'
            self.discard()
            raise VclLoadError(text) from error
        finally:
            end_private(self.event_privs)

    def _make_backends(self) -> None:
        made: dict[str, Director | None] = {}
        for code, spec, via in self.module.backends:
            director = None if spec.none else self.host.new_backend(self, spec, made[via] if via else None)
            made[code] = director
            self.module.names[code] = director
            if director is not None:
                self.backends[spec.vcl_name] = director
        self.default_director = made.get(self.module.default_backend or "")

    def _event(self, ctx: Ctx, event: str) -> None:
        """Tell the VMODs; the last loaded is the first to hear of an end."""
        vmods, names = self.module.vmods, self.module.names
        for alias, _name, listens in vmods if event in ("load", "warm") else reversed(vmods):
            if listens:
                vmod = entry(names, f"vmod_{alias}", ModuleType)
                vmod.vmod_event(ctx, entry(names, f"priv_vcl_{alias}", PrivateData), event)

    def add_director(self, director: Director) -> None:
        """A director made by a VMOD: shown by backend.list, told of temperature, released at the end.

        :raises VclFailure: the program is cooling. On a cold one nothing may be made any more: that is a panic.
        """
        if self.temperature == "cooling":
            raise VclFailure("Dynamic backends cannot be added while the VCL is cooling")
        invariant(self.temperature != "cold", "Dynamic Backends can only be added to warm VCLs")
        with self.lock:
            self._directors.append(director)
        if self.is_warm:
            director.warm()

    def remove_director(self, director: Director) -> None:
        with self.lock:
            if director in self._directors:
                self._directors.remove(director)

    def directors(self) -> list[Director]:
        """All backends and directors, in order of their making."""
        with self.lock:
            return [*self.backends.values(), *self._directors]

    def warm(self) -> None:
        """Get ready to serve: VMODs hear of it, backends start their probes.

        :raises VclLoadError: a VMOD refused, and the program is cold again; or is not done with the last cooling
        """
        if self.is_warm:
            self.is_resting = False
            return
        if self._holds:
            with self.lock:
                waiting = "".join(f"\n\t- {hold.why}" for hold in self._holds)
            raise VclLoadError(f"VCL {self.name} is waiting for:{waiting}")
        ctx = Ctx.for_cli(self)
        directors = self.directors()  # those that VMODs add from here on are warm at once
        self.is_warm = True
        try:
            self._event(ctx, "warm")
        except VclFailure as failure:
            self.is_warm = False
            self._event(ctx, "cold")
            ctx.log(_VCL_ERROR, str(failure))
            raise VclLoadError("\n".join(ctx.messages or ())) from failure
        finally:
            end_private(self.event_privs)
        self.is_resting = False
        for director in directors:
            director.warm()

    def cool(self) -> None:
        """Rest: probes stop, idle connections go."""
        if not self.is_warm:
            return
        self.is_warm = False
        for director in self.directors():
            director.cool()
        self._event(Ctx.for_cli(self), "cold")
        end_private(self.event_privs)

    def rest(self) -> None:
        """Go cold as soon as no task uses it; to be called again until it `is_cold`."""
        self.is_resting = True
        if not self.busy:
            self.cool()

    def hold(self, why: str, keeps_warm: bool = False) -> VclHold:
        """For VMODs with work of their own that uses the program: it is not discarded before they are done.

        :param keeps_warm: it does not even become cold
        """
        hold = VclHold(self, why, keeps_warm)
        with self.lock:
            self._holds.append(hold)
            self.busy += keeps_warm
        return hold

    def _let_go(self, hold: VclHold) -> None:
        with self.lock:
            self._holds.remove(hold)
            self.busy -= hold.keeps_warm

    @property
    def is_cold(self) -> bool:
        return not self.is_warm and not self._holds

    def discard(self) -> None:
        """The end: vcl_fini runs, objects and backends go. Nobody may use the program any more."""
        if self.discarded:
            return
        self.discarded = True
        self.cool()
        ctx = Ctx.for_cli(self)
        ctx.messages = None  # nobody waits for an answer: failures go to the log
        ctx.method = "fini"
        try:
            self._methods["fini"](ctx)
            end_private(self.event_privs)
        except VclFailure as error:  # the program is going anyway
            ctx.log(_VCL_ERROR, str(error))
            ctx.log(_VCL_ERROR, "VRT_fail() from vcl_fini{} has no effect")
        names = self.module.names
        for _name, code in reversed(self.module.objects):
            finish = getattr(names[code], "vmod_fini", None)
            if finish is not None:
                finish(ctx)
        self._event(ctx, "discard")
        end_private(self.event_privs)
        privates: dict[Hashable, PrivateData] = {
            key: value for key, value in names.items() if isinstance(value, PrivateData)
        }
        end_private(privates)
        for director in self.directors():
            director.release()
        self.host.forget(self)
        # what it made would live until the garbage collector looks
        self.default_director = None
        self.backends.clear()
        self._directors.clear()
        self._methods = {}
        self._traced = None
        self.fixed = {}
        self.module.clear()

    # -- who uses it ----------------------------------------------------------------------------------------------

    # each request takes and gives back: acquire and release cost less than half of a with statement

    def take(self) -> bool:
        """A task starts to use it; False: it is being discarded."""
        lock = self.lock
        lock.acquire()
        taken = not self.retired
        if taken:
            self.busy += 1
        lock.release()
        return taken

    def retire(self) -> bool:
        """Let no task start to use it any more; False: there still is one that does, or it cannot go cold yet."""
        with self.lock:
            if self.busy:
                return False
            self.retired = True
        self.cool()
        return self.is_cold

    def ref(self) -> None:
        """One who uses it lends it to another task."""
        with self.lock:
            self.busy += 1

    def rel(self) -> None:
        """A task is done with it."""
        lock = self.lock
        lock.acquire()
        self.busy -= 1
        lock.release()

    # -- showing --------------------------------------------------------------------------------------------------

    @property
    def temperature(self) -> str:
        if not self._is_loaded:
            return "init"
        if self.is_warm:
            return "busy" if self.is_resting else "warm"
        return "cooling" if self._holds else "cold"


class _Labels:
    """Labels by name, looked up when they are used: a label may be pointed elsewhere at any time."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[str], Vcl] | None) -> None:
        self._find = find

    def __getitem__(self, name: str) -> Vcl:
        if self._find is None:
            raise VclFailure(f"No VCL label {name}")
        return self._find(name)


def load(name: str, python_source: str, host: VclHost, labels: Callable[[str], Vcl] | None = None) -> Vcl:
    """Load a compiled program: cold, with its backends and objects made and vcl_init run; raises `VclLoadError`."""
    set_limits(params.pcre2_match_limit, params.pcre2_depth_limit)
    try:
        vcl = Vcl(name, python_source, host, labels)
    except Exception as error:
        raise VclLoadError(f"Cannot load {name}: {type(error).__name__}: {error}\n") from error
    vcl.load()
    return vcl
