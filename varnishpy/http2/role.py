"""The role of session thread: which worker has it, and what that worker lent.

The role passes from worker to worker, but never has two holders. Whoever has it may touch the connection and the
socket; see `Connection.assert_session_thread`.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from varnishpy.base.panic import invariant

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.threads.worker import Worker


class Role:
    """See the module text."""

    __slots__ = ("_aws_snap", "_h2", "wrk")

    def __init__(self, h2: Connection) -> None:
        self._h2 = h2
        self.wrk: Worker | None = None  # who has the role; None: nobody, or a thread that only clears up
        self._aws_snap = 0

    @property
    def worker(self) -> Worker:
        """The worker that has the role."""
        wrk = self.wrk
        invariant(wrk is not None, "somebody is the session thread")
        assert wrk is not None
        return wrk

    def take(self, wrk: Worker) -> None:
        """This thread is the session thread now."""
        h2 = self._h2
        self.wrk = wrk
        h2.thread = get_ident()
        h2.stats = wrk.stats
        self._aws_snap = wrk.aws.snapshot()

    def leave(self) -> None:
        """The worker lets go of what it lent. It stays the session thread by number, until it says `nobody`."""
        wrk, self.wrk = self.wrk, None
        if wrk is not None:
            self._h2.transmitter.return_control()
            wrk.aws.reset(self._aws_snap)

    def give_away(self) -> None:
        """Leave the role in the middle of a request, whose workspace is the worker's; nobody has it then."""
        self.wrk = None
        self._h2.transmitter.return_control()
        self._h2.thread = 0

    # -- running requests ------------------------------------------------------------------------------------------

    def lay_down(self) -> None:
        """This thread runs a request: until it takes the role up again it is a request thread, and nobody has it."""
        self._h2.thread = 0

    def take_up(self) -> None:
        """The request is done, and the role was not given away."""
        self._h2.thread = get_ident()

    def clear_up(self) -> None:
        """This thread, worker or not, does what is left to do."""
        self._h2.thread = get_ident()

    def nobody(self) -> None:
        """No thread has the role any more."""
        self._h2.thread = 0
