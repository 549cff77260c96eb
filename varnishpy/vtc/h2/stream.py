"""A stream of a script: its id, its queue of frames, its headers and body, and the thread that runs its script."""

from __future__ import annotations

from collections import deque

from .. import numbers
from ..log import Voice
from ..text import Text
from ..threads import PartyThread
from .connection import H2Connection
from .frames import Frame
from .hpack import Field


class Stream:
    """Guarded by the connection's lock where the reader touches it too."""

    __slots__ = (
        "body",
        "connection",
        "dependency",
        "frame",
        "id",
        "name",
        "queue",
        "receiving_request",
        "req",
        "resp",
        "spec",
        "thread",
        "voice",
        "waiting",
        "weight",
        "window_peer",
        "window_self",
    )

    def __init__(self, connection: H2Connection, name: Text) -> None:
        if name == "next":
            stream_id = connection.last_stream + 2 if connection.last_stream > 0 else 1
            self.name = str(stream_id)
        else:
            stream_id = numbers.unsigned(name)
            self.name = str(name)
        self.connection = connection
        self.id = stream_id
        self.voice: Voice = connection.test.voice(f"{connection.http.name}.{self.name}")
        self.spec = Text("")
        self.thread: PartyThread | None = None
        self.queue: deque[Frame] = deque()
        self.waiting = False
        self.frame: Frame | None = None
        self.window_self = connection.window_self_initial
        self.window_peer = connection.window_peer_initial
        self.body: bytes | None = None
        self.req: list[Field] = []
        self.resp: list[Field] = []
        self.receiving_request = False
        self.dependency = 0
        self.weight = 16
        connection.last_stream = stream_id
        with connection.lock:
            connection.streams[self.name] = self
            connection.lock.notify_all()

    def set_fields(self, fields: list[Field]) -> None:
        with self.connection.lock:
            if self.receiving_request:
                self.req = fields
            else:
                self.resp = fields

    def depend(self, stream: int, weight: int, exclusive: bool) -> None:
        """Note a priority; an exclusive one moves the streams that depended on the same stream below this one."""
        self.dependency = stream
        self.weight = weight
        if exclusive and self.id:
            for other in self.connection.streams.values():
                if other.id != self.id and other.dependency == stream:
                    other.dependency = self.id

    def receive(self) -> Frame | None:
        """The next frame, which becomes the one ``expect`` looks at."""
        self.frame = self.connection.receive(self)
        return self.frame

    # The script

    def start(self) -> None:
        test = self.connection.test
        self.connection.voice.say(2, f"Starting stream {self.name}")

        def run() -> None:
            test.interpreter(self.voice, "stream", self).run(self.spec)
            self.voice.say(2, f"Ending stream {self.id}")

        self.thread = PartyThread(test, self.voice, run, f"{self.voice.name}").start()

    def wait(self) -> None:
        if self.thread is None:
            self.connection.voice.fatal(f"Stream {self.id} was not started")
        self.connection.voice.say(2, f"Waiting for stream {self.id}")
        self.thread.join()
        with self.connection.lock:
            self.queue.clear()
        self.frame = None
        self.thread = None
