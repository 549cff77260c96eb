"""The body of a client's request: read once by whoever wants it, cached for many, or read off and dropped.

``req.body_status`` tells what can still be done with it. An uncached body can be taken once: by a pass, which streams
it to the backend, or by `ignore_body`. ``std.cache_req_body`` (`cache_body`) stores it instead; then every fetch,
restart and retry sends it anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.http.message import Header
from varnishpy.log.tag_numbers import FETCH_ERROR, STORAGE, VCL_ERROR
from varnishpy.params import params
from varnishpy.request import bodystatus
from varnishpy.request.filters import FilterError, fetch_processors
from varnishpy.request.transport import BodyError
from varnishpy.request.vfp import FetchContext, FetchStack
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import NoSpace
from varnishpy.storage.source import BytesSource, _Mark

if TYPE_CHECKING:
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.request import Request
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.threads.worker import Worker

_CHUNK: Final = 65536


class _BodyReader:
    """The transport's body as a reader whose failures are those of a fetch."""

    __slots__ = ("_req",)

    def __init__(self, req: Request) -> None:
        self._req = req

    def read(self, limit: int) -> bytes:
        body = self._req.body
        assert body is not None
        try:
            return body.read(limit)
        except BodyError as exc:
            raise FetchError(str(exc)) from None


class TakenBody:
    """An uncached body on its way to the backend; a `RequestBody` that can be read once.

    Runs on the fetch's worker while the client's request waits, so it may write into that request's log.
    """

    filter_name = ""  # `_open` has named the reading of it
    __slots__ = ("_begun", "_ended", "_req", "_stack", "kind", "length")

    def __init__(self, req: Request, stack: FetchStack) -> None:
        assert req.body is not None
        self.length = req.body.length if stack.plain() else -1
        self.kind = "length" if self.length >= 0 else "chunked"
        self._req = req
        self._stack = stack
        self._begun = False
        self._ended = False

    def read(self, limit: int) -> bytes:
        req = self._req
        if self._ended:
            if req.body_status is bodystatus.ERROR:
                raise BodyError("Had failed reading req.body before.")
            return b""
        if not self._begun:
            self._begun = True
            choose_storage(req)
            if req.want100cont:
                ask_for_body(req)
        try:
            data = self._stack.read(limit)
        except FetchError as exc:
            self._end()
            req.body_status = bodystatus.ERROR
            raise BodyError(str(exc)) from None
        if not data:
            self._end()
        return data

    @property
    def trailers(self) -> list[Header]:
        """What the client sent behind the body, if it is to be passed on; known when the body has been read."""
        return getattr(self._req.body, "trailers", []) if params.experimental.pass_trailers else []

    def discard(self) -> bool:
        """Nobody reads on; what is left stays with the transport."""
        self._end()
        return True

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            req = self._req
            req.acct.req_bodybytes += self._stack.close()
            now = clock.now()
            req.log.timestamp("ReqBody", now)
            req.t_prev = now


class CachedBody:
    """A cached body, from its beginning; every fetch has its own."""

    filter_name = ""  # read long ago
    __slots__ = ("_pieces", "_source", "kind", "length")

    def __init__(self, stored: StoredObject) -> None:
        self.length = stored.length
        self.kind = "length"
        self._pieces = list(stored.chunks)
        self._source = BytesSource(self._pieces)

    def rewind(self) -> None:
        """From the beginning again: for a request that must be sent once more."""
        self._source = BytesSource(self._pieces)

    def read(self, limit: int) -> bytes:
        piece = self._source.pull(limit)
        return b"" if isinstance(piece, _Mark) else bytes(piece)

    def discard(self) -> bool:
        self._source.close()
        return True


def setup_body(req: Request) -> None:
    """Learn from the transport what body there is; once, before the first step."""
    body = req.body
    if body is None:
        req.body_status = bodystatus.NO_BODY
        return
    if body.length == 0:
        req.body_status = bodystatus.NO_BODY
    elif body.length > 0:
        req.body_status = bodystatus.LENGTH
    elif req.http.has("transfer-encoding"):
        req.body_status = bodystatus.CHUNKED
    else:
        req.body_status = bodystatus.EOF


def choose_storage(req: Request) -> Stevedore:
    """The storage that a body being read goes to, or through: VCL's choice for this once, else Transient; logged."""
    stevedore: Stevedore | None = req.storage_hint or req.env.transient
    assert stevedore is not None
    req.storage_hint = None
    req.log.put(STORAGE, f"{stevedore.name} {stevedore.ident}")
    return stevedore


def ask_for_body(req: Request) -> None:
    """Send the 100 that the client waits for."""
    req.want100cont = False
    assert req.wrk is not None
    req.transport.send_100(req.wrk, req)


