"""Finds ESI instructions in a body that arrives piece by piece (ESI Language Specification 1.0, the part that Varnish
does).

Known are ``<esi:include src= onerror=/>``, ``<esi:remove>...</esi:remove>``, ``<esi:comment .../>`` and ``<!--esi ...
-->``, whose inside is processed. Comments, CDATA sections and other elements pass untouched, and what looks like ESI
inside them is none. A body that does not begin with ``<`` is no XML and passes untouched as a whole, unless the feature
``esi_disable_xml_check`` says otherwise.

Every octet fed comes out again, in order, marked *verbatim* (deliver) or *skip* (leave out). The parser holds back only
what it cannot decide yet: the beginning of a tag. Nothing here raises: bad ESI is reported as ``ESI_xmlerror``,
counted, and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from varnishpy.params import params
from varnishpy.request.esi_codes import Include

#: a tag longer than this is broken (or an attack on our memory)
MAX_TAG: Final = 65536

_BOMS: Final = (b"\xef\xbb\xbf", b"\xeb\xbb\xbf")  # the true one, and the one that the reference looks for
_SPACE: Final = b" \t\r\n"
_NAME_START: Final = frozenset(range(0x80, 0x100)) | frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:"
)
_NAME: Final = _NAME_START | frozenset(b"0123456789-.")
_ENTITIES: Final = (("&apos;", "'"), ("&quot;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


class Sink(Protocol):
    """Where the parser delivers."""

    def mark(self, piece: bytes, verbatim: bool) -> None:
        """So many octets more are to be delivered, or left out."""

    def include(self, instruction: Include) -> None:
        """An object is to be delivered here."""

    def complain(self, text: str, error: bool) -> None:
        """Log and count an error or warning about the document."""

    def remark(self, text: str) -> None:
        """Log a warning that is not counted."""


class _TagError(Exception):
    """The tag is bad and has no effect."""


class EsiParser:
    """One document.

    :param url: of the document, which relative includes are relative to
    """

    __slots__ = ("_buffer", "_in_comment", "_remove", "_sink", "_state", "_until", "_url", "found")

    def __init__(self, sink: Sink, url: str) -> None:
        self._sink = sink
        self._url = url
        self._buffer = b""
        self._state = self._start
        self._until = b""
        self._in_comment = False  # inside <!--esi ... -->
        self._remove = False  # inside <esi:remove>
        self.found = False  # there was something for us

    def feed(self, data: bytes) -> None:
        """Go on with more of the body."""
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer and self._state():
            pass

    def finish(self) -> None:
        """The body has ended."""
        state = self._state
        if state == self._start and self._buffer:
            self._state = self._test_xml
            while self._buffer and self._state():
                pass
            state = self._state
        inside = state not in (self._start, self._test_xml, self._not_xml, self._text)
        if inside:
            self._sink.complain("VEP ended inside a tag", True)
        if self._buffer:
            self._mark(len(self._buffer), state != self._esi_tag and not self._remove)

    # -- states: each takes from the buffer and tells whether it got further ---------------------------------------

    def _mark(self, count: int, verbatim: bool) -> None:
        if count:
            self._sink.mark(self._buffer[:count], verbatim)
            self._buffer = self._buffer[count:]

    def _start(self) -> bool:
        if params.feature.esi_remove_bom:
            for bom in _BOMS:
                if self._buffer.startswith(bom):
                    self._mark(len(bom), False)
                    break
                if bom.startswith(self._buffer):
                    return False
        self._state = self._text if params.feature.esi_disable_xml_check else self._test_xml
        return True

    def _test_xml(self) -> bool:
        buffer = self._buffer
        blank = len(buffer) - len(buffer.lstrip(_SPACE))
        self._mark(blank, True)
        if not self._buffer:
            return False
        if self._buffer[:1] == b"<":
            self._state = self._text
            return True
        if self._buffer[0] in (0xEF, 0xEB):
            self._sink.remark("No ESI processing, first char not '<' but BOM. (See feature esi_remove_bom)")
        else:
            self._sink.remark("No ESI processing, first char not '<'. (See feature esi_disable_xml_check)")
        self._state = self._not_xml
        return True

    def _not_xml(self) -> bool:
        self._mark(len(self._buffer), True)
        return False

    def _text(self) -> bool:
        """Text between tags."""
        buffer = self._buffer
        end = buffer.find(b"<")
        if self._in_comment:
            close = buffer.find(b"-->", 0, end if end >= 0 else len(buffer))
            if close >= 0:
                self._mark(close, not self._remove)
                self._mark(3, False)
                self._in_comment = False
                self.found = True
                return True
        if end < 0:
            keep = 0
            if self._in_comment:
                keep = 2 if buffer.endswith(b"--") else 1 if buffer.endswith(b"-") else 0
            self._mark(len(buffer) - keep, not self._remove)
            return False
        self._mark(end, not self._remove)
        self._state = self._opening
        return True

    def _opening(self) -> bool:
        """The buffer begins with ``<``: what kind of tag is it?"""
        rest = self._buffer[1:10]
        for pattern, action in _OPENINGS:
            if rest.startswith(pattern):
                action(self, 1 + len(pattern))
                return True
            if pattern.startswith(rest):
                return False  # not enough of it yet
        self._other(1)
        return True

    def _open_esi_comment(self, length: int) -> None:
        if self._remove:
            self._sink.complain("ESI 1.0 Nested <!--esi element in <esi:remove>", True)
        self._mark(length, False)
        self._in_comment = True
        self._state = self._text

    def _open_nothing(self, length: int) -> None:
        self._mark(length, not self._remove)
        self._state = self._text

    def _open_comment(self, length: int) -> None:
        self._in_comment = False
        self._until = b"-->"
        self._mark(length, not self._remove)
        self._state = self._verbatim_until

    def _open_cdata(self, length: int) -> None:
        self._until = b"]]>"
        self._mark(length, not self._remove)
        self._state = self._verbatim_until

    def _open_esi(self, length: int) -> None:
        self.found = True
        self._until = self._buffer[1:2]  # "/" for an end tag
        self._sink.mark(b"", not self._remove)  # what is said of this tag shall not refer to one just before
        self._mark(length, False)
        self._state = self._esi_tag

    def _other(self, length: int) -> None:
        """A tag of somebody else's."""
        self._mark(length, not self._remove)
        if params.feature.esi_ignore_other_elements:
            self._state = self._text
        else:
            self._until = b">"
            self._state = self._verbatim_until

    def _verbatim_until(self) -> bool:
        buffer = self._buffer
        until = self._until
        end = buffer.find(until)
        if end >= 0:
            self._mark(end + len(until), not self._remove)
            self._state = self._text
            return True
        keep = min(len(until) - 1, len(buffer))
        while keep and not until.startswith(buffer[len(buffer) - keep :]):
            keep -= 1
        self._mark(len(buffer) - keep, not self._remove)
        return False

    def _esi_tag(self) -> bool:
        end = self._buffer.find(b">")
        if end < 0:
            if len(self._buffer) > MAX_TAG:
                self._sink.complain("ESI 1.0 tag is too long", True)
                self._mark(len(self._buffer), False)
                self._until = b">"
                self._state = self._skip_until
            return False
        tag = self._buffer[:end]
        self._mark(end + 1, False)
        self._state = self._text
        try:
            self._tag(tag, self._until == b"/")
        except _TagError as exc:
            self._sink.complain(str(exc), True)
        return True

    def _skip_until(self) -> bool:
        end = self._buffer.find(b">")
        if end < 0:
            self._mark(len(self._buffer), False)
            return False
        self._mark(end + 1, False)
        self._state = self._text
        return True

    # -- tags ------------------------------------------------------------------------------------------------------

    def _tag(self, tag: bytes, end_tag: bool) -> None:
        """One ESI tag, between ``<esi:`` or ``</esi:`` and ``>``."""
        if tag.startswith(b"include"):
            self._check_place("include", end_tag)
            empty, values = _attributes(tag[7:], (b"src=", b"onerror="))
            self._include(empty, values)
        elif tag.startswith(b"remove"):
            empty, _ = _attributes(tag[6:], ())
            if empty:
                raise _TagError("ESI 1.0 <esi:remove/> not legal")
            if self._remove and not end_tag:
                raise _TagError("ESI 1.0 <esi:remove> already open")
            if not self._remove and end_tag:
                raise _TagError("ESI 1.0 <esi:remove> not open")
            self._remove = not end_tag
        elif tag.startswith(b"comment"):
            self._check_place("comment", end_tag)
            empty, _ = _attributes(tag[7:], ())
            if not empty:
                raise _TagError("ESI 1.0 <esi:comment> needs final '/'")
        else:
            raise _TagError("ESI 1.0 <esi:bogus> element")

    def _check_place(self, name: str, end_tag: bool) -> None:
        if self._remove:
            raise _TagError(f"ESI 1.0 <esi:{name}> element nested in <esi:remove>")
        if end_tag:
            raise _TagError(f"ESI 1.0 </esi:{name}> illegal end-tag")

    def _include(self, empty: bool, values: dict[bytes, str]) -> None:
        if not empty:
            self._sink.complain("ESI 1.0 <esi:include> lacks final '/'", False)
        src = values.get(b"src=")
        if src is None:
            raise _TagError("ESI 1.0 <esi:include> lacks src attr")
        host = ""
        if src.startswith("http://") and len(src) > 7:
            host, src = self._split(src[7:])
        elif src.startswith("https://") and len(src) > 8:
            if not params.feature.esi_ignore_https:
                self._sink.complain("ESI 1.0 <esi:include> with https:// ignored", False)
                return
            self._sink.complain("ESI 1.0 <esi:include> https:// treated as http://", False)
            host, src = self._split(src[8:])
        elif not src.startswith("/"):
            path = self._url.partition("?")[0]
            folder = path.rpartition("/")[0] if "/" in path else path
            src = f"{folder}/{src}"
        for entity, char in _ENTITIES:
            src = src.replace(entity, char)
        self._sink.include(Include(host, src, values.get(b"onerror=") == "continue"))

    @staticmethod
    def _split(text: str) -> tuple[str, str]:
        host, slash, path = text.partition("/")
        if not slash:
            raise _TagError("ESI 1.0 <esi:include> invalid src= URL")
        return host, slash + path


