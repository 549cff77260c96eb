"""``syslog``: receives syslog datagrams and runs a script on them."""

from __future__ import annotations

import re
import select

from . import net, numbers
from .compare import matches
from .context import Test
from .kinds import one_of
from .party import ListeningParty
from .table import Call, Command, Opt, table
from .text import Text

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_PRIORITY = re.compile(rb"<([0-9]+)>")
MAX_DATAGRAM = 65536


_KINDS = {"LEVEL": one_of(LEVELS)}


class Syslog(ListeningParty):
    title = "syslog server"
    verb = "Stopping"

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.spec = Text("")
        self.bind_to = test.settings.listen_address
        self.repeat = 1
        self.level = -1
        self.last = b""
        self.timeout = test.settings.max_duration * 0.5

    def bind(self) -> None:
        if self.sock is not None:
            self.sock.close()
        try:
            self.sock = net.listen(self.bind_to, 0, datagram=True)
        except net.NetError as error:
            self.voice.fatal(f"Syslog server bind address ({self.bind_to}) cannot be resolved: {error}")
        where = net.bound(self.sock)
        self.test.define(self.voice, f"{self.name}_addr", where.address)
        self.test.define(self.voice, f"{self.name}_port", where.port)
        self.test.define(self.voice, f"{self.name}_sock", where.together)
        self.bind_to = where.together

    def start(self) -> None:
        self.voice.say(2, "Starting syslog server")
        if self.sock is None:
            self.bind()
        self.voice.say(1, f"Bound on {self.bind_to}")
        spec = self.spec

        def run() -> None:
            self.voice.say(2, f"Started on {self.bind_to} (level: {self.level})")
            for turn in range(self.repeat):
                if self.repeat > 1:
                    self.voice.say(3, f"Iteration {turn}")
                self.test.interpreter(self.voice, "syslog", self).run(spec)
            self.close()
            self.voice.say(2, "Ending")

        self.run(run)

    def receive(self, level: int) -> None:
        """Wait for the next datagram of that level; others are logged and dropped."""
        assert self.sock is not None
        while True:
            if not self.test.poll(self.sock.fileno(), select.POLLIN, self.timeout, self.waker):
                self.voice.fatal(f"syslog rx timeout (fd: {self.sock.fileno()} {self.timeout:.3f}s)")
            self.last = self.sock.recv(MAX_DATAGRAM)
            self.voice.dump(4, "syslog", self.last)
            priority = _PRIORITY.match(self.last)
            if priority is None:
                self.voice.fatal("syslog PRI: expected '<NUMBER>' at the beginning")
            if int(priority.group(1)) & 7 == level:
                return

    def place(self) -> str:
        return f" ({-1 if self.sock is None else self.sock.fileno()})"


def _recv(syslog: Syslog, call: Call) -> None:
    syslog.receive(LEVELS.index(call.plain[0]) if call.plain else syslog.level)


def _expect(syslog: Syslog, call: Call) -> None:
    operator, pattern = call.plain
    if matches(pattern, syslog.last) != (operator == "~"):
        call.voice.fatal(f'EXPECT FAILED {operator} "{pattern}"')
    call.voice.say(4, f'EXPECT MATCH {operator} "{pattern}"')


SYSLOG_SPEC = table(
    Command("recv", _recv, "[LEVEL]", text="receive a message of level {0}", kinds=_KINDS),
    Command("expect", _expect, "~|!~ REGEX", text="expect the message {0} {1}", mixed=False),
)


def _syslog(test: Test, call: Call) -> None:
    syslog = test.party(Syslog, str(call.plain[0]))
    for item in call.items[1:]:
        if syslog.wait_if_asked(item.option):
            continue
        if item.option == "-stop":
            syslog.stop()
            continue
        if syslog.thread is not None:
            syslog.wait()
        match item.option:
            case "-repeat":
                syslog.repeat = numbers.integer(item.args[0])
            case "-bind":
                syslog.bind_to = str(item.args[0])
                syslog.bind()
            case "-level":
                syslog.level = LEVELS.index(item.args[0])
            case "-start":
                syslog.start()
            case _:
                syslog.spec = item.args[0]


SYSLOG = Command(
    "syslog",
    _syslog,
    "NAME [SPEC...]",
    {
        "-wait": Opt("", "wait for its end"),
        "-stop": Opt("", "stop it"),
        "-repeat": Opt("NUMBER", "{0} times"),
        "-bind": Opt("ADDRESS", "on {0}"),
        "-level": Opt("LEVEL", "for messages of level {0}", kinds=_KINDS),
        "-start": Opt("", "start it"),
    },
    "syslog server {0}",
    named="S",
    language="syslog",
)
