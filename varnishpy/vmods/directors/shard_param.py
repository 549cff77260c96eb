"""Parameters of the shard director: of the director, as objects of their own, and for a single task.

They form chains: what one does not say, the next one behind it does. A task has its own in front of a director's
(``.backend(resolve=LAZY, ...)``) and in front of an object's (``.set()`` in a backend task).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final, Literal

from varnishpy.base.panic import present
from varnishpy.log.tag_numbers import ERROR
from varnishpy.vcl import runtime
from varnishpy.vmods.api import BLOB, BOOL, INT, NOT_GIVEN, REAL, STRING, Ctx, NotGiven, VclFailure, restrict
from varnishpy.vmods.directors.simple import hash_text

if TYPE_CHECKING:
    from varnishpy.vmods.directors.shard import _Shard

By = Literal["HASH", "URL", "KEY", "BLOB"]
Healthy = Literal["CHOSEN", "IGNORE", "ALL"]


@dataclass(slots=True)
class Parameters:
    """``None`` is what was not said; ``key`` belongs to ``by``."""

    by: str | None = None
    key: int | None = None
    alt: int | None = None
    warmup: float | None = None
    rampup: bool | None = None
    healthy: str | None = None

    def over(self, base: Parameters) -> Parameters:
        """These, and where they say nothing, others."""
        said = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        if self.by is not None:
            said["key"] = self.key
        return replace(base, **said)


_BUILTIN: Final = Parameters("HASH", None, 0, -1.0, True, "CHOSEN")


class ParametersBlob(bytes):
    """What ``.use()`` gives: opaque to VCL."""

    parameters: shard_param


@dataclass(slots=True)
class State:
    """Parameters of a task, in front of those of an object."""

    own: Parameters = field(default_factory=Parameters)
    base: shard_param | None = None

    def complete(self, ctx: Ctx) -> Parameters:
        return self.own.over(_BUILTIN if self.base is None else current(self.base, ctx).over(_BUILTIN))


def director_state(director: _Shard, ctx: Ctx, lasting: bool = True) -> State:
    """What the task has said of a director.

    :param lasting: it is going to say more; else the caller gets a state of its own in front of the task's
    """
    privates = runtime.priv_task(ctx, "directors")
    key = ("shard", director.vcl_name)
    state = privates.find(key, State)
    if lasting:
        if state is None:
            privates[key] = state = State(base=director.parameters)
        return state
    if state is None:
        return State(base=director.parameters)
    return State(base=_Frozen(state))


def director_parameters(director: _Shard, ctx: Ctx) -> Parameters:
    """What holds for a director that is resolved, in a task or (a health check of the CLI) outside of any."""
    return director_state(director, ctx, lasting=False).complete(ctx)


def arguments(
    ctx: Ctx,
    name: str,
    function: str,
    by: By | NotGiven,
    key: INT | NotGiven,
    key_blob: BLOB | NotGiven,
    alt: INT | NotGiven,
    warmup: REAL | NotGiven,
    rampup: BOOL | NotGiven,
    healthy: Healthy | NotGiven,
) -> Parameters:
    """Parameters from the optional arguments of a function. :raises VclFailure: they contradict each other"""
    who = f"vmod_directors: shard {name}: "
    kind = "HASH" if by is NOT_GIVEN else by
    number = None
    if kind == "KEY":
        if key is NOT_GIVEN:
            raise VclFailure(f"{who}{function} missing key argument with by={kind}")
        if not 0 <= key <= 0xFFFFFFFF:
            raise VclFailure(f"{who}{function} invalid key argument {key} with by={kind}")
        number = key
    elif kind == "BLOB":
        if key_blob is NOT_GIVEN:
            raise VclFailure(f"{who}{function} missing key_blob argument with by={kind}")
        if not key_blob:
            ctx.log(ERROR, f"{who}{function} by=BLOB but no or empty key_blob - using key 0")
        number = int.from_bytes((key_blob or b"")[:4], "big")
    elif key is not NOT_GIVEN or key_blob is not NOT_GIVEN:
        raise VclFailure(f"{who}{function} key and key_blob arguments are invalid with by={kind}")
    if alt is not NOT_GIVEN and alt < 0:
        raise VclFailure(f"{who}{function} invalid alt argument {alt}")
    if warmup is not NOT_GIVEN and warmup != -1 and not 0 <= warmup <= 1:
        raise VclFailure(f"{who}{function} invalid warmup argument {warmup:f}")
    return Parameters(
        None if by is NOT_GIVEN else by,
        number,
        None if alt is NOT_GIVEN else alt,
        None if warmup is NOT_GIVEN else warmup,
        None if rampup is NOT_GIVEN else rampup,
        None if healthy is NOT_GIVEN else healthy,
    )


def key_of(ctx: Ctx, wanted: Parameters) -> int:
    """The key of complete parameters. Clients have no hash yet: their URL serves instead."""
    if wanted.by in ("KEY", "BLOB"):
        return wanted.key or 0
    if wanted.by == "HASH" and ctx.bo is not None:
        return int.from_bytes(ctx.bo.digest[:4], "big")
    message = ctx.http_req if ctx.http_req is not None else ctx.http_bereq
    return hash_text(present(message, "ctx->http_bereq").url)


class shard_param:
    """Set in vcl_init for all, in a backend task for that task."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self.vcl_name = vcl_name
        self.defaults = Parameters()

    def _store(self, ctx: Ctx, function: str, parameters: Parameters) -> None:
        if ctx.task() is None:
            self.defaults = parameters
        elif ctx.bo is None:
            raise VclFailure(
                f"vmod_directors: shard {self.vcl_name}: {function} may only be used "
                "in vcl_init and in backend/pipe context"
            )
        else:
            runtime.priv_task(ctx, "directors")[("shard_param", self.vcl_name)] = parameters

    def clear(self, ctx: Ctx) -> None:
        self._store(ctx, "shard_param.clear()", Parameters())

    def set(
        self,
        ctx: Ctx,
        by: By | NotGiven = NOT_GIVEN,
        key: INT | NotGiven = NOT_GIVEN,
        key_blob: BLOB | NotGiven = NOT_GIVEN,
        alt: INT | NotGiven = NOT_GIVEN,
        warmup: REAL | NotGiven = NOT_GIVEN,
        rampup: BOOL | NotGiven = NOT_GIVEN,
        healthy: Healthy | NotGiven = NOT_GIVEN,
    ) -> None:
        function = "shard_param.set()"
        given = arguments(ctx, self.vcl_name, function, by, key, key_blob, alt, warmup, rampup, healthy)
        self._store(ctx, function, given)

    def _read(self, ctx: Ctx) -> Parameters:
        return current(self, ctx).over(_BUILTIN)

    def get_by(self, ctx: Ctx) -> STRING:
        return self._read(ctx).by

    def get_key(self, ctx: Ctx) -> INT:
        return key_of(ctx, self._read(ctx))

    def get_alt(self, ctx: Ctx) -> INT:
        return self._read(ctx).alt or 0

    def get_warmup(self, ctx: Ctx) -> REAL:
        return self._read(ctx).warmup or 0.0

    def get_rampup(self, ctx: Ctx) -> BOOL:
        return bool(self._read(ctx).rampup)

    def get_healthy(self, ctx: Ctx) -> STRING:
        return self._read(ctx).healthy

    @restrict("vcl_pipe backend housekeeping")
    def use(self, ctx: Ctx) -> BLOB:
        blob = ParametersBlob()
        blob.parameters = self
        return blob


class _Frozen(shard_param):
    """A task's state as the base of another."""

    def __init__(self, state: State) -> None:
        self.vcl_name = ""
        self.state = state


def current(param: shard_param, ctx: Ctx) -> Parameters:
    """What holds of an object's parameters in this task."""
    if isinstance(param, _Frozen):
        return param.state.complete(ctx)
    if ctx.task() is None:
        return param.defaults
    own = runtime.priv_task(ctx, "directors").find(("shard_param", param.vcl_name), Parameters)
    return param.defaults if own is None else own.over(param.defaults)
