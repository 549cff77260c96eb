"""From a response to a stored object: where it goes, which headers, what a revalidated object keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base.panic import present
from varnishpy.cache import vary
from varnishpy.cache.objcore import OC_HFM, OC_PRIVATE
from varnishpy.http.coding import CODINGS
from varnishpy.http.dates import parse_date
from varnishpy.http.message import HEADER, PROTOCOL, REASON, STATUS, Header, Message
from varnishpy.http.search_variance import search_variance
from varnishpy.http.status import reason
from varnishpy.log.tag_numbers import ERROR, OBJ_METHOD, STORAGE
from varnishpy.params import params
from varnishpy.request.conditional import vary_on_encoding, weaken_etag
from varnishpy.request.groups import origin_of
from varnishpy.request.header_rules import INSERT, STORE_PASS, filter_headers, kept_for_trailers
from varnishpy.storage.object import ObjectFlag, StoredObject
from varnishpy.storage.room import NoSpace, StorageError

if TYPE_CHECKING:
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.storage.boc import BusyObjectControl
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.threads.worker import Worker

_NONE: Final[frozenset[str]] = frozenset()
_CONTENT_RANGE: Final = frozenset(("content-range",))
_COPY: Final = 1 << 20  # octets copied from a stale object at a time
_KEPT_ON_REFRESH: Final = ("Content-Length", "Content-Encoding", "Last-Modified", "ETag")


def allocate(wrk: Worker, bo: BusyObject, size: int, fields: int) -> StoredObject:
    """An object in the storage that this response deserves; short-lived in Transient where there is no room.

    :raises NoSpace: not even there
    """
    oc = bo.objcore
    transient = bo.env.transient
    assert oc is not None and transient is not None
    stevedore: Stevedore | None
    if bo.uncacheable:
        stevedore = transient
        wrk.stats.beresp_uncacheable += 1
    elif oc.ttl + oc.grace + oc.keep < params.shortlived:
        stevedore = transient
        wrk.stats.beresp_shortlived += 1
    else:
        stevedore = bo.storage_hint
    bo.storage_hint = None
    if stevedore is None:
        raise NoSpace("Could not get storage")
    try:
        stobj: StoredObject = stevedore.new_object(oc, size, fields)
    except NoSpace as exc:
        bo.log.put(ERROR, str(exc))
        if stevedore is transient:
            raise NoSpace("Could not get storage") from None
        oc.ttl = min(oc.ttl, params.shortlived)
        oc.grace = oc.keep = 0.0
        stevedore = transient
        try:
            stobj = stevedore.new_object(oc, size, fields)
        except NoSpace as exc:
            bo.log.put(ERROR, str(exc))
            raise NoSpace("Could not get storage") from None
    bo.log.put(STORAGE, f"{stevedore.name} {stevedore.ident}")
    return stobj


def store_headers(wrk: Worker, bo: BusyObject) -> StoredObject:
    """Make the object and fill in everything but its body.

    :raises NoSpace: no room
    """
    oc = bo.objcore
    assert oc is not None
    beresp = bo.beresp
    spec: bytes | None = None
    if not oc.flags & OC_PRIVATE:
        try:
            spec = vary.build(beresp, bo.bereq, params.feature.cache_compat)
        except vary.NeverMatches:
            bo.uncacheable = True
        except vary.VaryError as exc:
            bo.log.put(ERROR, str(exc))
            bo.log.put(ERROR, "Illegal 'Vary' header from backend, making this a pass.")
            bo.uncacheable = True
    if bo.search is not None and not oc.flags & OC_PRIVATE:
        rule = search_variance(beresp)
        wrk.stats.n_search_rule += bo.env.search.heard(bo.search.resource, rule)
        if bo.search.rule is not None and rule != bo.search.rule:
            bo.uncacheable = True  # its key stands for URLs that this response does not speak for
    if bo.uncacheable:
        oc.flags |= OC_HFM
    if bo.uncacheable:
        headers = filter_headers(beresp.headers, STORE_PASS, bo.hop_headers, kept_for_trailers())
    else:
        kept = _NONE
        if beresp.status not in (206, 416) and not params.feature.cache_compat:
            kept = _CONTENT_RANGE  # which means nothing there (RFC 9110 section 14.4)
        headers = filter_headers(beresp.headers, INSERT, bo.hop_headers, kept)
    size = stored_size(beresp, headers) + (len(spec) + 7 & ~7 if spec else 0)
    stobj = allocate(wrk, bo, size, len(headers))
    if params.feature.cache_groups and beresp.has("cache-groups"):
        stobj.attrs["ORIGIN"] = origin_of(bo.bereq, present(bo.sess, "a fetch is for a session").scheme).encode(
            "latin-1"
        )
    oc.vary = spec
    if spec is not None:
        stobj.attrs["VARY"] = spec
    oc.xid = bo.vxid
    backend = bo.director_resp
    oc.origin = backend.vcl_name if backend is not None else ""
    stored = stobj.headers
    stored.proto = beresp.proto
    stored.status = beresp.status
    stored.reason = beresp.reason
    stored.headers = headers
    log_stored(bo.log, stored)
    modified = beresp.get("last-modified")
    stobj.last_modified = parse_date(modified) if modified is not None else float(int(oc.t_origin))
    return stobj


def log_stored(log: TaskLog, stored: Message) -> None:
    """The records of what is stored."""
    log.put(OBJ_METHOD + PROTOCOL, stored.proto)
    log.put(OBJ_METHOD + STATUS, f"{stored.status % 1000:03d}")
    log.put(OBJ_METHOD + REASON, stored.reason)
    for header in stored.headers:
        log.put(OBJ_METHOD + HEADER, f"{header[1]}: {header[2]}")


def stored_size(beresp: Message, headers: list[Header]) -> int:
    """Octets that first line and headers are charged with: as much as they take in the reference's storage."""
    first = len(beresp.proto) + len(beresp.reason) + 6  # the status has three digits; each string ends with a NUL
    return 5 + first + sum(len(name) + len(value) + 3 for _, name, value in headers) + 7 & ~7


