"""What a transport remembers of a request head that it has read: for whoever reads the same octets again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from varnishpy.log.tasklog import Records


class ReceivedHead:
    """Facts of the fields of a request as received. Never changes: the requests that brought the same octets share it.

    A request whose fields were changed since keeps the names alone (`names_only`).

    :param names: lower-case names of all fields
    :param records: their log records, or ``None`` if nobody has made them
    :param whole: the records tell of the first line as well
    """

    __slots__ = ("names", "records", "whole")

    def __init__(self, names: frozenset[str], records: Records | None = None, whole: bool = False) -> None:
        self.names = names
        self.records = records
        self.whole = whole

    def names_only(self) -> ReceivedHead:
        """The same without log records."""
        return ReceivedHead(self.names)


NO_FIELDS = ReceivedHead(frozenset())
