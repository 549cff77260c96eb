"""Processors by name: what ``beresp.filters``, ``resp.filters`` and ``req.filters`` may contain, and what they
default to.

VMODs register theirs here, for all VCLs or for the one that loads them. A processor is made anew for each body.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy.http.coding import accepts_gzip, beyond_gzip
from varnishpy.http.message import Message
from varnishpy.log.tag_numbers import ERROR, VCL_ERROR
from varnishpy.params import params
from varnishpy.params.codings import parse_codings
from varnishpy.request.esi_deliver import EsiDelivery
from varnishpy.request.foreign_filters import DeliveryFilter, FetchFilter, ForeignDelivery, ForeignFetch
from varnishpy.request.vdp import PROCESSOR_ROOM, DeliveryContext, DeliveryProcessor, ProcessorError
from varnishpy.request.vdp_gunzip import GunzipDelivery
from varnishpy.request.vdp_range import RangeDelivery
from varnishpy.request.vfp import FetchProcessor
from varnishpy.request.vfp_codings import PackBr, PackZstd, TestUnpackBr, TestUnpackZstd, UnpackBr, UnpackZstd
from varnishpy.request.vfp_esi import Esi, EsiGzip
from varnishpy.request.vfp_gzip import Gunzip, Gzip, TestGunzip
from varnishpy.storage.object import ObjectFlag, StoredObject
from varnishpy.vcl.context import VclFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from varnishpy.request.busyobj import BusyObject
    from varnishpy.request.request import Request
    from varnishpy.vcl.loader import Vcl

FetchFactory = Callable[[], FetchProcessor | FetchFilter]
DeliveryFactory = Callable[[], DeliveryProcessor | DeliveryFilter]


class FilterError(Exception):
    """A name that is taken, or not known; the text is for the log."""


class Registry:
    """Processors by name; names are told apart without regard to case.

    :param scope: what messages call it
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._lock = threading.Lock()
        self.fetch: dict[str, FetchFactory] = {}
        self.delivery: dict[str, DeliveryFactory] = {}

    def add_fetch(self, name: str, factory: FetchFactory) -> None:
        """Register a fetch processor; raises `FilterError`."""
        with self._lock:
            _refuse_duplicate("VFP", name, factory, [(each.fetch, each._scope) for each in (_builtin, shared, self)])
            self.fetch[name] = factory

    def add_delivery(self, name: str, factory: DeliveryFactory) -> None:
        """Register a delivery processor; raises `FilterError`."""
        with self._lock:
            tables = [(each.delivery, each._scope) for each in (_builtin, shared, self)]
            _refuse_duplicate("VDP", name, factory, tables)
            self.delivery[name] = factory

    def remove(self, name: str) -> None:
        """Forget the processors of that name."""
        with self._lock:
            self.fetch.pop(name, None)
            self.delivery.pop(name, None)


def _refuse_duplicate(
    kind: str, name: str, factory: object, tables: Sequence[tuple[Mapping[str, object], str]]
) -> None:
    """Raise `FilterError` if a table knows the processor, or another one of that name."""
    for table, scope in tables:
        for known, other in table.items():
            if other is factory:
                raise FilterError(f"{name}: {kind} already registered ({scope})")
            if known.lower() == name.lower():
                raise FilterError(f"{name}: {kind} name already used ({scope})")


_builtin: Final = Registry("global")
_builtin.fetch.update(
    {"gunzip": Gunzip, "gzip": Gzip, "testgunzip": TestGunzip, "esi": Esi, "esi_gzip": EsiGzip},
)
_builtin.fetch.update({"br": PackBr, "unbr": UnpackBr, "testbr": TestUnpackBr})
_builtin.fetch.update({"zstd": PackZstd, "unzstd": UnpackZstd, "testzstd": TestUnpackZstd})
_builtin.delivery.update({"esi": EsiDelivery, "gunzip": GunzipDelivery, "range": RangeDelivery})

#: processors of VMODs that are there for every VCL
shared: Final = Registry("global")

_per_vcl: Final[dict[Vcl, Registry]] = {}  # from a VCL's first filter to its end


def of_vcl(vcl: Vcl) -> Registry:
    """The processors that one VCL's VMODs registered; made on first use."""
    return _per_vcl.setdefault(vcl, Registry("per-vcl"))


def forget_vcl(vcl: Vcl) -> None:
    """A VCL is discarded, and its processors with it."""
    _per_vcl.pop(vcl, None)


def _registries(vcl: Vcl | None) -> tuple[Registry, ...]:
    own = None if vcl is None else _per_vcl.get(vcl)
    return (_builtin, shared) if own is None else (_builtin, shared, own)


