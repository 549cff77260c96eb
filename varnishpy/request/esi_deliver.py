"""Delivery processor ``esi``: deliver an object's parts, and other objects where it includes them.

An include is a request of its own, with its own transaction id and log, run by the state machine on the thread that
computes this body; its transport (`EsiTransport`) takes the response's body and hands it to the including object
piece by piece.

In a gzipped object the verbatim parts are deflate blocks that can be sent as they are (see ``vfp_esi.py``); what is
included is turned into deflate blocks too. A gzipped ESI object inside another one passes its blocks straight
through. Checksum and size of the whole, which end a gzip stream, are put together from those of the parts.
"""

from __future__ import annotations

import struct
import threading
import zlib
from typing import TYPE_CHECKING, Final, cast

from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.base.workspace import make_workspace
from varnishpy.http.message import Message
from varnishpy.log.tag_numbers import BEGIN, ERROR, LINK, REQ_METHOD, VCL_ERROR
from varnishpy.log.tasklog import CLIENT, TaskLog
from varnishpy.params import params
from varnishpy.request.conditional import weaken_etag
from varnishpy.request.crc import crc32_combine
from varnishpy.request.esi_codes import Include, Skip, Verbatim, decode
from varnishpy.request.growing import Pieces
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import Delivered
from varnishpy.request.vdp import PIECE, PROCESSOR_ROOM, DeliveryProcessor, worker_of
from varnishpy.request.vfp_gzip import GZIP_WBITS
from varnishpy.storage.source import END, LATER, Piece, Source, SourceError

if TYPE_CHECKING:
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import Notice
    from varnishpy.threads.worker import Worker


_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03"
_LAST_BLOCK: Final = b"\x01\x00\x00\xff\xff"  # an empty stored block, marked as the last
_STORED_MAX: Final = 65535  # octets that fit into one stored block (RFC 1951 section 3.2.4)
_NO_CONDITIONS: Final = ("if-modified-since", "if-none-match", "range")
_FOR_CLIENTS: Final = "includes are for clients"
_NO_BODY: Final = ("content-length", "transfer-encoding")


class EsiTransport:
    """The transport of one included request. It delivers to nobody: it keeps the source for the including object."""

    name = "ESI_INCLUDE"
    pull_may_block = True
    line_name = "VED"
    __slots__ = ("bad_status", "failed", "gzip", "source", "woken")

    def __init__(self, gzip: bool) -> None:
        self.gzip = gzip  # the including object is delivered gzipped
        self.woken = threading.Event()
        self.source: Source | None = None
        self.failed: str | None = None
        self.bad_status = False

    def new_session(self, wrk: Worker, sess: Session) -> None:
        raise RuntimeError("an ESI include has no session of its own")

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        if params.feature.esi_include_onerror and req.resp.status not in (200, 204):
            self.bad_status = True
            if source is not None:
                source.close()
            return Delivered.DONE
        if source is None:
            return Delivered.DONE
        if not req.ws.account(PROCESSOR_ROOM):
            req.log.put(ERROR, "Failure to push ESI processors")
            source.close()
            return Delivered.DONE
        self.source = source
        if self.gzip and req.processors and isinstance(req.processors[-1], EsiDelivery):
            req.processors[-1].nested = _is_gzip(req.resp)
        return Delivered.TAKEN

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        self.bad_status = True

    def send_100(self, wrk: Worker, req: Request) -> None:
        """An included request has no body to be asked for."""

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        """What an included page hints at is not for the client that asked for another."""

    def take_readahead(self, req: Request) -> bytes:
        raise RuntimeError("an ESI include is never piped")

    def fail(self, req: Request, reason: str) -> None:
        self.failed = reason

    def reembark(self, req: Request) -> None:
        self.woken.set()

    def client_gone(self, req: Request) -> bool:
        top = req.topreq
        return top.transport.client_gone(top)

    def panic_dump(self, sess: Session) -> str:
        return "ESI_INCLUDE\n"

    def describe(self, sess: Session) -> dict[str, object]:
        return {}


