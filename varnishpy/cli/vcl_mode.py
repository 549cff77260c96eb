"""The word by which the manager tells the child how warm a program is to be: ``1auto``, ``0cold``."""

from __future__ import annotations

from typing import NamedTuple


class VclMode(NamedTuple):
    """Whether the program serves, and the state that an operator gave it: auto, cold or warm."""

    warm: bool
    state: str

    @property
    def word(self) -> str:
        """As ``vcl.load`` and ``vcl.state`` carry it."""
        return f"{int(self.warm)}{self.state}"

    @classmethod
    def parse(cls, word: str) -> VclMode:
        """The mode that a word means."""
        return cls(word[:1] == "1", word[1:])
