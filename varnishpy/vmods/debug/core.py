"""VMOD debug: exercises the VMOD interface for test scripts. Not for production.

It has what scripts that run on other machines can rely on; what looks into the memory of a C process is not here.
"""

from __future__ import annotations

import inspect
import os
import re
import socket
from typing import Literal

from varnishpy.base import clock, endpoint
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.vcl import runtime
from varnishpy.vmods.api import (
    ACL,
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    HEADER,
    HTTP,
    INT,
    IP,
    NOT_GIVEN,
    PRIV_CALL,
    PRIV_TASK,
    PRIV_TOP,
    PRIV_VCL,
    PROBE,
    REAL,
    REGEX,
    STEVEDORE,
    STRANDS,
    STRING,
    SUB,
    TIME,
    Ctx,
    NotGiven,
    PrivateData,
    SockAddr,
    VclFailure,
    VclSub,
    restrict,
)

_DEBUG = int(Tag.Debug)
_INT_MAX = 2**31 - 1  # what setsockopt takes
_AUTHORS = {"phk": "Poul-Henning", "des": "Dag-Erling", "kristian": "Kristian", "mithrandir": "Tollef"}


def author(
    ctx: Ctx,
    person: Literal["phk", "des", "kristian", "mithrandir"] = "phk",
    someone: Literal["phk", "slink", "geoff"] = "phk",
) -> STRING:
    return _AUTHORS[person]


# -- private data ------------------------------------------------------------------------------------------------------


def _tell_end(ctx: Ctx, priv: PrivateData, what: str, key: str) -> None:
    """Have the log say when the data goes; where there is no transaction, that of the process does."""

    def end(private: PrivateData) -> None:
        ctx.log(_DEBUG, f"{what}_fini({id(private.get(key)):#x})")

    priv.on_end = end


def test_priv_call(ctx: Ctx, priv: PRIV_CALL) -> None:
    if "text" not in priv:
        priv["text"] = "BAR"
        _tell_end(Ctx.for_cli(ctx.vcl), priv, "priv_call", "text")


def test_priv_vcl(ctx: Ctx, priv: PRIV_VCL) -> None:
    """Data of the VCL is there from its load event on."""
    if priv.get("text") != "FOO":
        raise VclFailure("debug.test_priv_vcl(): no data of this VCL")


def test_priv_task_get(ctx: Ctx) -> None:
    """Asking for data that nobody stored gives none."""
    task = ctx.task()
    if task is not None and task.privs and (ctx.vcl.name, None) in task.privs:
        raise VclFailure("debug.test_priv_task_get(): data that nobody stored")


def test_priv_task(ctx: Ctx, priv: PRIV_TASK, s: STRING = "") -> STRING:
    if not s:
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(priv.get('text')):#x} (exists)")
    elif "text" not in priv:
        priv["text"] = s
        _tell_end(ctx, priv, "priv_task", "text")
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(s):#x} (new)")
    else:
        priv["text"] = f"{priv['text']} {s}"
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(priv['text']):#x} (update)")
    return priv.find("text", str)


def test_priv_top(ctx: Ctx, priv: PRIV_TOP, s: STRING, /) -> STRING:
    if "text" not in priv:
        priv["text"] = s
        _tell_end(ctx, priv, "priv_top", "text")
    return priv.find("text", str)


def priv_task_with_option(ctx: Ctx, priv: PRIV_TASK, opt: STRING | NotGiven = NOT_GIVEN) -> STRING:
    if "option" not in priv and opt is not NOT_GIVEN:
        priv["option"] = opt
    return priv.find("option", str)


def priv_perf(ctx: Ctx, size: INT, rounds: INT = 10000) -> DURATION:
    """How long it takes to find one of so many private data: nanoseconds, in the place of seconds."""
    if size < 1 or rounds < 1:
        return 0.0
    keys = [f"debug.perf.{number}" for number in range(size)]
    start = clock.mono()
    for _ in range(rounds):
        for key in keys:
            runtime.priv_task(ctx, key)
    each = (clock.mono() - start) * 1e9 / (size * rounds)
    ctx.log(_DEBUG, f"perf size {size} rounds {rounds} time {each:.1f}ns check 0")
    return each


