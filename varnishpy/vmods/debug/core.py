"""VMOD debug: exercises the VMOD interface for test scripts. Not for production.

It has what scripts that run on other machines can rely on; what looks into the memory of a C process is not here.
"""

from __future__ import annotations

import hashlib
import inspect
import ipaddress
import os
import re
import socket
import time
from typing import Any, Literal

from varnishpy.base import clock
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
    STRANDS,
    STRING,
    SUB,
    TIME,
    Ctx,
    PrivateData,
    SockAddr,
    VclFailure,
    VclSub,
    restrict,
)
from varnishpy.vmods.debug.filters import DELIVERY, FETCH

_DEBUG = int(Tag.Debug)
_AUTHORS = {"phk": "Poul-Henning", "des": "Dag-Erling", "kristian": "Kristian", "mithrandir": "Tollef"}


def author(
    ctx: Ctx,
    person: Literal["phk", "des", "kristian", "mithrandir"] = "phk",
    someone: Literal["phk", "slink", "geoff"] = "phk",
) -> STRING:
    return _AUTHORS[person]


# -- private data ------------------------------------------------------------------------------------------------------


def test_priv_call(ctx: Ctx, priv: PRIV_CALL) -> None:
    priv.setdefault("text", "BAR")


def test_priv_vcl(ctx: Ctx, priv: PRIV_VCL) -> None:
    priv.setdefault("text", "FOO")


def test_priv_task_get(ctx: Ctx) -> None:
    """Asking for data that nobody stored gives none."""


def test_priv_task(ctx: Ctx, priv: PRIV_TASK, s: STRING = "") -> STRING:
    if not s:
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(priv.get('text')):#x} (exists)")
    elif "text" not in priv:
        priv["text"] = s
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(s):#x} (new)")
    else:
        priv["text"] += " " + s
        ctx.log(_DEBUG, f"test_priv_task({id(priv):#x}) = {id(priv['text']):#x} (update)")
    text: str | None = priv.get("text")
    return text


def test_priv_top(ctx: Ctx, priv: PRIV_TOP, s: STRING) -> STRING:
    text: str | None = priv.setdefault("text", s)
    return text


def priv_task_with_option(ctx: Ctx, priv: PRIV_TASK, opt: STRING = NOT_GIVEN) -> STRING:
    if "option" not in priv and opt is not NOT_GIVEN:
        priv["option"] = opt
    text: str | None = priv.get("option")
    return text


def priv_perf(ctx: Ctx, size: INT, rounds: INT = 10000) -> DURATION:
    """How long it takes to find private data."""
    start = clock.mono()
    for number in range(rounds):
        runtime.priv_task(ctx, f"debug.perf.{number % max(size, 1)}")
    return clock.mono() - start


def fail_task_fini(ctx: Ctx) -> None:
    priv = runtime.priv_task(ctx, "debug.fini")

    def end(_private: PrivateData) -> None:
        raise VclFailure("thou shalt not rollet back")

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
    acl: ACL = NOT_GIVEN,
    backend: BACKEND = NOT_GIVEN,
    blob: BLOB = NOT_GIVEN,
    bool_: BOOL = NOT_GIVEN,
    bytes_: BYTES = NOT_GIVEN,
    duration: DURATION = NOT_GIVEN,
    header: HEADER = NOT_GIVEN,
    int_: INT = NOT_GIVEN,
    ip: IP = NOT_GIVEN,
    probe: PROBE = NOT_GIVEN,
    real: REAL = NOT_GIVEN,
    string: STRING = NOT_GIVEN,
    time: TIME = NOT_GIVEN,
) -> STRING:
    given = string is not NOT_GIVEN
    return f"{one} {two:g} {three} {comma} {four} {int(given)} {string if given else '<undef>'}"


def test_probe(ctx: Ctx, probe: PROBE, same: PROBE = None) -> None:
    if same is not None and probe != same:
        raise VclFailure("probes differ")


def just_return_regex(ctx: Ctx, r: REGEX) -> REGEX:
    return r


