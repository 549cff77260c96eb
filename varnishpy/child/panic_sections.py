"""What the cache process adds to a panic dump: what the thread was doing, VMODs, pools, open sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base import panic
from varnishpy.base.dumptext import DumpText
from varnishpy.child import process_figures
from varnishpy.params import params
from varnishpy.request.busyobj import BusyObject
from varnishpy.request.request import Request
from varnishpy.threads import Worker, current_worker
from varnishpy.threads.worker import Subject

if TYPE_CHECKING:
    from varnishpy.child.assembly import Child

# A dump has little room (heritage.PANIC_SPACE), and the sessions of other threads are seldom to blame.
_MOST_SESSIONS: Final = 50


def install(child: Child) -> None:
    """Add the sections, in the order in which they shall stand."""
    panic.set_brief(lambda: bool(params.feature.short_panic))
    panic.add_dumper("thr", _thread)
    panic.add_dumper("vmods", lambda: _vmods(child))
    panic.add_dumper("process", process_figures.dump)
    panic.add_dumper("pools", child.pools.dump)
    panic.add_dumper("sessions", lambda: _sessions(child))


def _thread() -> str:
    """What this thread works on: all that hangs together with the request, fetch or session."""
    wrk = current_worker()
    subject = wrk.subject if wrk is not None else None
    out = DumpText()

    def show(name: str, which: Subject | None) -> None:
        out.struct(f"thr.{name}", which, lambda out, subject: subject.panic_dump(out))

    show("req", subject if isinstance(subject, Request) else None)
    show("busyobj", subject if isinstance(subject, BusyObject) else None)
    if subject is not None and not isinstance(subject, Request | BusyObject):
        show("task", subject)
    out.struct("thr.worker", wrk, _worker)
    return out.text()


def _worker(out: DumpText, wrk: Worker) -> None:
    wrk.panic_dump(out)


def _vmods(child: Child) -> str:
    out = DumpText()
    with out.block("vmods ="):
        for vmod, vcls in child.vcls.vmods().items():
            out.line(f'{vmod.name} = {{path="{vmod.path}", version="{vmod.version}", vcl = {" ".join(vcls)}}},')
    return out.text()


def _sessions(child: Child) -> str:
    out = DumpText()
    sessions = list(child.acceptors.sessions.values())
    with out.block("sessions ="):
        for sess in sessions[:_MOST_SESSIONS]:
            transport = sess.transport.name if sess.transport is not None else "<none>"
            client = f"{sess.client_ip.ip}:{sess.client_ip.port}"
            out.line(f"vxid = {sess.vxid}, fd = {sess.fd}, transport = {transport}, client = {client},")
        if len(sessions) > _MOST_SESSIONS:
            out.line(f"... and {len(sessions) - _MOST_SESSIONS} more")
    return out.text()
