"""Writing the structures of a panic dump: nested blocks, each object once, holes where an object cannot be shown.

A dump is made on the thread that panicked, of objects that other threads may be changing, and of which one is broken
already. So a block whose writer fails says why and ends; the rest of the dump is written all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_INDENT = "  "


class DumpText:
    """A dump being written."""

    __slots__ = ("_depth", "_lines", "_seen")

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._seen: set[int] = set()

    def line(self, text: str) -> None:
        """Add a line, or several."""
        self._lines.extend(_INDENT * self._depth + line for line in text.rstrip("\n").split("\n"))

    @contextmanager
    def block(self, title: str) -> Iterator[None]:
        """``title {`` and ``},`` around what is written inside."""
        self.line(title + " {")
        self._depth += 1
        try:
            yield
        except Exception as exc:  # a hole in the dump, which says what is wrong with the object
            self.line(f"(no dump: {type(exc).__name__}: {exc})")
        finally:
            self._depth -= 1
            self.line("},")

    def struct(self, name: str, subject: T | None, write: Callable[[DumpText, T], None]) -> None:
        """A block for an object, in which ``write`` tells of it; an object that stands above already is not repeated.

        Strings are told apart by identity as all objects: pass only what lives as long as the dump is written.
        """
        if subject is None:
            self.line(f"{name} = NULL")
            return
        with self.block(f"{name} = {id(subject):#x}"):
            if id(subject) in self._seen:
                self.line("[Already dumped, see above]")
                return
            self._seen.add(id(subject))
            write(self, subject)

    def text(self) -> str:
        """All that was written."""
        return "\n".join(self._lines) + "\n" if self._lines else ""