def vre_limit(ctx: Ctx) -> INT:
    return int(params.pcre2_match_limit)


def fail(ctx: Ctx) -> None:
    raise VclFailure("Forced failure")


def fail2(ctx: Ctx) -> BOOL:
    raise VclFailure("Forced failure")


# -- strings -----------------------------------------------------------------------------------------------------------


def concatenate(ctx: Ctx, s: STRANDS) -> STRING:
    """Without room for it there is no string, and the workspace is marked; VCL does not fail."""
    return s if ctx.ws is None or ctx.ws.account(len(s) + 1) else None


def collect(ctx: Ctx, s: STRANDS) -> STRING:
    return ctx.account(s)


def return_strands(ctx: Ctx, strand: STRANDS) -> STRING:
    return strand


def return_null_strands(ctx: Ctx) -> STRING:
    return None


def is_null_strands(ctx: Ctx, strand: STRING) -> BOOL:
    return strand is None


def sethdr(ctx: Ctx, header: HEADER, s: STRANDS) -> None:
    if header.where in ("obj", "obj_stale"):
        raise VclFailure("debug.sethdr(): header argument cannot be used here")
    header.set(ctx, s)


def validhdr(ctx: Ctx, s: STRANDS) -> BOOL:
    return re.search(r"[\x00-\x08\x0a-\x1f\x7f]", s) is None


def re_quote(ctx: Ctx, s: STRING) -> STRING:
    """As PCRE2 takes it literally."""
    return "\\Q" + (s or "").replace("\\E", "\\\\EE\\Q") + "\\E" if s else s


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
        priv.setdefault("text", "BAR")

    def test_priv_vcl(self, ctx: Ctx, priv: PRIV_VCL) -> None:
        priv.setdefault("text", "FOO")

    def test_priv_task(self, ctx: Ctx, s: STRING = "") -> STRING:
        return self._remember(ctx, runtime.priv_task(ctx, "debug"), "task", s)

    @restrict("client")
    def test_priv_top(self, ctx: Ctx, s: STRING = "") -> STRING:
        return self._remember(ctx, runtime.priv_top(ctx, "debug"), "top", s)

    def _remember(self, ctx: Ctx, priv: PrivateData, scope: str, text: STRING) -> STRING:
        key = ("obj", self._vcl_name)
        known: str | None = priv.get(key)
        label = f"{self._vcl_name}.priv_{scope}()"
        if not text:
            if known is None:
                ctx.log(_DEBUG, f"{label} = NULL")
                return ""
            ctx.log(_DEBUG, f'{label} = {id(priv):#x} .priv = {id(known):#x} ("{known}")')
            return known
        state = "new" if known is None else "update"
        ctx.log(_DEBUG, f'{label} = {id(priv):#x} .priv = {id(text):#x} ("{text}") [{state}]')
        priv[key] = text
        return text


class obj_opt:
    def __init__(
        self,
        ctx: Ctx,
        vcl_name: str,
        priv_call: PRIV_CALL,
        priv_vcl: PRIV_VCL,
        priv_task: PRIV_TASK,
        s: STRING = NOT_GIVEN,
        b: BOOL = NOT_GIVEN,
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
        s: STRING = NOT_GIVEN,
        b: BOOL = NOT_GIVEN,
    ) -> STRING:
        text, flag = (self._s if s is NOT_GIVEN else s), (self._b if b is NOT_GIVEN else b)
        shown = "*undef*" if text is NOT_GIVEN else text
        return f"obj {self._name} obj_s {shown} obj_b {'*undef*' if flag is NOT_GIVEN else str(flag).lower()}"


# -- subs --------------------------------------------------------------------------------------------------------------


def check_call(ctx: Ctx, sub: SUB) -> STRING:
    return sub.check(ctx)


def call(ctx: Ctx, sub: SUB) -> None:
    sub.call(ctx)


_remembered: list[VclSub] = []


def bad_memory(ctx: Ctx, sub: SUB) -> None:
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


def null_acl(ctx: Ctx) -> ACL:
    return None