def fail_task_fini(ctx: Ctx) -> None:
    priv = runtime.priv_task(ctx, "debug.fini")

    def end(_private: PrivateData) -> None:
        raise VclFailure("thou shalt not fini")

    priv.on_end = end


def ok_task_fini(ctx: Ctx) -> None:
    runtime.priv_task(ctx, "debug.fini").on_end = None


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_default_bool(ctx: Ctx, test: BOOL = True) -> None:
    """Takes a default."""


def argtest(
    ctx: Ctx,
    one: STRING,
    two: REAL = 2,
    three: STRING = "3",
    comma: STRING = ",",
    four: INT = 4,
    acl: ACL | NotGiven = NOT_GIVEN,
    backend: BACKEND | NotGiven = NOT_GIVEN,
    blob: BLOB | NotGiven = NOT_GIVEN,
    bool_: BOOL | NotGiven = NOT_GIVEN,
    bytes_: BYTES | NotGiven = NOT_GIVEN,
    duration: DURATION | NotGiven = NOT_GIVEN,
    header: HEADER | NotGiven = NOT_GIVEN,
    http: HTTP | NotGiven = NOT_GIVEN,
    int_: INT | NotGiven = NOT_GIVEN,
    ip: IP | NotGiven = NOT_GIVEN,
    probe: PROBE | NotGiven = NOT_GIVEN,
    real: REAL | NotGiven = NOT_GIVEN,
    regex: REGEX | NotGiven = NOT_GIVEN,
    stevedore: STEVEDORE | NotGiven = NOT_GIVEN,
    strands: STRANDS | NotGiven = NOT_GIVEN,
    string: STRING | NotGiven = NOT_GIVEN,
    sub: SUB | NotGiven = NOT_GIVEN,
    time: TIME | NotGiven = NOT_GIVEN,
) -> STRING:
    given = string is not NOT_GIVEN
    return f"{one} {two:g} {three} {comma} {four} {int(given)} {string if given else '<undef>'}"


def test_probe(ctx: Ctx, probe: PROBE, same: PROBE = None) -> None:
    if same is not None and probe != same:
        raise VclFailure("probes differ")


def just_return_regex(ctx: Ctx, r: REGEX, /) -> REGEX:
    return r


def vre_limit(ctx: Ctx) -> INT:
    return int(params.pcre2_match_limit)


def fail(ctx: Ctx) -> None:
    raise VclFailure("Forced failure")


def fail2(ctx: Ctx) -> BOOL:
    raise VclFailure("Forced failure")


# -- strings -----------------------------------------------------------------------------------------------------------


def concatenate(ctx: Ctx, s: STRANDS, /) -> STRING:
    """Without room for it there is no string, and the workspace is marked; VCL does not fail."""
    return s if ctx.ws is None or ctx.ws.account(len(s) + 1) else None


def collect(ctx: Ctx, s: STRANDS, /) -> STRING:
    return ctx.account(s)


def return_strands(ctx: Ctx, strand: STRANDS) -> STRING:
    return strand


def return_null_strands(ctx: Ctx) -> STRING:
    return None


def is_null_strands(ctx: Ctx, strand: STRING) -> BOOL:
    return strand is None


def sethdr(ctx: Ctx, header: HEADER, s: STRANDS, /) -> None:
    if header.where in ("obj", "obj_stale"):
        raise VclFailure("debug.sethdr(): header argument cannot be used here")
    header.set(ctx, s)


def validhdr(ctx: Ctx, s: STRANDS, /) -> BOOL:
    return re.search(r"[\x00-\x08\x0a-\x1f\x7f]", s) is None