def _is_gzip(response: Message) -> bool:
    return (response.joined("content-encoding") or "").lower() == "gzip"


class EsiDelivery(DeliveryProcessor):
    """See the module text.

    ``nested`` is set before anything is delivered when the octets go into another gzip stream: header and trailer are
    left out then, and the including object reads ``crc`` and ``plain`` at the end.
    """

    name = "esi"
    __slots__ = ("_data", "_gzip", "crc", "nested", "plain")

    def open(self) -> bool:
        context = self.context
        self.nested = False
        self.crc = 0
        self.plain = 0
        data = None if context.stobj is None else context.stobj.attrs.get("ESIDATA")
        if data is None:
            return False
        self._data: bytes = data
        weaken_etag(context.response)
        present(context.req, _FOR_CLIENTS).res_esi = True
        if context.length != 0:
            context.length = -1
        return True

    def run(self, pieces: Pieces) -> Pieces:
        self._gzip, instructions = decode(self._data)
        cutter = _Cutter(pieces)
        if self._gzip and not self.nested:
            yield _GZIP_HEADER
        for instruction in instructions:
            match instruction:
                case Verbatim(length, crc, plain):
                    yield from cutter.take(length)
                    if self._gzip:
                        self._account(crc, plain)
                case Skip(length):
                    cutter.skip(length)
                case Include():
                    yield from self._include(instruction)
        if self._gzip and not self.nested:
            yield _LAST_BLOCK + struct.pack("<II", self.crc, self.plain & 0xFFFFFFFF)

    def _account(self, crc: int, plain: int) -> None:
        self.crc = crc32_combine(self.crc, crc, plain)
        self.plain += plain

    # -- includes --------------------------------------------------------------------------------------------------

    def _include(self, instruction: Include) -> Pieces:
        parent = present(self.context.req, _FOR_CLIENTS)
        abort = params.feature.esi_include_onerror and not instruction.on_error_continue
        if parent.esi_level >= params.max_esi_depth:
            parent.log.put(VCL_ERROR, f"ESI depth limit reached (param max_esi_depth = {params.max_esi_depth})")
            if abort:
                raise SourceError("ESI depth limit reached")
            return
        yield b""  # the client shall have what comes before
        run_request, finish_request = parent.env.run_request, parent.env.finish_request
        assert run_request is not None and finish_request is not None
        wrk = self.context.wrk
        transport = EsiTransport(self._gzip)
        child = _child_request(wrk, parent, transport, instruction)
        try:
            while True:
                transport.woken.clear()
                step = run_request(wrk, child)
                if step is Step.DONE or transport.source is not None:
                    break
                with wrk.blocking():  # on a waiting list; whoever holds it up has deadlines
                    transport.woken.wait()
            if transport.source is not None:
                yield from self._child_body(child, transport.source)
            elif abort and (transport.bad_status or transport.failed):
                raise SourceError("ESI include failed")
        except SourceError:
            child.doclose = child.doclose or "REM_CLOSE"
            broken = any(isinstance(processor, EsiDelivery) and processor.nested for processor in child.processors)
            if abort or broken:  # deflate blocks that stop half way cannot be followed by others
                raise
        finally:
            if transport.source is not None:
                transport.source.close()
            finish_request(self.context.wrk, child)

    def _child_body(self, child: Request, source: Source) -> Pieces:
        pieces = _pull(child, source)
        if not self._gzip:
            yield from pieces
            return
        processor = child.processors[-1] if child.processors else None
        if isinstance(processor, EsiDelivery) and processor.nested:
            try:
                yield from pieces
            finally:
                self._account(processor.crc, processor.plain)
        elif _is_gzip(child.resp):
            yield from self._repack(pieces)
        else:
            yield from self._wrap(pieces)

    def _wrap(self, pieces: Pieces) -> Pieces:
        """Plain octets as stored blocks: no compression, no work."""
        for piece in pieces:
            self._account(zlib.crc32(piece), len(piece))
            for start in range(0, len(piece), _STORED_MAX):
                part = piece[start : start + _STORED_MAX]
                yield struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF)
                yield part

    def _repack(self, pieces: Pieces) -> Pieces:
        """A gzip stream as blocks of ours; what was unpacked without error before a failure is delivered."""
        unpack = zlib.decompressobj(GZIP_WBITS)
        pack = zlib.compressobj(params.gzip_level, zlib.DEFLATED, -zlib.MAX_WBITS, params.gzip_memlevel)
        plain_before = self.plain
        error: str | None = None
        try:
            for piece in pieces:
                data: Piece = piece
                full = True
                while (data or full) and not unpack.eof:
                    plain = unpack.decompress(data, PIECE)
                    data = unpack.unconsumed_tail
                    full = len(plain) == PIECE
                    if plain:
                        self._account(zlib.crc32(plain), len(plain))
                        out = pack.compress(plain)
                        if out:
                            yield out
            if not unpack.eof:
                error = "included gzip data ends early"
        except zlib.error as fault:
            error = f"included gzip data: {fault}"
        except SourceError as failure:
            error = str(failure)
        if self.plain != plain_before:
            yield pack.flush(zlib.Z_FULL_FLUSH)  # back to a byte boundary, or nothing that follows makes sense
        if error is not None:
            raise SourceError(error)