def acl(ctx: Ctx, acl: ACL) -> ACL:
    return acl


def match_acl(ctx: Ctx, acl: ACL, ip: IP) -> BOOL:
    return runtime.acl_match(ctx, acl, ip)


def _range(ip0: SockAddr, ip1: SockAddr, step: int) -> range:
    first, last = int(ipaddress.ip_address(ip0.ip)), int(ipaddress.ip_address(ip1.ip))
    return range(first, last + 1, step)


def _at(number: int, like: SockAddr) -> SockAddr:
    return SockAddr(str(ipaddress.IPv6Address(number) if ":" in like.ip else ipaddress.IPv4Address(number)), 0)


def sweep_acl(ctx: Ctx, acl: ACL, ip0: IP, ip1: IP, step: INT = 1) -> BLOB:
    """A bit for every address, and a digest of them all: two ACLs that differ nowhere give the same."""
    if acl is None or ip0 is None or ip1 is None or step < 1:
        raise VclFailure("debug.sweep_acl(): bad arguments")
    digest = hashlib.sha256()
    for number in _range(ip0, ip1, step):
        digest.update(b"\1" if acl.match(ctx, _at(number, ip0)) else b"\0")
    return digest.digest()


def time_acl(ctx: Ctx, acl: ACL, ip0: IP, ip1: IP, step: INT = 1, rounds: INT = 1000) -> DURATION:
    """Seconds that one match takes."""
    if acl is None or ip0 is None or ip1 is None or step < 1:
        raise VclFailure("debug.time_acl(): bad arguments")
    addresses = [_at(number, ip0) for number in _range(ip0, ip1, step)]
    start = clock.mono()
    for _ in range(rounds):
        for address in addresses:
            acl.match(ctx, address)
    return (clock.mono() - start) / max(1, rounds * len(addresses))


class aclobj:
    def __init__(self, ctx: Ctx, vcl_name: str, acl: ACL) -> None:
        self._acl = acl

    def get(self, ctx: Ctx) -> ACL:
        return self._acl


_stored: list[SockAddr | None] = [None]


def store_ip(ctx: Ctx, ip: IP) -> None:
    _stored[0] = ip


def get_ip(ctx: Ctx) -> IP:
    return _stored[0]


@restrict("client backend")
def client_ip(ctx: Ctx) -> STRING:
    return str(ctx.sess.client_ip.ip)


@restrict("client backend")
def client_port(ctx: Ctx) -> STRING:
    return str(ctx.sess.client_ip.port)


@restrict("client backend")
def sndbuf(ctx: Ctx, sndbuf: BYTES) -> None:
    """Shrink the send buffer of the connection, so that a test fills it."""
    owner = ctx.sess if ctx.bo is None else ctx.bo.backend_conn
    if owner is None:
        raise VclFailure("No backend connection")
    with socket.socket(fileno=os.dup(owner.fd)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        size = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ctx.log(_DEBUG, f"SO_SNDBUF fd={owner.fd} old={sndbuf} new={sndbuf} actual={size}")


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


def vcl_discard_delay(ctx: Ctx, priv: PRIV_VCL, delay: DURATION) -> None:
    priv["delay"] = delay


def vmod_event(ctx: Ctx, priv: dict[Any, Any], event: str) -> None:
    """Tell the log of it; two parameters set to 42 make it refuse."""
    if event == "load":
        if params.nuke_limit == 42:
            raise VclFailure("nuke_limit is not the answer.")
        ctx.vcl.host.add_filters(ctx.vcl, FETCH, DELIVERY)
    elif event == "warm":
        ctx.log(_DEBUG, f"{ctx.vcl.name}: VCL_EVENT_WARM")
        if params.max_esi_depth == 42:
            raise VclFailure("max_esi_depth is not the answer.")
    elif event == "cold":
        ctx.log(_DEBUG, f"{ctx.vcl.name}: VCL_EVENT_COLD")
    elif priv.get("delay"):
        time.sleep(priv["delay"])