def re_quote(ctx: Ctx, s: STRING, /) -> STRING:
    """As PCRE2 takes it literally."""
    if not s:
        return s
    text = "\\Q" + s.replace("\\E", "\\\\EE\\Q")
    return text.removesuffix("\\Q") if s.endswith("\\E") else text + "\\E"


class concat:
    def __init__(self, ctx: Ctx, vcl_name: str, s: STRANDS) -> None:
        self._text = s

    def get(self, ctx: Ctx) -> STRING:
        return self._text


# -- objects -----------------------------------------------------------------------------------------------------------


class obj:
    def __init__(
        self, ctx: Ctx, vcl_name: str, string: STRING = "default", number: Literal["one", "two", "three"] = "one"
    ) -> None:
        if string == "fail":
            raise VclFailure("failing as requested")
        self._vcl_name = vcl_name
        self._string = string
        self._number = number

    def enum(self, ctx: Ctx, who: Literal["phk", "des", "kristian", "mithrandir", "martin"]) -> None:
        if who != "martin":
            raise VclFailure(f"unexpected {who}")

    def obj(self, ctx: Ctx) -> None:
        """A method of the class's own name."""

    def string(self, ctx: Ctx) -> STRING:
        return self._string

    def number(self, ctx: Ctx) -> STRING:
        return self._number

    def foo(self, ctx: Ctx, why: STRING) -> STRING:
        return "BOO"

    def bar(self, ctx: Ctx, why: STRING) -> STRING:
        return "BOO"

    def date(self, ctx: Ctx) -> TIME:
        return 21.4

    def test_priv_call(self, ctx: Ctx, priv: PRIV_CALL) -> None:
        test_priv_call(ctx, priv)

    def test_priv_vcl(self, ctx: Ctx, priv: PRIV_VCL) -> None:
        test_priv_vcl(ctx, priv)

    def test_priv_task(self, ctx: Ctx, s: STRING = "") -> STRING:
        return self._remember(ctx, runtime.priv_task(ctx, ("debug.obj", self._vcl_name)), "task", s)

    @restrict("client")
    def test_priv_top(self, ctx: Ctx, s: STRING = "") -> STRING:
        return self._remember(ctx, runtime.priv_top(ctx, ("debug.obj", self._vcl_name)), "top", s)

    def _remember(self, ctx: Ctx, priv: PrivateData, scope: str, text: STRING) -> STRING:
        known = priv.find("text", str)
        label = f"{self._vcl_name}.priv_{scope}()"
        if not text:
            if known is None:
                ctx.log(_DEBUG, f"{label} = NULL")
                return ""
            ctx.log(_DEBUG, f'{label} = {id(priv):#x} .priv = {id(known):#x} ("{known}")')
            return known
        state = "new" if known is None else "update"
        ctx.log(_DEBUG, f'{label} = {id(priv):#x} .priv = {id(text):#x} ("{text}") [{state}]')
        if known is None:
            _tell_end(ctx, priv, f"obj_priv_{scope}", "text")
        priv["text"] = text
        return text


class obj_opt:
    def __init__(
        self,
        ctx: Ctx,
        vcl_name: str,
        priv_call: PRIV_CALL,
        priv_vcl: PRIV_VCL,
        priv_task: PRIV_TASK,
        s: STRING | NotGiven = NOT_GIVEN,
        b: BOOL | NotGiven = NOT_GIVEN,
    ) -> None:
        self._name = vcl_name
        self._s = s
        self._b = b

    def meth_opt(
        self,
        ctx: Ctx,
        priv_call: PRIV_CALL,
        priv_vcl: PRIV_VCL,
        priv_task: PRIV_TASK,
        s: STRING | NotGiven = NOT_GIVEN,
        b: BOOL | NotGiven = NOT_GIVEN,
    ) -> STRING:
        shown = [
            "*undef*" if value is NOT_GIVEN else str(value).lower() if isinstance(value, bool) else value
            for value in (self._s, self._b, s, b)
        ]
        return "obj {} obj_s {} obj_b {} met_s {} met_b {}".format(self._name, *shown)


