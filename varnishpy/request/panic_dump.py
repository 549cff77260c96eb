"""Requests and fetches in the panic dump, in the shape that varnish-cli(7) ``panic.show`` has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.cache.objcore import OcFlag

if TYPE_CHECKING:
    from collections.abc import Hashable

    from varnishpy.backends.director import Director
    from varnishpy.base.dumptext import DumpText
    from varnishpy.cache.objcore import BusyObjectControl, ObjectCore
    from varnishpy.http.message import Message
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.request.request import Request
    from varnishpy.vcl.context import PrivateData
    from varnishpy.vcl.loader import Vcl

_REQUEST_FLAGS: Final = (
    "disable_esi", "hash_always_miss", "hash_ignore_busy", "hash_ignore_vary", "is_hit",
    "is_hitmiss", "is_hitpass", "res_esi", "res_pipe", "want100cont", "late100cont", "req_reset",
    "delivering", "contained",
)  # fmt: skip
_FETCH_FLAGS: Final = (
    "uncacheable", "is_bgfetch", "is_hitmiss", "is_hitpass", "was_304", "do_pass", "do_esi", "do_gzip",
    "do_gunzip", "do_stream", "director_open",
)  # fmt: skip


def dump_message(out: DumpText, name: str, message: Message) -> None:
    """The first line and the headers of a message."""

    def write(out: DumpText, message: Message) -> None:
        if message.failed:
            out.line("failed = true,")
        with out.block("hdrs"):
            words = (message.method, message.url, str(message.status or ""), message.reason, message.proto)
            for word in filter(None, words):
                out.line(f'"{word}",')
            for _, header, value in message.headers:
                out.line(f'"{header}: {value}",')

    out.struct(f"http[{name}]", message, write)


def dump_objcore(out: DumpText, name: str, oc: ObjectCore) -> None:
    """An object core with its busy object control and where it is stored."""

    def write_boc(out: DumpText, boc: BusyObjectControl) -> None:
        out.line(f"refcnt = {boc.refcount},\nstate = {boc.state.name.lower()},")
        out.line(f"fetched_so_far = {boc.fetched_so_far},\ndelivered_so_far = {boc.delivered_so_far},")
        out.line(f"transit_buffer = {boc.transit_buffer},")

    def write(out: DumpText, oc: ObjectCore) -> None:
        flags = ", ".join(flag.name.lower() for flag in OcFlag if oc.flags & flag and flag.name)
        out.line(f"refcnt = {oc.refcount}, xid = {oc.xid}, hits = {oc.hits},\nflags = {{{flags}}},")
        out.line(f"exp_flags = {oc.exp_flags:#x},")
        if oc.boc is not None:
            out.struct("boc", oc.boc, write_boc)
        out.line(f"exp = {{{oc.t_origin:.6f}, {oc.ttl:.6f}, {oc.grace:.6f}, {oc.keep:.6f}}},")
        out.line(f"objhead = {id(oc.objhead):#x},")
        stobj = oc.stobj
        if stobj is None:
            out.line("stevedore = NULL,")
        else:
            out.line(f"stevedore = {stobj.stevedore.name}, length = {stobj.length}, chunks = {len(stobj.chunks)},")

    out.struct(f"objcore[{name}]", oc, write)


def _dump_director(out: DumpText, name: str, director: Director | None) -> None:
    if director is None:
        return
    with out.block(f"{name} = {id(director):#x}"):
        out.line(f"cli_name = {director.cli_name},\ntype = {director.type},")
        out.line(f"admin_health = {director.admin_health}, changed = {director.health_changed:.6f},")


def _dump_vcl(out: DumpText, name: str, vcl: Vcl | None) -> None:
    def write(out: DumpText, vcl: Vcl) -> None:
        out.line(f'name = "{vcl.name}",\nbusy = {vcl.busy},\ndiscard = {vcl.discarded:d},\nstate = {vcl.state},')
        out.line(f"temp = {'warm' if vcl.is_warm else 'cold'},")

    out.struct(f"vcl[{name}]", vcl, write)


def _dump_privs(out: DumpText, privs: dict[Hashable, PrivateData] | None) -> None:
    if privs is None:
        out.line("privs = NULL")
        return
    with out.block(f"privs = {id(privs):#x}"):
        for key, value in list(privs.items()):
            out.line(f"priv = {{{key!r}, {type(value).__name__}}},")


def _flags(subject: object, names: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if getattr(subject, name))


def dump_request(out: DumpText, req: Request) -> None:
    """A client request and everything it holds: session, worker, messages, VCL, objects."""
    out.line(f"vxid = {req.vxid}, transport = {req.transport.name},")
    out.line(f"step = Req Step {req.step or 'transport'},")
    if req.req_filter_list is not None:
        out.line(f'vfp_filter_list = "{req.req_filter_list}",')
    if req.filter_list is not None:
        out.line(f'vdp_filter_list = "{req.filter_list}",')
    out.line(f"req_body = {req.body_status.name},")
    if req.err_code:
        out.line(f"err_code = {req.err_code}, err_reason = {req.err_reason or '(null)'},")
    out.line(f"restarts = {req.restarts}, esi_level = {req.esi_level},")
    out.line(f"doclose = {req.doclose or 'NULL'},")
    out.line(f"d_ttl = {req.d_ttl:.6f}, d_grace = {req.d_grace:.6f},")
    if req.storage_hint is not None:
        out.line(f"storage = {getattr(req.storage_hint, 'name', req.storage_hint)},")
    _dump_director(out, "director_hint", req.director_hint)
    out.struct("sess", req.sess, lambda out, sess: sess.panic_dump(out))
    out.struct("worker", req.wrk, lambda out, wrk: wrk.panic_dump(out))
    out.line(req.ws.dump())
    dump_message(out, "req", req.http)
    if req.resp.status:
        dump_message(out, "resp", req.resp)
    if req.processors:
        out.line(f"filters = {{{' '.join(processor.name for processor in req.processors)}}},")
    _dump_vcl(out, "vcl", req.vcl)
    if req.body_oc is not None:
        out.line(f"body = {{length = {req.body_oc.length}, cached}},")
    if req.objcore is not None:
        dump_objcore(out, "REQ", req.objcore)
    if req.stale_oc is not None:
        dump_objcore(out, "STALE", req.stale_oc)
    out.line(f"flags = {{{_flags(req, _REQUEST_FLAGS)}}},")
    _dump_privs(out, req.privs)
    if req.topreq is not req:
        out.struct("topreq", req.topreq, dump_request)


def dump_fetch(out: DumpText, bo: BusyObject) -> None:
    """A fetch and everything it holds, the client's request included as long as the fetch may look at it."""
    out.line(f"vxid = {bo.vxid}, step = {bo.step}, retries = {bo.retries},")
    if bo.err_code:
        out.line(f"err_code = {bo.err_code}, err_reason = {bo.err_reason or '(null)'},")
    if bo.client_req is not None:
        out.struct("req", bo.client_req, dump_request)
    if bo.sess is not None:
        out.struct("sess", bo.sess, lambda out, sess: sess.panic_dump(out))
    out.struct("worker", bo.wrk, lambda out, wrk: wrk.panic_dump(out))
    if bo.bereq_filter_list is not None:
        out.line(f'vdp_filter_list = "{bo.bereq_filter_list}",')
    if bo.filter_list is not None:
        out.line(f'vfp_filter_list = "{bo.filter_list}",')
    out.line(bo.ws.dump())
    dump_message(out, "bereq", bo.bereq)
    if bo.beresp.status:
        dump_message(out, "beresp", bo.beresp)
    if bo.stale_oc is not None:
        dump_objcore(out, "stale_oc", bo.stale_oc)
    if bo.objcore is not None:
        dump_objcore(out, "fetch", bo.objcore)
    reader = bo.body_reader
    if reader is not None:
        out.line(f"body = {{kind = {reader.kind}, length = {reader.length}, octets = {reader.octets}}},")
    out.line(f"flags = {{{_flags(bo, _FETCH_FLAGS)}}},")
    if bo.storage_hint is not None:
        out.line(f"storage = {getattr(bo.storage_hint, 'name', bo.storage_hint)},")
    _dump_director(out, "director_req", bo.director_req)
    if bo.director_resp is bo.director_req:
        out.line("director_resp = director_req,")
    else:
        _dump_director(out, "director_resp", bo.director_resp)
    _dump_vcl(out, "vcl", bo.vcl)
    _dump_privs(out, bo.privs)