def take_body(req: Request, log: TaskLog) -> TakenBody | CachedBody | None:
    """The body for a fetch, or ``None`` if there is none.

    :param log: of whoever asks, told why the body cannot be had
    :raises BodyError: it was consumed before, or could not be read
    """
    status = req.body_status
    if status is bodystatus.CACHED:
        assert req.body_oc is not None
        return CachedBody(req.body_oc)
    if status is bodystatus.NO_BODY:
        return None
    if status is bodystatus.TAKEN:
        log.put(VCL_ERROR, "Uncached req.body can only be consumed once.")
        raise BodyError("Uncached req.body can only be consumed once.")
    if status is bodystatus.ERROR:
        log.put(FETCH_ERROR, "Had failed reading req.body before.")
        raise BodyError("Had failed reading req.body before.")
    try:
        stack = _open(req)
    except (FetchError, FilterError) as exc:
        req.body_status = bodystatus.ERROR
        raise BodyError(str(exc)) from None
    req.body_status = bodystatus.TAKEN
    return TakenBody(req, stack)


def _open(req: Request) -> FetchStack:
    assert req.wrk is not None and req.body is not None
    context = FetchContext(req.log, req.http, req.http, req.wrk.stats, req.vcl)
    stack = FetchStack(context, _BodyReader(req), req.body.filter_name)
    if req.req_filter_list:
        stack.open(fetch_processors(req.req_filter_list, req.vcl))
    return stack


def ignore_body(req: Request) -> None:
    """Make sure that no body stands between this request and the next; nothing to do if the connection closes
    anyway.
    """
    if req.doclose is not None or req.body_status.available <= 0 or req.body_status is bodystatus.CACHED:
        return
    assert req.body is not None and req.wrk is not None
    req.body_status = bodystatus.TAKEN
    choose_storage(req)
    if req.want100cont:
        ask_for_body(req)  # late, and vetoed by VCL to close the connection instead
    with req.wrk.blocking():
        drained = req.body.discard()
    now = clock.now()
    req.log.timestamp("ReqBody", now)
    req.t_prev = now
    if not drained:
        req.body_status = bodystatus.ERROR
        req.doclose = "RX_BODY"


def cache_body(req: Request, limit: int) -> int:
    """Read the whole body and keep it, ``std.cache_req_body``; only from vcl_recv.

    :param limit: most octets to keep
    :returns: the body's size, or -1 when it could not be kept: ``req.body_status`` then tells whether that is fatal
    """
    status = req.body_status
    if status is bodystatus.CACHED:
        assert req.body_oc is not None
        return req.body_oc.length
    if req.restarts > 0:
        req.log.put(VCL_ERROR, "req.body must be cached before restarts")
        return -1
    if status.available <= 0:
        return status.available
    assert req.body is not None and req.wrk is not None
    if req.body.length > limit:
        req.body_status = bodystatus.ERROR
        req.log.put(FETCH_ERROR, "Request body too big to cache")
        return -1
    size = _pull(req.wrk, req, limit)
    if size < 0:
        req.body_status = bodystatus.ERROR
        free_body(req)
        return -1
    if size != req.body.length:
        for message in (req.http0, req.http):
            message.unset("content-length")
            message.unset("transfer-encoding")
            message.add("Content-Length", str(size))
    req.body_status = bodystatus.CACHED
    return size


def free_body(req: Request) -> None:
    """Give a cached body back to its storage; a fetch that still sends it keeps the memory alive."""
    stored, req.body_oc = req.body_oc, None
    if stored is not None:
        stored.free()


def _pull(wrk: Worker, req: Request, limit: int) -> int:
    """Read the body into storage; its size, or -1."""
    stevedore = choose_storage(req)
    try:
        stored = StoredObject(stevedore)
    except NoSpace:
        req.log.put(FETCH_ERROR, f"Object allocation failed: Ran out of space in {stevedore.ident}")
        return -1
    req.body_oc = stored
    try:
        stack = _open(req)
    except (FetchError, FilterError):
        req.log.put(FETCH_ERROR, "req.body filters failed")
        return -1
    if req.want100cont:
        ask_for_body(req)
    try:
        with wrk.blocking():
            while True:
                data = stack.read(_CHUNK)
                if not data:
                    break
                if stored.length + len(data) > limit:
                    raise stack.context.error("Request body too big to cache")
                stored.extend(data)
                wrk.stats.transit_stored += len(data)
        stored.trim()
        size = stored.length
    except FetchError:
        size = -1
    except NoSpace as exc:
        stack.context.error(str(exc))
        size = -1
    req.acct.req_bodybytes += stack.close()
    now = clock.now()
    req.log.timestamp("ReqBody", now)
    req.t_prev = now
    return size
