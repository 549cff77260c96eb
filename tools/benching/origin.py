"""The origin of the comparison: one thread, one selector, answers prepared. Run as a program; prints its port.

Paths: ``/1k``, ``/1m``, ``/gzip`` (8 KB), ``/esi`` (a page that includes ``/part/1`` to ``/part/5``); everything else
is 1 KB, ``/page/N`` with nine headers. What may be cached says so; ``/pass`` says ``no-store``.
"""

from __future__ import annotations

import selectors
import socket
import sys

KB = 1024
TEXT = (b"varnishpy " * 7 + b"bench\n") * 2000


def _answer(body: bytes, cache: bytes = b"max-age=3600", kind: bytes = b"text/plain") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (kind, cache, len(body)) + body


ESI = b"<html>" + b"".join(b'<esi:include src="/part/%d"/>' % n for n in range(1, 6)) + b"</html>"
PAGES = {
    b"/1m": _answer(b"x" * KB * KB),
    b"/gzip": _answer(TEXT[: 8 * KB], kind=b"text/html"),
    b"/esi": _answer(ESI, kind=b"text/html"),
    b"/pass": _answer(b"x" * KB, cache=b"no-store"),
}
PLAIN = _answer(b"x" * KB)
PAGE = (
    b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Oct 2024 10:00:00 GMT\r\nServer: bench/1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Length: 1024\r\n"
    b"Last-Modified: Mon, 30 Sep 2024 10:00:00 GMT\r\n"
    b'ETag: "%s"\r\nX-Page: %s\r\n'
    b"Cache-Control: public, max-age=36000\r\nX-Content-Type-Options: nosniff\r\n\r\n" + b"x" * KB
)


def _page(path: bytes) -> bytes:
    if path.startswith(b"/page/"):
        number = path[6:]
        return PAGE % (number, number)
    return PAGES.get(path, PLAIN)


class _Client:
    """A connection: what was read of a request, what is still to be sent."""

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        self.sock = sock
        self.selector = selector
        self.unread = b""
        self.unsent = memoryview(b"")

    def ready(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError
                self.unread += data
            self._go_on()
        except OSError:
            self.selector.unregister(self.sock)
            self.sock.close()

    def _go_on(self) -> None:
        while True:
            if self.unsent:
                try:
                    self.unsent = self.unsent[self.sock.send(self.unsent) :]
                except BlockingIOError:
                    pass
                if self.unsent:
                    self.selector.modify(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
                    return
                self.selector.modify(self.sock, selectors.EVENT_READ, self)
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            if not end:
                return
            self.unread = rest
            self.unsent = memoryview(_page(head.split(b" ", 2)[1]))
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            except BlockingIOError:
                pass


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print(listener.getsockname()[1], flush=True)
    while True:
        for key, events in selector.select():
            if key.data is not None:
                key.data.ready(events)
                continue
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ, _Client(sock, selector))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