_OPENINGS: Final[tuple[tuple[bytes, Callable[[EsiParser, int], None]], ...]] = (
    (b"!--esi", EsiParser._open_esi_comment),
    (b"!---->", EsiParser._open_nothing),
    (b"!--", EsiParser._open_comment),
    (b"/esi:", EsiParser._open_esi),
    (b"esi:", EsiParser._open_esi),
    (b"![CDATA[", EsiParser._open_cdata),
)


def _attributes(tag: bytes, wanted: tuple[bytes, ...]) -> tuple[bool, dict[bytes, str]]:
    """Read attributes; tells whether the tag is empty (ends in ``/``), and the values of those wanted."""
    at = 0
    size = len(tag)
    empty = False
    separated = False
    values: dict[bytes, str] = {}
    while True:
        while at < size and not empty and tag[at] in _SPACE:
            at += 1
            separated = True
        if at < size and not empty and tag[at : at + 1] == b"/":
            at += 1
            empty = True
        if at == size:
            return empty, values
        if empty:
            raise _TagError("XML 1.0 '>' does not follow '/' in tag")
        if not separated or tag[at] not in _NAME_START:
            raise _TagError("XML 1.0 Illegal attribute start char")
        name = next((name for name in wanted if tag.startswith(name, at)), None)
        if name is not None:
            at += len(name)
        else:
            while at < size and tag[at] in _NAME:
                at += 1
            if at == size or tag[at : at + 1] in b"/ \t\r\n":
                continue
            if tag[at : at + 1] != b"=":
                raise _TagError("XML 1.0 Illegal attr char")
            at += 1
        value, at = _value(tag, at)
        if name == b"src=":
            if name in values:
                raise _TagError("ESI 1.0 <esi:include> has multiple src= attributes")
            if any(char in value for char in " \t\r\n"):
                raise _TagError("ESI 1.0 <esi:include> has whitespace in src= attribute")
        if name is not None:
            values[name] = value


def _value(tag: bytes, at: int) -> tuple[str, int]:
    """An attribute's value, and where it ends."""
    quote = tag[at : at + 1]
    if quote in (b'"', b"'"):
        at += 1
        end = tag.find(quote, at)
    elif quote and quote in b" \t":
        raise _TagError("XML 1.0 Illegal attribute delimiter")
    else:
        found = (tag.find(blank, at) for blank in (b" ", b"\t"))
        end = min((place for place in found if place >= 0), default=-1)
    if end < 0:
        raise _TagError("XML 1.0 Missing end attribute delimiter")
    return tag[at:end].decode("latin-1"), end + 1
