"""The thread that answers the manager."""

from __future__ import annotations

import socket
import sys
import threading

from varnishpy.child.main import _answer_cli
from varnishpy.cli.dispatch import Dispatcher
from varnishpy.cli.protocol import read_response


class Starved(socket.socket):
    """For a while there is no memory to receive into."""

    refusals = 3

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.refusals:
            self.refusals -= 1
            raise MemoryError
        return super().recv(size, flags)


def test_want_of_memory_does_not_end_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, Starved(fileno=theirs.detach()) as starved:
        dispatcher = Dispatcher(lambda: 1 << 20, fault=lambda text: print(text, file=sys.stderr))
        thread = threading.Thread(target=_answer_cli, args=(starved, dispatcher, lambda: None))
        thread.start()
        ours.sendall(b"nonsense\n")
        assert read_response(ours, 20.0)[0] == 101
        ours.shutdown(socket.SHUT_WR)
        thread.join(20)
        assert not thread.is_alive() and not starved.refusals
