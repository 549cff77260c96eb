"""Regular expressions of readers: patterns of PCRE2 held against the payload of records."""

from __future__ import annotations

from collections.abc import Callable


class PatternError(Exception):
    """The pattern is wrong; the text is PCRE2's, ``position`` where in the pattern this was noticed."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


def compile_search(pattern: str, caseless: bool) -> Callable[[str], bool]:
    """A function that tells whether a text has a match. A match that gives up at its limit counts as one.

    :raises PatternError: the pattern is wrong
    """
    # late: a daemon that only writes the log need not load the engine through this room
    from varnishpy.base.regex import Regex, RegexError, RegexMatchError

    try:
        regex = Regex(pattern, caseless)
    except RegexError as error:
        raise PatternError(str(error), error.position - (len("(?i)") if caseless else 0)) from error

    def search(text: str) -> bool:
        try:
            return bool(regex.search(text))
        except RegexMatchError:
            return True

    return search
