"""An HTTP message: its first line and its headers.

Every string is a *wire string*: one character per octet (latin-1), so that what arrived can leave unchanged. Headers
stand in one list, in the order of arrival, as ``(lower-case name, name as received, value)``: requests carry a dozen of
them, and a scan of a short list beats a dictionary that must remember order, case and repetition.

A message that belongs to a running transaction logs its own changes, as ``ReqHeader``, ``ReqUnset`` and their kin: the
eight tags of each kind stand in one run of numbers (see ``log/tags.py``), so a message needs to know only the first.
Strings that are made for it are charged to the task's workspace, constants are not. A message that outgrows it, or has
more than ``max_headers`` headers, marks itself ``failed`` and its workspace overflowed, logs the header it lost, and
the transaction fails at its next step.

A message is owned by one task at a time and does no locking.
"""

from __future__ import annotations

from typing import Final

from varnishpy import stats
from varnishpy.base.workspace import Workspace
from varnishpy.http.status import REASONS
from varnishpy.log.tag_numbers import ERROR, LOST_HEADER
from varnishpy.log.tasklog import TaskLog
from varnishpy.params import params

# offsets from the first tag of a kind, e.g. ReqMethod, ReqURL, ... ReqLost
METHOD: Final = 0
URL: Final = 1
PROTOCOL: Final = 2
STATUS: Final = 3
REASON: Final = 4
HEADER: Final = 5
UNSET: Final = 6
LOST: Final = 7

# as so many of the lines that http_max_hdr allows the first line counts: its parts take as many places in the reference
FIRST_LINE: Final = 5

Header = tuple[str, str, str]


class Field:
    """A header that is added to many messages, made once; see `Message.add_field`.

    :param constant: it is charged to nobody's workspace
    """

    __slots__ = ("header", "line", "size")

    def __init__(self, name: str, value: str, constant: bool = False) -> None:
        self.header: Header = (name.lower(), name, value)
        self.line = f"{name}: {value}"
        self.size = 0 if constant else len(name) + len(value) + 3


