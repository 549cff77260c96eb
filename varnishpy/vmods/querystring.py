"""VMOD querystring: the parameters of a URL, cleaned, sorted and filtered.

The functions are those of libvmod-querystring. Parameters are what stands between ``&`` after the first ``?``; nothing
is decoded. One without a name is always dropped, and so is a ``?`` with nothing behind it. Where a URL is not given it
is ``req.url`` or ``bereq.url``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from varnishpy.base.shell_pattern import glob_regex
from varnishpy.vmods.api import BOOL, NOT_GIVEN, REGEX, STRING, Ctx, NotGiven, VclFailure

Mode = Literal["keep", "drop"]
Match = Literal["name", "param"]
Test = Callable[[str], object]


def _url(ctx: Ctx, url: STRING | NotGiven) -> STRING:
    if url is not NOT_GIVEN:
        return url
    message = ctx.http_bereq if ctx.http_req is None else ctx.http_req
    if message is None:
        raise VclFailure("Invalid transaction")
    return message.url


def _name(parameter: str) -> str:
    return parameter.partition("=")[0]


def _whole(parameter: str) -> str:
    return parameter


def _parameters(query: str) -> list[str]:
    return [parameter for parameter in query.split("&") if _name(parameter)]


def _unrepeated(parameters: Iterable[str], part: Callable[[str], str]) -> list[str]:
    """Those whose part differs from that of the one before."""
    kept: list[str] = []
    for parameter in parameters:
        if not kept or part(kept[-1]) != part(parameter):
            kept.append(parameter)
    return kept


def _joined(ctx: Ctx, path: str, parameters: list[str], url: str) -> str:
    """The URL with these parameters; as it was where there is no room for a new one."""
    fresh = f"{path}?{'&'.join(parameters)}" if parameters else path
    return fresh if ctx.ws is None or ctx.ws.account(len(fresh) + 1) else url


def clean(ctx: Ctx, url: STRING | NotGiven = NOT_GIVEN) -> STRING:
    """The URL without parameters that have no name."""
    given = _url(ctx, url)
    if given is None:
        return None
    path, _mark, query = given.partition("?")
    return _joined(ctx, path, _parameters(query), given)


def sort(ctx: Ctx, url: STRING | NotGiven = NOT_GIVEN, uniq: BOOL = False) -> STRING:
    """The URL with its parameters in the order of their octets; *uniq*: each once."""
    given = _url(ctx, url)
    if given is None:
        return None
    path, _mark, query = given.partition("?")
    found = sorted(_parameters(query))
    return _joined(ctx, path, _unrepeated(found, _whole) if uniq else found, given)


def remove(ctx: Ctx, url: STRING | NotGiven = NOT_GIVEN) -> STRING:
    """The URL without its query string."""
    given = _url(ctx, url)
    return None if given is None else ctx.account(given.partition("?")[0])


class filter:
    """Says which parameters are meant, by name, or (``match = param``) as a whole."""

    def __init__(self, ctx: Ctx, vcl_name: str, sort: BOOL = False, uniq: BOOL = False, match: Match = "name") -> None:
        self._sort = sort
        self._uniq = uniq
        self._part = _name if match == "name" else _whole
        self._tests: list[Test] = []

    def _add(self, ctx: Ctx, function: str, test: Test) -> None:
        if ctx.method != "init":
            raise VclFailure(f"querystring.filter.{function}() is for vcl_init")
        self._tests.append(test)

    def add_string(self, ctx: Ctx, string: STRING) -> None:
        """Mean those that are this string."""
        self._add(ctx, "add_string", lambda text: text == string)

    def add_glob(self, ctx: Ctx, glob: STRING) -> None:
        """Mean those that a shell pattern matches (fnmatch(3), without flags)."""
        self._add(ctx, "add_glob", glob_regex(glob or "", False, False, False).fullmatch)

    def add_regex(self, ctx: Ctx, regex: REGEX) -> None:
        """Mean those that a regular expression matches."""
        self._add(ctx, "add_regex", regex.search)

    def _chosen(self, query: str, mode: str) -> list[str]:
        found = _parameters(query)
        if self._tests:
            keep = mode == "keep"
            found = [one for one in found if any(test(self._part(one)) for test in self._tests) is keep]
        if self._sort:
            found.sort(key=self._part)
        return _unrepeated(found, self._part) if self._uniq else found

    def apply(self, ctx: Ctx, url: STRING | NotGiven = NOT_GIVEN, mode: Mode = "drop") -> STRING:
        """The URL without the parameters that are meant, or (``keep``) without the others.

        A filter that means nothing leaves all of them.
        """
        given = _url(ctx, url)
        if given is None:
            return None
        path, _mark, query = given.partition("?")
        return _joined(ctx, path, self._chosen(query, mode), given)

    def extract(self, ctx: Ctx, url: STRING | NotGiven = NOT_GIVEN, mode: Mode = "drop") -> STRING:
        """What `apply` leaves of the query string alone; null if there was none."""
        given = _url(ctx, url)
        query = (given or "").partition("?")[2]
        return ctx.account("&".join(self._chosen(query, mode))) if query else None
