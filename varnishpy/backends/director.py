"""Directors: whatever VCL can use as a backend.

A *director* either is a backend or chooses one. `resolve` follows the choices to a backend. Its health has two sides:
what it finds out itself (probes, or the health of what it chooses from) and what the administrator says, which wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.base.compiled import mypyc_attr
from varnishpy.log import Tag
from varnishpy.log.tag_numbers import FETCH_ERROR

if TYPE_CHECKING:
    from varnishpy.backends.connection import Connection
    from varnishpy.backends.exchange import Exchange
    from varnishpy.log import TaskLog
    from varnishpy.threads.worker import Worker
    from varnishpy.vcl.context import Ctx

AdminHealth = Literal["probe", "healthy", "sick", "deleted"]

_MAX_DEPTH: Final = 32  # a chain of directors longer than this is a circle


@mypyc_attr(allow_interpreted_subclasses=True)
class Director:
    """Base of all directors.

    :param vcl_name: the name in VCL
    :param vcl: name of the VCL it belongs to
    """

    type: ClassVar[str] = "director"

    def __init__(self, vcl_name: str, vcl: str = "") -> None:
        self.vcl_name = vcl_name
        self.cli_name = f"{vcl}.{vcl_name}" if vcl else vcl_name
        self.admin_health: AdminHealth = "probe"
        self.health_changed = clock.now()

    def __str__(self) -> str:
        return self.vcl_name

    # -- choosing --------------------------------------------------------------------------------------------------

    def resolve(self, ctx: Ctx | None) -> Director | None:
        """The director to ask next, itself if it is a backend, ``None`` if there is none to be had."""
        return self

    def healthy(self, ctx: Ctx | None) -> tuple[bool, float]:
        """Can it be used, and since when has that been so (wall clock)? The administrator's word goes first."""
        if self.admin_health == "probe":
            return self.assess(ctx)
        return self.admin_health == "healthy", self.health_changed

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        """Health as the director itself sees it."""
        return True, self.health_changed

    def set_admin_health(self, state: AdminHealth) -> None:
        """``backend.set_health``."""
        if self.admin_health not in (state, "deleted"):
            self.admin_health = state
            self.health_changed = clock.now()
            self.health_event()

    def health_event(self) -> None:
        """Health may have changed by another's doing."""

    # -- fetching; only backends do --------------------------------------------------------------------------------

    def get_response(self, wrk: Worker, bo: Exchange) -> None:
        """Send ``bo.bereq`` and receive the response head.

        Afterwards ``bo.beresp`` is set, ``bo.body_reader`` gives the body, and `finish` must be called in any case that
        follows. :raises FetchError: already logged; there is nothing to finish
        """
        bo.log.put(FETCH_ERROR, f"Director {self.vcl_name} cannot fetch")
        raise FetchError(f"Director {self.vcl_name} cannot fetch")

    def finish(self, wrk: Worker, bo: Exchange) -> None:
        """The fetch is over, well or not: ``bo.doclose`` tells why the connection cannot be kept, if it cannot."""

    def open_pipe(self, wrk: Worker, bo: Exchange) -> Connection:
        """Send ``bo.bereq`` and hand out the connection for raw use; `finish` ends it. :raises FetchError:"""
        bo.log.put(int(Tag.VCL_Error), "Backend does not support pipe")
        raise FetchError("Backend does not support pipe")

    def get_ip(self, bo: Exchange) -> tuple[str, int] | None:
        """Address and port that the running fetch is connected to."""
        return None

    # -- life ------------------------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Its VCL became warm."""

    def cool(self) -> None:
        """Its VCL became cold."""

    def release(self) -> None:
        """Its VCL is discarded, or nobody uses it any more."""
        self.admin_health = "deleted"

    # -- showing ---------------------------------------------------------------------------------------------------

    def probe_summary(self, ctx: Ctx | None) -> tuple[int, int, str]:
        """Good probes, window, and ``healthy`` or ``sick``, for ``backend.list``."""
        return 0, 0, "healthy" if self.assess(ctx)[0] else "sick"

    def details_text(self) -> str:
        """What ``backend.list -p`` adds."""
        return ""

    def details(self) -> dict[str, object]:
        """What ``backend.list -j -p`` adds."""
        return {}

    def list(self) -> dict[str, object]:
        """The director as ``backend.list -j`` shows it, without its name."""
        good, window, health = self.probe_summary(None)
        return {
            "type": self.type,
            "admin_health": self.admin_health,
            "probe_message": [good, window, health],
            "last_change": round(self.health_changed, 3),
        }


def resolve(director: Director | None, ctx: Ctx | None, log: TaskLog | None = None) -> Director | None:
    """Follow a chain of directors to a backend; ``None``, with a ``FetchError`` record, if there is none."""
    if director is None:
        if log is not None:
            log.put(FETCH_ERROR, "No backend")
        return None
    current = director
    for _ in range(_MAX_DEPTH):
        following = current.resolve(ctx)
        if following is current:
            return current
        if following is None:
            break
        current = following
    if log is not None:
        log.put(FETCH_ERROR, f"Director {director.vcl_name} returned no backend")
    return None