class Message:
    """A request or a response, without its body.

    :param log: where changes are recorded, or ``None`` for a message outside any transaction
    :param first_tag: number of the kind's first log tag (``Tag.ReqMethod``, ``Tag.RespMethod``, ...)
    :param ws: the workspace that strings are charged to, or ``None``
    :param max_headers: most headers this message may have; 0 for no limit
    """

    __slots__ = (
        "method",
        "url",
        "proto",
        "status",
        "reason",
        "headers",
        "log",
        "first_tag",
        "ws",
        "max_headers",
        "failed",
    )

    def __init__(
        self,
        log: TaskLog | None = None,
        first_tag: int = 0,
        ws: Workspace | None = None,
        max_headers: int = 0,
    ) -> None:
        self.method = ""
        self.url = ""
        self.proto = "HTTP/1.1"
        self.status = 0
        self.reason = ""
        self.headers: list[Header] = []
        self.log = log
        self.first_tag = first_tag
        self.ws = ws
        self.max_headers = max_headers
        self.failed = False

    def attach(self, log: TaskLog, first_tag: int, ws: Workspace) -> None:
        """Part of a task from now on: logged there as one of its kind, charged there, as long as parameters allow."""
        self.log = log
        self.first_tag = first_tag
        self.ws = ws
        self.max_headers = params.http_max_hdr - FIRST_LINE

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, lname: str) -> str | None:
        """The first value of a header, by lower-case name, or ``None``."""
        for header in self.headers:
            if header[0] == lname:
                return header[2]
        return None

    def has(self, lname: str) -> bool:
        """Is there at least one header of that lower-case name?"""
        for header in self.headers:  # noqa: SIM110 - a generator would cost more than the scan
            if header[0] == lname:
                return True
        return False

    def values(self, lname: str) -> list[str]:
        """All values of a header, in order."""
        return [header[2] for header in self.headers if header[0] == lname]

    def count(self, lname: str) -> int:
        """How often a header stands in the message."""
        found = 0
        for header in self.headers:
            if header[0] == lname:
                found += 1
        return found

    def joined(self, lname: str) -> str | None:
        """All values of a list header joined with ``", "`` (RFC 9110 section 5.3), or ``None``."""
        found = self.values(lname)
        return ", ".join(found) if found else None

    def has_token(self, lname: str, token: str) -> bool:
        """Does a comma-separated header list contain the token, whatever its case?"""
        for header in self.headers:
            if header[0] == lname:
                for part in header[2].split(","):
                    if part.strip(" \t").lower() == token:
                        return True
        return False

    # -- changing --------------------------------------------------------------------------------------------------

    def add(self, name: str, value: str) -> None:
        """Append a header line."""
        headers = self.headers
        ws = self.ws
        if (self.max_headers and len(headers) >= self.max_headers) or (
            ws is not None and not ws.account(len(name) + len(value) + 3)
        ):
            self._lose(f"{name}: {value}")
            return
        headers.append((name.lower(), name, value))
        if self.log is not None:
            self.log.put(self.first_tag + HEADER, f"{name}: {value}")

    def add_field(self, field: Field) -> None:
        """`add` of a header made before."""
        headers = self.headers
        ws = self.ws
        size = field.size
        if (self.max_headers and len(headers) >= self.max_headers) or (
            size and ws is not None and not ws.account(size)
        ):
            self._lose(field.line)
            return
        headers.append(field.header)
        if self.log is not None:
            self.log.put(self.first_tag + HEADER, field.line)

    def set_field(self, field: Field) -> None:
        """`set` of a header made before."""
        self.unset(field.header[0])
        self.add_field(field)

    def set(self, name: str, value: str) -> None:
        """Replace all headers of that name by one."""
        self.unset(name.lower())
        self.add(name, value)

    def assign(self, name: str, value: str) -> None:
        """`set` for VCL: where there is no room for the value, the header stays as it was."""
        if self.ws is not None and not self.ws.account(len(name) + len(value) + 3):
            self.failed = True
            if self.log is not None:
                self.log.put(LOST_HEADER, f"{name}:")
            return
        self.unset(name.lower())
        if self.max_headers and len(self.headers) >= self.max_headers:
            self._lose(f"{name}: {value}")
        else:
            self._append(name, value)

    def unset(self, lname: str) -> None:
        """Remove all headers of that lower-case name."""
        for header in self.headers:
            if header[0] == lname:
                break
        else:
            return
        if self.log is not None:
            for header in self.headers:
                if header[0] == lname:
                    self.log.put(self.first_tag + UNSET, f"{header[1]}: {header[2]}")
        self.headers = [header for header in self.headers if header[0] != lname]

    def collect(self, name: str, separator: str = ", ") -> None:
        """Fold repeated headers of one name into one line (``std.collect``, and Cookie from HTTP/2)."""
        lname = name.lower()
        found = [at for at, header in enumerate(self.headers) if header[0] == lname]
        if len(found) < 2:
            return
        text = separator.join(self.headers[at][2] for at in found)
        if self.ws is not None and not self.ws.account(len(name) + len(text) + 3):
            self._lose(f"{name}: {text}")
            return
        # the order of fields is kept and nothing logged: no header goes, none comes
        dropped = set(found[1:])
        self.headers[found[0]] = (lname, self.headers[found[0]][1], text)
        self.headers = [header for at, header in enumerate(self.headers) if at not in dropped]

    # parts of the first line are constants, or charged by whoever made them

    def set_method(self, method: str) -> None:
        self.method = method
        self._log_first(METHOD, method)

    def set_url(self, url: str) -> None:
        self.url = url
        self._log_first(URL, url)

    def set_proto(self, proto: str) -> None:
        self.proto = proto
        self._log_first(PROTOCOL, proto)

    def set_status(self, status: int) -> None:
        """A status that no registry knows must be written down, for which there may be no room."""
        text = f"{status % 1000:03d}"
        if status % 1000 not in REASONS and self.ws is not None and not self.ws.account(len(text) + 1):
            self._lose(text)
            return
        self.status = status
        self._log_first(STATUS, text)

    def set_reason(self, reason: str) -> None:
        self.reason = reason
        self._log_first(REASON, reason)

    def _log_first(self, offset: int, text: str) -> None:
        if self.log is not None:
            self.log.put(self.first_tag + offset, text)

    def _append(self, name: str, value: str) -> None:
        """Append a header for which there is room."""
        self.headers.append((name.lower(), name, value))
        if self.log is not None:
            self.log.put(self.first_tag + HEADER, f"{name}: {value}")

    def _lose(self, text: str) -> None:
        self.failed = True
        stats.main.inc("losthdr")
        ws = self.ws
        if ws is not None:
            ws.mark_overflow()
        if self.log is not None:
            if ws is not None:
                self.log.put(ERROR, f"out of workspace ({ws.name})")
            self.log.put(LOST_HEADER, text)

    # -- whole messages --------------------------------------------------------------------------------------------

    def log_request_line(self) -> None:
        """Log the request line."""
        log = self.log
        if log is not None:
            first = self.first_tag
            log.put(first + METHOD, self.method)
            log.put(first + URL, self.url)
            log.put(first + PROTOCOL, self.proto)

    def log_request(self) -> None:
        """Log the request line and every header, as when a request is received or built."""
        log = self.log
        if log is None:
            return
        self.log_request_line()
        first = self.first_tag
        for header in self.headers:
            log.put(first + HEADER, f"{header[1]}: {header[2]}")

    def log_response(self) -> None:
        """Log the status line and every header, as when a response is received or built."""
        log = self.log
        if log is None:
            return
        first = self.first_tag
        log.put(first + PROTOCOL, self.proto)
        log.put(first + STATUS, f"{self.status % 1000:03d}")
        log.put(first + REASON, self.reason)
        for header in self.headers:
            log.put(first + HEADER, f"{header[1]}: {header[2]}")

    def copy_from(self, other: Message) -> None:
        """Take over first line and headers of another message; nothing is logged, nothing is shared."""
        self.method = other.method
        self.url = other.url
        self.proto = other.proto
        self.status = other.status
        self.reason = other.reason
        self.headers = other.headers.copy()
        self.failed = False

    def copy(self) -> Message:
        """First line and headers as a message of their own, outside any transaction."""
        other = Message()
        other.method = self.method
        other.url = self.url
        other.proto = self.proto
        other.status = self.status
        other.reason = self.reason
        other.headers = self.headers.copy()
        return other

    def size(self) -> int:
        """Octets of the header block in HTTP/1 form, without the first line: what ``ReqAcct`` counts."""
        return sum(len(header[1]) + len(header[2]) + 4 for header in self.headers)