def merge_stale(bo: BusyObject) -> None:
    """A 304 confirms the stale object: its status and what the 304 does not say anew (RFC 9111 section 3.2)."""
    assert bo.stale_oc is not None and bo.stale_oc.stobj is not None
    old = bo.stale_oc.stobj
    beresp = bo.beresp
    if old.flags & ObjectFlag.CHGCE:
        weaken_etag(beresp)  # our processors changed the octets that the origin's new ETag stands for
    beresp.unset("content-encoding")
    beresp.unset("content-length")
    beresp.set_proto(old.headers.proto)
    beresp.set_status(old.headers.status)
    beresp.set_reason(old.headers.reason)
    said = {header[0] for header in beresp.headers}
    for lname, name, value in old.headers.headers:
        if lname not in said:
            beresp.add(name, value)
    if beresp.get("content-encoding") in CODINGS:
        vary_on_encoding(beresp)  # it is not for everybody, whatever the 304 says


def take_over_stale(bo: BusyObject) -> None:
    """``return (beresp)``: the 304's own headers, but those that describe the body are the stale object's."""
    assert bo.stale_oc is not None and bo.stale_oc.stobj is not None
    old = bo.stale_oc.stobj.headers
    beresp = bo.beresp
    beresp.set_status(200)
    beresp.set_reason(reason(200))
    beresp.unset("content-length")
    beresp.unset("content-encoding")
    for name in _KEPT_ON_REFRESH:
        value = old.get(name.lower())
        if value is not None:
            beresp.set(name, value)


def copy_body(wrk: Worker, boc: BusyObjectControl, old: StoredObject) -> None:
    """Append a complete object's body.

    :raises StorageError: no room
    """
    for index, piece in enumerate(list(old.chunks)):
        if old.unchecked and not old.check(index):
            raise StorageError("the stale object is damaged")
        view = memoryview(piece)
        for start in range(0, len(view), _COPY):
            boc.keep_pace(wrk)
            boc.extend(bytes(view[start : start + _COPY]), wrk)
