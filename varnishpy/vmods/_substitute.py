"""The filter of VMOD re: a body whose matches are replaced.

A body must be seen whole before it can be matched, so it is gathered up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from varnishpy.base.regex import Regex, RegexMatchError, expand
from varnishpy.storage.source import SourceError
from varnishpy.vcl import runtime
from varnishpy.vcl.loader import Maker
from varnishpy.vmods._filters import DeliveryFilter, FetchFilter, Pieces
from varnishpy.vmods.api import Ctx, PrivateData, VclFailure

if TYPE_CHECKING:
    from varnishpy.http.message import Message

MOST: Final = 16 << 20  # octets of a body
_PIECE: Final = 65536

Groups = Sequence[str | None]


def matches(regex: Regex, text: str) -> Iterator[tuple[tuple[int, int], Groups]]:
    """Where each match is, and its groups, from left to right. After an empty one the next begins behind it."""
    at = 0
    while at <= len(text):
        found = regex.groups(text, at)
        if found is None:
            return
        yield found
        at = found[0][1] + (found[0][0] == found[0][1])


class Substitutions:
    """What replaces the matches of one object, by the message whose body it is.

    A message belongs to one task, and so do the entries for it: they go when it is over.
    """

    def __init__(self) -> None:
        self._of: dict[int, dict[int, str]] = {}  # single operations on it are atomic

    @staticmethod
    def _message(ctx: Ctx) -> Message:
        found: Message | None = ctx.http_beresp if ctx.req is None else ctx.http_resp
        if found is None:
            raise VclFailure("vmod re: there is no response here")
        return found

    def set(self, ctx: Ctx, number: int, text: str) -> None:
        """Replace a match by a text; number 0: all others."""
        key = id(self._message(ctx))

        def forget(_priv: PrivateData) -> None:
            self._of.pop(key, None)

        runtime.priv_task(ctx, (self, key)).on_end = forget
        self._of.setdefault(key, {})[number] = text

    def clear(self, ctx: Ctx) -> None:
        """Replace nothing."""
        self._of.pop(id(self._message(ctx)), None)

    def of(self, message: Message) -> dict[int, str]:
        """What replaces what in a message's body; empty if nothing does."""
        return dict(self._of.get(id(message), {}))


def substitute(regex: Regex, body: bytes, texts: dict[int, str]) -> bytes:
    """The body with its matches replaced. Raises `RegexMatchError`."""
    text = body.decode("latin-1")
    out: list[str] = []
    done = 0
    for number, ((start, end), groups) in enumerate(matches(regex, text), 1):
        replacement = texts.get(number, texts.get(0))
        if replacement is not None:
            out += [text[done:start], expand(replacement, groups)]
            done = end
    return "".join([*out, text[done:]]).encode("latin-1")


def register(ctx: Ctx, name: str, regex: Regex, substitutions: Substitutions, most: int = MOST) -> None:
    """Make a name known as a filter of fetches and deliveries of this VCL.

    :param most: octets of a body that is still looked at
    """

    class Fetch(FetchFilter):
        def __init__(self) -> None:
            super().__init__()
            self._texts: dict[int, str] = {}
            self._result: memoryview | None = None

        def open(self) -> bool:
            self._texts = substitutions.of(self.context.response)
            if self._texts:
                self.context.response.unset("content-length")
            return bool(self._texts)

        def read(self, limit: int) -> bytes:
            if self._result is None:
                self._result = memoryview(self._replaced())
            piece, self._result = self._result[:limit], self._result[limit:]
            return bytes(piece)

        def _replaced(self) -> bytes:
            body = bytearray()
            while data := self.source.read(_PIECE):
                body += data
                if len(body) > most:
                    raise self.context.error(f"vmod re: body of more than {most} octets")
            try:
                return substitute(regex, bytes(body), self._texts)
            except RegexMatchError as error:
                raise self.context.error(f"vmod re: regex match returned {error}") from None

    class Delivery(DeliveryFilter):
        def __init__(self) -> None:
            super().__init__()
            self._texts: dict[int, str] = {}

        def open(self) -> bool:
            self._texts = substitutions.of(self.context.response)
            if self._texts:
                self.context.response.unset("content-length")
                self.context.length = -1
            return bool(self._texts)

        def run(self, pieces: Pieces) -> Pieces:
            body = bytearray()
            for piece in pieces:
                body += piece
                if len(body) > most:
                    raise SourceError(f"vmod re: body of more than {most} octets")
            try:
                result = substitute(regex, bytes(body), self._texts)
            except RegexMatchError as error:
                raise SourceError(f"vmod re: regex match returned {error}") from None
            if result:
                yield result

    Fetch.name = Delivery.name = name
    fetch: dict[str, Maker] = {name: Fetch}
    delivery: dict[str, Maker] = {name: Delivery}
    ctx.vcl.host.add_filters(ctx.vcl, fetch, delivery)
