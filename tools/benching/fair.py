"""A fair HTTP/1.1 client: every connection has one request under way, and is served in the order of its answers.

Run as a program: ``fair.py PORT PATH CONNECTIONS SECONDS [COUNT]``; prints one JSON object: good and failed answers,
seconds, answers per connection, latencies in milliseconds (p50, p99, p99.9, max). ``{}`` in the path becomes a number
that no other request has. With COUNT it stops after that many answers.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

DRAIN = 5.0  # seconds for the last answers


@dataclass
class Result:
    """What a run saw."""

    seconds: float = 0.0
    failed: int = 0
    answers: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "good": len(self.latencies),
            "failed": self.failed,
            "seconds": self.seconds,
            "answers": self.answers,
            **percentiles(self.latencies),
        }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the maximum, in milliseconds; zeros of nothing."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3, 3) if ordered else 0.0

    return {"p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0)}


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


class _Connection:
    def __init__(self, port: int) -> None:
        self.port = port
        self.sock = _connect(port)
        self.began = 0.0
        self.data = b""
        self.missing = -1  # octets of the answer still to come; -1 before its head is whole
        self.answers = 0

    def renew(self) -> None:
        """The peer has closed: connect anew."""
        self.sock.close()
        self.sock = _connect(self.port)
        self.data, self.missing = b"", -1

    def take(self) -> int:
        """Read: the status of an answer that is whole now, 0 if none is, -1 when the peer has closed."""
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return 0
        except OSError:
            return -1
        if not data:
            return -1
        if self.missing >= 0:
            self.missing -= len(data)
        else:
            self.data += data
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return 0
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.missing = end + 4 + length - len(self.data)
        if self.missing > 0:
            return 0
        status = int(self.data[9:12])
        self.data, self.missing = b"", -1
        return status


def run(port: int, path: str, connections: int, seconds: float, count: int | None = None) -> Result:
    """Drive a server; see the module text."""
    numbers = itertools.count(time.time_ns())
    host = b"Host: bench\r\n\r\n"

    def request() -> bytes:
        return b"GET %s HTTP/1.1\r\n%s" % (path.format(next(numbers)).encode(), host)

    fixed = None if "{" in path else request()
    result = Result()
    selector = selectors.DefaultSelector()
    everyone = [_Connection(port) for _ in range(connections)]
    began = now = time.perf_counter()
    end = began + seconds
    asked = 0

    def ask(each: _Connection) -> None:
        nonlocal asked
        asked += 1
        each.began = time.perf_counter()
        each.sock.send(fixed or request())

    for each in everyone:
        selector.register(each.sock, selectors.EVENT_READ, each)
        ask(each)
    busy = connections
    while busy and now < end + DRAIN:
        for key, _ in selector.select(0.2):
            each = key.data
            status = each.take()
            if not status:
                continue
            now = time.perf_counter()
            if status == 200:
                each.answers += 1
                result.latencies.append(now - each.began)
            else:
                result.failed += 1
            over = now >= end or asked == count
            if status < 0 or over:
                selector.unregister(each.sock)
                busy -= 1
            if status < 0 and not over:
                each.renew()
                selector.register(each.sock, selectors.EVENT_READ, each)
                busy += 1
            if not over:
                ask(each)
        now = time.perf_counter()
    result.seconds = min(now, end) - began
    result.failed += busy
    result.answers = [each.answers for each in everyone]
    for each in everyone:
        each.sock.close()
    return result


def main(words: list[str]) -> int:
    port, path, connections, seconds = int(words[0]), words[1], int(words[2]), float(words[3])
    json.dump(run(port, path, connections, seconds, int(words[4]) if len(words) > 4 else None).as_dict(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
