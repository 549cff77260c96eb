"""`Session.half_close`: our half ends, what still comes is dropped, and there is an end to that."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.builders import make_env, make_session
from varnishpy.session.session import Session
from varnishpy.threads import PoolSet

Pair = tuple[Session, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    session = make_session(make_env(PoolSet()))
    session.sock = ours
    with ours, theirs:
        yield session, theirs


def test_what_comes_is_dropped_until_the_peer_closes(pair: Pair) -> None:
    session, peer = pair
    session.sock.sendmsg([b"answer"])
    peer.sendall(b"x" * 100_000)
    waits = 0

    def wait_readable(seconds: float) -> bool:
        nonlocal waits
        waits += 1
        if waits == 3:  # it has read all
            assert (peer.recv(100), peer.recv(100)) == (b"answer", b"")
            peer.close()
        return True

    session.half_close(wait_readable, 1000.0)
    assert waits >= 3
    assert session.sock.recv(1) == b"", "the end was seen, nothing is left to reset for"


def test_who_goes_on_for_ever_is_heard_for_so_long_only(pair: Pair) -> None:
    session, peer = pair
    left: list[float] = []

    def wait_readable(seconds: float) -> bool:
        left.append(seconds)
        peer.sendall(b"x")
        return True

    session.half_close(wait_readable, 0.05)
    assert left and all(0 < seconds <= 0.05 for seconds in left)
    assert left == sorted(left, reverse=True)


def test_what_is_not_readable_yet_is_waited_for_again(pair: Pair) -> None:
    session, _ = pair
    answers = [True, True, False]
    session.half_close(lambda seconds: answers.pop(0), 1000.0)
    assert answers == []


def test_a_client_that_has_gone_is_no_error(pair: Pair) -> None:
    session, _ = pair
    session.sock.close()
    session.half_close(lambda seconds: pytest.fail("nobody is there"), 1000.0)
