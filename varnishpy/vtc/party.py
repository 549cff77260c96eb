"""What a script starts: servers, clients, daemons. A party has a name and a voice, and leaves nothing behind.

Those that run a script of their own do so on a thread (`ThreadedParty`); those that wait for somebody to come have a
socket besides (`ListeningParty`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from .context import Test, Waker
from .threads import PartyThread

PATIENCE = 2.0  # seconds for a thread to end when the test is over


class Party:
    """See the module text."""

    def __init__(self, test: Test, name: str) -> None:
        self.test = test
        self.name = name
        self.voice = test.voice(name)

    def reset(self) -> None:
        """The test is over: leave nothing behind."""
        raise NotImplementedError


class ThreadedParty(Party):
    """A party with a thread. :cvar title: what messages call it"""

    title = ""

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.thread: PartyThread | None = None

    def run(self, main: Callable[[], None]) -> None:
        """Start the thread."""
        self.thread = PartyThread(self.test, self.voice, main, self.name)
        self.thread.start()  # not before the script can wait for it

    def place(self) -> str:
        """What else is said of one that is waited for."""
        return ""

    def wait(self) -> None:
        """Wait for the end of its thread."""
        self.voice.say(2, f"Waiting for {self.title}{self.place()}")
        self.join()

    def join(self) -> None:
        """As `wait`, without a word."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def not_started(self) -> str:
        """What is said of one that a script waits for in vain."""
        return f"{self.title.capitalize()} not -started"

    def wait_if_asked(self, option: str) -> bool:
        """An option of its command: true if that was ``-wait``. Before any other the party must have come to rest."""
        if option == "-wait":
            if self.thread is None:
                self.voice.fatal(self.not_started())
            self.wait()
            return True
        return False


class ListeningParty(ThreadedParty):
    """A party that waits on a socket; its thread is woken when it is to stop."""

    verb = ""  # how it stops

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.sock: socket.socket | None = None
        self.waker = Waker()

    def close(self) -> None:
        """Close the socket."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def stop(self) -> None:
        """End the thread, whatever it waits for."""
        self.voice.say(2, f"{self.verb} for {self.title}")
        self.waker.wake()
        self.join()
        self.waker.close()
        self.waker = Waker()

    def reset(self) -> None:
        if self.thread is not None:
            self.voice.say(2, f"Waiting for {self.title}{self.place()}")
            self.waker.wake()
            self.thread.join_anyway(PATIENCE)
        self.waker.close()
        self.close()
