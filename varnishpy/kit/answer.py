"""What a test gets for a request: the response, and what the cache's log says of how it came about."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from varnishpy.kit.client import Received
from varnishpy.log.grouping import Transaction


class Answer(Received):
    """A response. What is asked of its log is read when it is first asked for; the log trails by a moment."""

    def __init__(self, received: Received, transactions: Callable[[], list[Transaction]]) -> None:
        super().__init__(received.status, received.reason, received.fields, received.body, received.port)
        self._transactions = transactions

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.reason}, {len(self.body)} octets>"

    # -- the log ---------------------------------------------------------------------------------------------------

    @cached_property
    def transactions(self) -> list[Transaction]:
        """The request's transaction, and those below it: fetches, ESI includes, restarts."""
        return self._transactions()

    @cached_property
    def log(self) -> str:
        """All of it as varnishlog shows it."""
        lines = []
        for each in self.transactions:
            lines.append(f"{'*' * max(each.level, 1)}  << {each.kind} {each.vxid} >>")
            lines += [f"-  {record.name:<14} {record.text}" for record in each.records if not record.binary]
        return "\n".join(lines)

    def records(self, tag: str) -> list[str]:
        """The texts of one kind of record, over all transactions."""
        return [record.text for each in self.transactions for record in each.records if record.name == tag]

    @property
    def vxid(self) -> int:
        """Of the request."""
        return self.transactions[0].vxid

    @property
    def took_path(self) -> list[str]:
        """Subroutines and what they returned, in order: ``["RECV hash", "HASH lookup", "MISS fetch", ...]``."""
        path: list[str] = []
        for each in self.transactions:
            for record in each.records:
                if record.name == "VCL_call":
                    path.append(record.text)
                elif record.name == "VCL_return" and path:
                    path[-1] = f"{path[-1]} {record.text}"
        return path

    @property
    def _calls(self) -> set[str]:
        records = self.transactions[0].records
        return {record.text for record in records if record.name == "VCL_call"}

    @property
    def hit(self) -> bool:
        """Was it served from an object in the cache?"""
        return "HIT" in self._calls and not self.pass_

    @property
    def miss(self) -> bool:
        """Was it fetched, to be cached if it may be?"""
        return "MISS" in self._calls

    @property
    def pass_(self) -> bool:
        """Was it fetched for this client alone?"""
        return "PASS" in self._calls

    @property
    def age(self) -> int:
        """The ``Age`` of the response, 0 without one."""
        value = self.headers.get("age", "0")
        return int(value) if value.isdecimal() else 0

    # -- assertions: what fails shows the transaction's log ----------------------------------------------------------

    def _assert(self, holds: bool, what: str) -> Answer:
        __tracebackhide__ = True
        if not holds:
            raise AssertionError(f"{what}; the request's log:\n{self.log}")
        return self

    def assert_hit(self) -> Answer:
        """It was a hit."""
        __tracebackhide__ = True
        return self._assert(self.hit, "no hit")

    def assert_miss(self) -> Answer:
        """It was a miss."""
        __tracebackhide__ = True
        return self._assert(self.miss, "no miss")

    def assert_pass(self) -> Answer:
        """It was a pass."""
        __tracebackhide__ = True
        return self._assert(self.pass_, "no pass")

    def assert_status(self, status: int) -> Answer:
        """It has this status."""
        __tracebackhide__ = True
        return self._assert(self.status == status, f"the status is {self.status}, not {status}")

    def assert_header(self, name: str, value: str | None = None) -> Answer:
        """It has this header, with this value if one is given."""
        __tracebackhide__ = True
        if value is None:
            return self._assert(name in self.headers, f"there is no header {name}")
        found = self.headers.getall(name)
        return self._assert(value in found, f"{name} is {', '.join(found) or 'not there'}, not {value}")

    def assert_no_header(self, name: str) -> Answer:
        """It has no such header."""
        __tracebackhide__ = True
        return self._assert(name not in self.headers, f"there is a header {name}: {self.headers.get(name)}")
