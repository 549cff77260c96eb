"""Where request threads leave word for the session thread, and what wakes it.

Items are looked at in the order in which they came:

* an `Outgoing` is a message to send, a response or an interim one;
* a `Stream` asks for a look: a reset is wanted, its reader has made room, its source has more to give;
* a `Holding` says that a request thread has finished the request: its stream may be free.

A session thread that is about to sleep leaves behind what wakes it (`may_sleep`). The first post takes that away and
calls it, so any number of posts cost one wakeup, and posts to a thread that is awake cost none. What it leaves need
not be a descriptor: when no thread serves the session any more it is the rest of the session's work itself.

All methods may be called on any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from varnishpy.base.locks import make_lock

if TYPE_CHECKING:
    from varnishpy.h2.holding import Holding
    from varnishpy.h2.outgoing import Outgoing
    from varnishpy.h2.stream import Stream


class Inbox:
    """See the module text. ``mutex`` is the session's: it guards more than the inbox, see `Holding` and `Stream`."""

    __slots__ = ("_items", "_wake", "mutex", "wakeups", "wakeups_spared")

    def __init__(self) -> None:
        self.mutex = make_lock("sess")
        self._items: list[Outgoing | Stream | Holding] = []
        self._wake: Callable[[], object] | None = None  # None: the session thread runs, and looks before it sleeps
        self.wakeups = 0
        self.wakeups_spared = 0

    def __len__(self) -> int:
        return len(self._items)

    def post(
        self, item: Outgoing | Stream | Holding | None, holding: Holding | None = None, by: object | None = None
    ) -> None:
        """Leave something for the session thread, and wake it if it sleeps.

        :param item: ``None`` only wakes
        :param holding: whose `Holding.hand_over` is done in the same step, with ``by``
        """
        with self.mutex:
            if holding is not None:
                holding.hand_over(by)
            if item is not None:
                self._items.append(item)
            wake = self._wake
            if wake is None:
                self.wakeups_spared += 1
                return
            self._wake = None
            self.wakeups += 1
        wake()

    def take(self) -> list[Outgoing | Stream | Holding]:
        """What was left since the last call."""
        if not self._items:
            return self._items
        with self.mutex:
            items = self._items
            self._items = []
        return items

    def may_sleep(self, wake: Callable[[], object]) -> bool:
        """From here on a post calls ``wake``. False: something was posted already, do not sleep."""
        with self.mutex:
            if self._items:
                return False
            self._wake = wake
            return True

    def awake(self) -> None:
        """The session thread runs again."""
        with self.mutex:
            self._wake = None
