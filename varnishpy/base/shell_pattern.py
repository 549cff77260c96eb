"""Shell patterns (fnmatch(3)) as regular expressions, on wire strings."""

from __future__ import annotations

import functools
import re


@functools.lru_cache(maxsize=256)
def glob_regex(pattern: str, pathname: bool, noescape: bool, period: bool) -> re.Pattern[str]:
    """The regular expression of a shell pattern; arguments are the flags of fnmatch(3).

    :param pathname: a slash is matched by a slash only
    :param noescape: a backslash is a character like others
    :param period: a leading period is matched by a period only
    """
    single = "[^/]" if pathname else "."
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        leading = at == 0 or (pathname and pattern[at - 1] == "/")
        at += 1
        guard = r"(?!\.)" if period and leading and char in "*?[" else ""
        if char == "*":
            out.append(f"{guard}{single}*")
        elif char == "?":
            out.append(guard + single)
        elif char == "[":
            text, at = _glob_class(pattern, at, pathname)
            out.append(guard + text)
        elif char == "\\" and not noescape and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _glob_class(pattern: str, at: int, pathname: bool) -> tuple[str, int]:
    start = at
    if pattern[at : at + 1] in ("!", "^"):
        at += 1
    end = pattern.find("]", at + 1)
    if end < 0:
        return r"\[", start
    inside = re.sub(r"([\\\[&~|])", r"\\\1", pattern[at:end])
    slash = "(?!/)" if pathname else ""
    return f"{slash}[{'^' if at > start else ''}{inside}]", end + 1
