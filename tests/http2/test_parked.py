"""Sessions that have nothing to do: parked, resumed, timed out, drained."""

from __future__ import annotations

import pytest

from tests.conftest import Setting
from tests.h2.conversation import GET_BLOCK
from tests.http2.h2_room import Room
from tests.waiting import wait_for
from varnishpy.h2 import frames
from varnishpy.h2.tables import F


def test_idle_sessions_are_told_goodbye(room: Room, setting: Setting) -> None:
    setting("timeout_idle", "0.1")
    setting("timeout_linger", "10")
    client = room.connect().hello()
    out = client.rest()
    assert (out[-1].kind, out[-1].code) == (F.GOAWAY, 0)
    wait_for(lambda: room.sessions[0].closed)
    assert room.sessions[0].closed == "REM_CLOSE"


def test_parked_sessions_hold_no_thread_and_resume(room: Room, setting: Setting) -> None:
    setting("timeout_linger", "0.01")
    client = room.connect().hello((1, 100)).get(1)
    client.until(F.DATA)
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    wait_for(lambda: room.pool.counts()["idle"] == 12)
    client.get(3)
    assert client.until(F.DATA, 3).payload == b"hello"
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    client.send(frames.frame(F.PING, 0, 0, bytes(3)))  # half a frame's worth of nonsense
    assert client.rest()[-1].code == 6


def test_parked_sessions_time_out(room: Room, setting: Setting) -> None:
    setting("timeout_linger", "0.01")
    setting("timeout_idle", "0.2")
    client = room.connect().hello()
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    assert client.rest()[-1].kind == F.GOAWAY
    wait_for(lambda: room.sessions[0].ended)


def test_parked_sessions_notice_the_client_leaving(room: Room, setting: Setting) -> None:
    setting("timeout_linger", "0.01")
    client = room.connect().hello()
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    client.sock.close()
    wait_for(lambda: room.sessions[0].ended)


def test_half_a_frame_survives_parking(room: Room, setting: Setting) -> None:
    setting("timeout_linger", "0.01")
    client = room.connect().hello()
    frame = frames.frame(F.HEADERS, 5, 1, GET_BLOCK)
    client.send(frame[:11])
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    client.send(frame[11:])
    assert client.until(F.DATA).payload == b"hello"


@pytest.mark.parametrize("linger", ["0.01", "10"])
def test_draining(room: Room, setting: Setting, linger: str) -> None:
    setting("timeout_linger", linger)
    client = room.connect().hello()
    client.until(F.SETTINGS)
    if linger == "0.01":
        wait_for(lambda: room.pool.counts()["resting"] == 1)
    room.env.draining = True
    room.transport.drain()
    goaway = client.until(F.GOAWAY)
    assert goaway.payload[:4] == b"\x7f\xff\xff\xff"
    ping = client.until(F.PING)
    client.get(1)
    client.send(frames.frame(F.PING, 1, 0, ping.payload))
    out = client.rest()
    assert [f.payload for f in out if f.kind == F.DATA] == [b"hello"]
    assert out[-1].kind == F.GOAWAY
