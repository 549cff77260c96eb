"""Runs a script line by line: macros expanded, each command from its language's table or the one for all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from . import numbers
from .errors import Place, ScriptError, TestFailed
from .lexer import lines
from .log import Voice
from .table import Call, Command, Table, sort_out
from .text import Text

if TYPE_CHECKING:
    from .context import Test


def find_command(language: Table, everywhere: Table, word: Text) -> Command:
    """The row for a command word.  Raises ScriptError."""
    row = language.get(word) or everywhere.get(word)
    if row is None:
        known = " ".join(sorted({*language, *everywhere, "loop"}))
        raise ScriptError(f'Unknown command: "{word}" (expected one of: {known})', word.locate())
    return row


def loop_arguments(tokens: list[Text]) -> tuple[int, Text]:
    """The count and the body of ``loop``.  Raises ScriptError."""
    if len(tokens) != 3:
        raise ScriptError("loop: expected NUMBER STRING", tokens[0].locate())
    count = numbers.whole_unsigned(tokens[1])
    if count is None:
        raise ScriptError(f"loop: expected a number, not {tokens[1]!r}", tokens[1].locate())
    return count, tokens[2]


class Interpreter:
    """Runs texts of one language on behalf of one target (a server's connection, a stream, the test itself)."""

    __slots__ = ("everywhere", "language", "target", "test", "voice")

    def __init__(self, test: Test, voice: Voice, language: Table, everywhere: Table, target: object) -> None:
        self.test = test
        self.voice = voice
        self.language = language
        self.everywhere = everywhere
        self.target = target

    def run(self, text: Text) -> None:
        """Execute ``text``; stops early when the test is over.  Raises TestFailed, ScriptError, TestAborted."""
        places, thread = self.test.places, threading.current_thread()
        outer = places.get(thread)
        try:
            self._run(text)
        finally:  # a text within a command's words: that command goes on
            if outer is not None:
                places[thread] = outer

    def _run(self, text: Text) -> None:
        test = self.test
        thread = threading.current_thread()
        for line in lines(text):
            if test.over:
                self.voice.say(1, f"Aborting execution, test {'failed' if test.failed else 'ended'}")
                return
            shown = line.shown
            self.voice.say(2, f"=== {shown[:60]}..." if len(shown) > 60 else f"=== {shown}")
            place = test.places[thread] = Place(line.tokens[0].locate(), shown)
            tokens = [test.expand_text(token) if "${" in token else token for token in line.tokens]
            if tokens[0] == "loop":
                count, body = loop_arguments(tokens)
                for turn in range(count):
                    if test.over:
                        break
                    self.voice.say(4, f"Loop #{turn}")
                    self.run(body)
                continue
            command = find_command(self.language, self.everywhere, tokens[0])
            items = sort_out(command, tokens[1:], place.position)
            call = Call(command, tokens, items, self.voice, test, self)
            try:
                command.run(self.target, call)
            except TestFailed as failure:
                if failure.position is None:
                    failure.position = place.position
                    self.voice.say(0, str(place))
                raise
