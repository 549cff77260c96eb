"""The terminal as the live views of counters, records and response times use it: curses(3) and raw keys.

A view draws the whole screen, waits for a key, and draws again. Ctrl-C and the signals TERM and HUP raise
KeyboardInterrupt in it, which is a good end.
"""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from varnishpy.tools.usage import ToolError

BOLD = curses.A_BOLD
DIM = curses.A_DIM
REVERSE = curses.A_REVERSE
STANDOUT = curses.A_STANDOUT
NO_KEY = -1
RESIZED = curses.KEY_RESIZE


def control(letter: str) -> int:
    """The code of a key with Ctrl."""
    return ord(letter.upper()) & 0x1F


class Screen:
    """Lines and columns count from 0. What does not fit is cut off."""

    def __init__(self, window: curses.window) -> None:
        self._window = window

    @property
    def height(self) -> int:
        """Lines there are now."""
        return self._window.getmaxyx()[0]

    @property
    def width(self) -> int:
        """Columns there are now."""
        return self._window.getmaxyx()[1]

    def clear(self) -> None:
        """Begin a new picture."""
        self._window.erase()

    def put(self, line: int, column: int, text: str, look: int = 0) -> None:
        """Write a text; the terminal is asked for what it cannot show in ``?``."""
        if not 0 <= line < self.height or not 0 <= column < self.width:
            return
        shown = "".join(char if char.isprintable() else "?" for char in text[: self.width - column])
        shown = shown.encode(self._window.encoding, "replace").decode(self._window.encoding)
        with contextlib.suppress(curses.error):  # the last corner of the screen: written, and told of as an error
            self._window.addstr(line, column, shown, look)

    def fill(self, line: int, look: int) -> None:
        """Give a whole line a look."""
        self.put(line, 0, " " * self.width, look)

    def show(self) -> None:
        """Let the picture be seen."""
        self._window.refresh()

    def repaint(self) -> None:
        """Write every character again, whatever the terminal is thought to show."""
        self._window.redrawwin()
        self._window.refresh()

    def key(self, seconds: float) -> int:
        """The next key's code, `RESIZED`, or `NO_KEY` after so many seconds. Ctrl-C and Ctrl-Z do what they do."""
        self._window.timeout(max(0, int(seconds * 1000)))
        code = self._window.getch()
        if code == control("c"):
            raise KeyboardInterrupt
        if code == control("z"):
            curses.endwin()
            os.kill(os.getpid(), signal.SIGTSTP)
            return RESIZED
        return code

    def common(self, code: int) -> None:
        """Keys that mean the same in views without a help page: quit, paint again, or nothing (a beep)."""
        if code in (ord("q"), ord("Q"), control("q")):
            raise KeyboardInterrupt
        if code in (control("l"), control("t")):
            self.repaint()
        elif code not in (NO_KEY, RESIZED):
            curses.beep()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    """Take over the terminal for as long as the context lasts. In the main thread only.

    :raises ToolError: the terminal is unfit
    """
    locale.setlocale(locale.LC_ALL, "")
    try:
        curses.setupterm()
    except curses.error as error:
        raise ToolError(f"The terminal cannot be used: {error}") from None
    old = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    window = curses.initscr()
    try:
        curses.raw()
        curses.noecho()
        curses.nonl()
        with contextlib.suppress(curses.error):  # a terminal that cannot hide its cursor
            curses.curs_set(0)
        window.keypad(True)
        yield Screen(window)
    finally:
        curses.endwin()
        for number, handler in old.items():
            signal.signal(number, handler)