def fetch_processors(names: str, vcl: Vcl | None) -> list[FetchProcessor]:
    """Processors of a filter list, nearest to the backend first; raises `FilterError`."""
    found: list[FetchProcessor] = []
    for name in names.split():
        factory = next((r.fetch[name] for r in _registries(vcl) if name in r.fetch), None)
        if factory is None:
            raise FilterError(f"Filter '...{names[names.find(name) :]}' not found")
        made = factory()
        found.append(made if isinstance(made, FetchProcessor) else ForeignFetch(made))
    return found


def delivery_processors(names: str, vcl: Vcl | None) -> list[DeliveryProcessor]:
    """Processors of a filter list, nearest to storage first; raises `FilterError`."""
    found: list[DeliveryProcessor] = []
    for name in names.split():
        factory = next((r.delivery[name] for r in _registries(vcl) if name in r.delivery), None)
        if factory is None:
            raise FilterError(f"Filter '...{names[names.find(name) :]}' not found")
        made = factory()
        found.append(made if isinstance(made, DeliveryProcessor) else ForeignDelivery(made))
    return found


def open_delivery(names: str, context: DeliveryContext) -> list[DeliveryProcessor]:
    """The processors of a filter list that have something to do; raises `ProcessorError`, logged."""
    task = context.task
    opened: list[DeliveryProcessor] = []
    try:
        for processor in delivery_processors(names, task.vcl):
            processor.context = context
            if not task.ws.account(PROCESSOR_ROOM):
                raise ProcessorError(f"the workspace has no room for {processor.name}")
            if processor.open():
                opened.append(processor)
                context.stobj = None
    except (FilterError, ProcessorError, VclFailure) as exc:
        for processor in opened:
            processor.close()
        context.log.put(VCL_ERROR if isinstance(exc, VclFailure) else ERROR, str(exc))
        raise ProcessorError(str(exc)) from None
    return opened


def default_fetch_filters(bo: BusyObject) -> str:
    """What ``beresp.filters`` is unless VCL sets it; a blank before each name, as the reference logs it."""
    if bo.body_reader is None or bo.body_reader.kind == "none" or bo.body_reader.length == 0:
        return ""
    may_transform = params.http_gzip_support and not _no_transform(bo.beresp)
    do_gzip = bo.do_gzip and may_transform
    do_gunzip = bo.do_gunzip and may_transform
    coding = bo.beresp.joined("content-encoding")
    is_gzip = coding is not None and coding.lower() == "gzip"
    do_gunzip = do_gunzip and is_gzip
    names = []
    if params.http_codings and may_transform:
        known = parse_codings(params.http_codings)
        low = "" if coding is None else coding.lower()
        wanted = "" if bo.uncacheable else beyond_gzip(bo.bereq0.get("accept-encoding"))
        if low in known and not (bo.do_gunzip or bo.do_esi):
            return f" test{low}"
        if do_gzip and wanted in known and not bo.do_esi and low in ("", "gzip"):
            return f" gunzip {wanted}" if is_gzip else f" {wanted}"
        if low in known:
            names.append(f"un{low}")
            coding = None
    do_gzip = do_gzip and coding is None
    if do_gunzip or (is_gzip and bo.do_esi):
        names.append("gunzip")
    if bo.do_esi:
        names.append("esi_gzip" if do_gzip or (is_gzip and not do_gunzip) else "esi")
    else:
        if do_gzip:
            names.append("gzip")
        if is_gzip and not do_gunzip:
            names.append("testgunzip")
    return "".join(f" {name}" for name in names)


def unpacks(req: Request, stobj: StoredObject) -> bool:
    """Will this object, which is gzipped, be unpacked for this client?"""
    return params.http_gzip_support and not accepts_gzip(req.http) and not _no_transform(stobj.headers)


def _no_transform(response: Message) -> bool:
    """Must its content be left as it is? (RFC 9110 section 7.7)"""
    return params.feature.no_transform and response.has_token("cache-control", "no-transform")


def default_delivery_filters(req: Request) -> str:
    """What ``resp.filters`` is unless VCL sets it; a blank before each name, as the reference logs it."""
    names = ""
    oc = req.objcore
    stobj = None if oc is None else oc.stobj
    if stobj is not None:
        if not req.disable_esi and "ESIDATA" in stobj.attrs:
            names = " esi"
        if stobj.flags & ObjectFlag.GZIPED and unpacks(req, stobj):
            names += " gunzip"
    if (
        req.resp.status == 200
        and params.http_range_support
        and req.http.has("range")
        and (req.http0.method == "GET" or params.feature.cache_compat)
    ):
        names += " range"
    return names