class _Cutter:
    """Takes and skips so many octets of a stream of pieces."""

    __slots__ = ("_pieces", "_rest")

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._rest: Piece = b""

    def take(self, count: int) -> Pieces:
        while count:
            piece = self._next(count)
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        while count:
            count -= len(self._next(count))

    def _next(self, limit: int) -> Piece:
        rest = self._rest
        while not len(rest):
            following = next(self._pieces, None)
            if following is None:
                raise SourceError("ESI object is shorter than its instructions")
            rest = following
        if len(rest) <= limit:
            self._rest = b""
            return rest
        view = memoryview(rest)
        self._rest = view[limit:]
        return view[:limit]


def _pull(child: Request, source: Source) -> Pieces:
    """An included body, counted for its own ``ReqAcct``."""
    while True:
        piece = source.pull(PIECE)
        if piece is LATER and source.may_wait:
            yield b""
            continue
        if piece is LATER:
            with worker_of(child).blocking():
                piece = source.pull_wait(PIECE, lambda: threading.TIMEOUT_MAX)
        if piece is END:
            return
        data = cast(Piece, piece)
        child.acct.resp_bodybytes += len(data)
        child.acct.resp_pieces += 1
        yield data


def _child_request(wrk: Worker, parent: Request, transport: EsiTransport, instruction: Include) -> Request:
    """A request for the included object, made from the including one as its client sent it."""
    vxid = wrk.next_vxid()
    log = TaskLog(vxid, CLIENT)
    child = Request(parent.env, parent.sess, transport, vxid, log, make_workspace("req", params.workspace_client))
    wrk.stats.esi_req += 1
    wrk.tally.req_made += 1
    child.wrk = wrk
    child.topreq = parent.topreq
    child.esi_level = parent.esi_level + 1
    log.put(BEGIN, f"req {parent.vxid} esi {child.esi_level}")
    parent.log.put(LINK, f"req {vxid} esi {child.esi_level}")
    now = clock.now()
    log.start_clock(now)
    log.timestamp("Start", now)
    child.t_first = child.t_prev = now
    child.t_req = parent.t_req

    http = child.http
    http.copy_from(parent.http0)
    http.attach(log, REQ_METHOD, child.ws)
    http.set_url(instruction.url)
    if instruction.host:
        http.set("Host", instruction.host)
    if http.method != "GET":
        http.set_method("GET")
    if http.proto != "HTTP/1.1":
        http.set_proto("HTTP/1.1")
    for name in _NO_CONDITIONS:
        http.unset(name)
    if transport.gzip:
        if http.values("accept-encoding") != ["gzip"]:
            http.set("Accept-Encoding", "gzip")
    else:
        http.unset("accept-encoding")
    for name in _NO_BODY:
        http.unset(name)

    vcl = child.vcl = present(parent.topreq.vcl0 or parent.vcl, "preq->vcl")
    vcl.ref()
    return child