# -- subs --------------------------------------------------------------------------------------------------------------


def check_call(ctx: Ctx, sub: SUB, /) -> STRING:
    return sub.check(ctx)


def call(ctx: Ctx, sub: SUB, /) -> None:
    sub.call(ctx)


_remembered: list[VclSub] = []


def bad_memory(ctx: Ctx, sub: SUB, /) -> None:
    _remembered[:] = [sub]


def total_recall(ctx: Ctx) -> SUB:
    return _remembered[0] if _remembered else None  # type: ignore[return-value]


class caller:
    def __init__(self, ctx: Ctx, vcl_name: str, sub: SUB) -> None:
        self._sub = sub

    def call(self, ctx: Ctx) -> None:
        self._sub.call(ctx)

    def xsub(self, ctx: Ctx) -> SUB:
        return self._sub


# -- addresses ---------------------------------------------------------------------------------------------------------


def store_ip(ctx: Ctx, ip: IP, /) -> None:
    runtime.priv_task(ctx, "debug.ip")["ip"] = ip


def get_ip(ctx: Ctx) -> IP:
    return runtime.priv_task(ctx, "debug.ip").find("ip", SockAddr)


def resolve_range(
    ctx: Ctx, addr: STRING, def_port: STRING | NotGiven = NOT_GIVEN, fail_port: STRING | NotGiven = NOT_GIVEN
) -> STRING:
    """What an address with a range of ports stands for; looking no further than at a port that is said to fail."""
    if addr is None:
        return "vmod-debug: s was NULL"
    found: list[str] = []
    try:
        default = "" if def_port is NOT_GIVEN else def_port or ""
        for single in endpoint.parse_address(addr, default, "-a").each_port():
            for _family, name in single.resolve(passive=True):
                ip, port = endpoint.split_name(name)
                if port == fail_port:
                    raise endpoint.EndpointError("bad port")
                found.append(f"{ip}:{port}")
    except endpoint.EndpointError as error:
        return ", ".join([*found, str(error)]) if found else f"Failed: {error}"
    return ", ".join(found)


@restrict("client backend")
def client_ip(ctx: Ctx) -> STRING:
    return ctx.session().client_ip.ip


@restrict("client backend")
def client_port(ctx: Ctx) -> STRING:
    return str(ctx.session().client_ip.port)


@restrict("client backend")
def sndbuf(ctx: Ctx, sndbuf: BYTES) -> None:
    """Shrink the send buffer of the connection, so that a test fills it."""
    owner = ctx.sess if ctx.bo is None else ctx.bo.backend_conn
    if owner is None:
        raise VclFailure("debug.sndbuf() called outside a transaction.")
    wanted = min(max(0, sndbuf), _INT_MAX)
    with socket.socket(fileno=os.dup(owner.fd)) as connection:
        before = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted)
        actual = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ctx.log(_DEBUG, f"SO_SNDBUF fd={owner.fd} old={before} new={wanted} actual={actual}")


# -- the rest ----------------------------------------------------------------------------------------------------------


def vsl_flush(ctx: Ctx) -> None:
    if ctx.vsl is not None:
        ctx.vsl.flush()


def log_strands(ctx: Ctx, prefix: STRING, subject: STRANDS, n: INT = 4) -> None:
    """The string as VCL put it together: one piece here."""
    shown = subject[: max(n, 0)] + ("..." if len(subject) > max(n, 0) else "")
    ctx.log(_DEBUG, f"{prefix or ''}[0]: (ws) {id(subject):#x} {shown}")


@restrict("client")
def stk(ctx: Ctx) -> BYTES:
    """Depth of the stack, in frames of Python."""
    return len(inspect.stack(0))
