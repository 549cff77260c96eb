"""What VCL needs of a client's session, of a request and of a fetch, and leaves with them.

`Session`, `Request` and `BusyObject` of the rooms above are such, so that this room and the VMODs know nothing of those
rooms, and the compiler still reads attributes where they lie. The variables' table (``variables.py``) tells which name
in VCL each of them has. Who makes one sets every attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from varnishpy.backends.exchange import Exchange
from varnishpy.cache.asking import Asking

if TYPE_CHECKING:
    from collections.abc import Hashable

    from varnishpy.backends.director import Director
    from varnishpy.base.tls_info import TlsInfo
    from varnishpy.base.workspace import Workspace
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.h2.connection import Connection
    from varnishpy.http.message import Message
    from varnishpy.http.proxy_wire import ProxyHeader
    from varnishpy.storage.object import StoredObject
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.vcl.context import PrivateData
    from varnishpy.vcl.loader import Vcl
    from varnishpy.vcl.values import SockAddr


@dataclass(slots=True, frozen=True)
class ListenInfo:
    """What a session knows of the socket it was accepted on.

    ``name`` is the ``-a`` name (``a0``), ``endpoint`` the address as given, ``proto`` HTTP, PROXY or HTTPS.
    """

    name: str
    endpoint: str
    proto: str
    is_uds: bool = False


class ClientSession:
    """A client's connection. Timeouts are seconds; ``None`` is the parameter's.

    :ivar fd: of the socket
    :ivar client_ip: the client's address as the PROXY header has it, if there is one; likewise ``server_ip``
    :ivar remote_ip: the other end of the connection; ``local_ip`` is ours
    :ivar tls: of TLS that ends here
    :ivar h2: the HTTP/2 connection, if that is what is spoken
    """

    __slots__ = (
        "client_ip", "fd", "h2", "idle_send_timeout", "listen", "local_ip", "privs", "proxy", "remote_ip",
        "send_timeout", "server_ip", "timeout_idle", "timeout_linger", "tls", "vxid", "ws",
    )  # fmt: skip

    vxid: int
    ws: Workspace
    listen: ListenInfo
    fd: int
    remote_ip: SockAddr
    local_ip: SockAddr
    client_ip: SockAddr
    server_ip: SockAddr
    tls: TlsInfo | None
    proxy: ProxyHeader | None
    h2: Connection | None
    timeout_idle: float | None
    timeout_linger: float | None
    send_timeout: float | None
    idle_send_timeout: float | None
    privs: dict[Hashable, PrivateData] | None


class ClientTask(Asking):
    """A client's request, or one that ESI includes. Times are wall-clock seconds.

    :ivar resp: the response, as VCL sees and changes it
    :ivar filter_list: ``resp.filters`` as VCL has set it; likewise ``req_filter_list``
    :ivar body_oc: the request's body, where it was cached
    :ivar synth_body: the pieces of a synthetic response
    :ivar privs: private data of VMODs
    :ivar hash_parts: what ``hash_data`` was given
    :ivar late100cont: vcl_recv has asked to put off 100-continue until the body is wanted
    """

    __slots__ = (
        "body_oc", "client_identity", "director_hint", "disable_esi", "err_code", "err_reason", "esi_level",
        "filter_list", "hash_parts", "is_hit", "is_hitmiss", "is_hitpass", "late100cont", "privs", "req_filter_list",
        "resp", "restarts", "storage_hint", "synth_body", "t_prev", "t_resp", "vcl", "vcl_trace", "ws",
    )  # fmt: skip

    ws: Workspace
    vcl: Vcl | None
    resp: Message
    t_prev: float
    t_resp: float
    esi_level: int
    restarts: int
    is_hit: bool
    is_hitmiss: bool
    is_hitpass: bool
    director_hint: Director | None
    storage_hint: Stevedore | None
    client_identity: str | None
    hash_parts: list[str]
    body_oc: StoredObject | None
    synth_body: list[bytes]
    err_code: int
    err_reason: str | None
    disable_esi: bool
    late100cont: bool
    req_filter_list: str | None
    filter_list: str | None
    privs: dict[Hashable, PrivateData] | None
    vcl_trace: bool

    def body_to_come(self) -> bool:
        """Has it a body that nobody has read yet?"""
        raise NotImplementedError

    def computes_body(self) -> bool:
        """Do processors make the response's body? Else it is sent as it is stored."""
        raise NotImplementedError

    def session(self) -> ClientSession:
        """The session that it came with."""
        raise NotImplementedError

    def top(self) -> ClientTask:
        """The client's request: itself, or the one that ESI includes it in, at whatever level."""
        raise NotImplementedError


class FetchTask(Exchange):
    """A fetch from a backend. Times are wall-clock seconds, durations seconds.

    :ivar director_req: ``bereq.backend``; ``director_resp`` is the backend that was chosen
    :ivar objcore: what is fetched; ``stale_oc`` is what it is to replace
    :ivar filter_list: ``beresp.filters`` as VCL has set it; likewise ``bereq_filter_list``
    :ivar transit_buffer: octets; ``None``: the parameter's
    :ivar tier: ``beresp.tier`` as VCL has set it
    :ivar t_resp: when the response's head was complete
    """

    __slots__ = (
        "bereq_filter_list", "client_identity", "digest", "director_req", "director_resp", "do_esi", "do_gunzip",
        "do_gzip", "do_pass", "do_stream", "err_reason", "filter_list", "is_bgfetch", "is_hitmiss", "is_hitpass",
        "objcore", "privs", "retries", "stale_oc", "storage_hint", "synth_body", "t_first", "t_resp", "task_deadline",
        "tier", "transit_buffer", "uncacheable", "vcl", "vcl_trace", "vxid", "was_304",
    )  # fmt: skip

    vxid: int
    vcl: Vcl | None
    t_first: float
    t_resp: float
    client_identity: str | None
    digest: bytes
    director_req: Director | None
    director_resp: Director | None
    storage_hint: Stevedore | None
    objcore: ObjectCore | None
    stale_oc: ObjectCore | None
    uncacheable: bool
    do_pass: bool
    do_esi: bool
    do_gzip: bool
    do_gunzip: bool
    do_stream: bool
    is_bgfetch: bool
    is_hitmiss: bool
    is_hitpass: bool
    was_304: bool
    retries: int
    bereq_filter_list: str | None
    filter_list: str | None
    transit_buffer: int | None
    tier: bool | None
    task_deadline: float | None
    err_reason: str | None
    synth_body: list[bytes]
    privs: dict[Hashable, PrivateData] | None
    vcl_trace: bool

    def session(self) -> ClientSession | None:
        """The session of the client that it is for; a fetch in the background may have outlived it."""
        raise NotImplementedError

    def request_body(self) -> StoredObject | None:
        """The body of the client's request, where it was cached."""
        raise NotImplementedError
