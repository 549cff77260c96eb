"""The chunked transfer coding (RFC 9112 section 7.1), without any I/O.

The decoder works on the front of its caller's receive buffer and leaves there whatever follows the body, such as the
next pipelined request. It is strict where leniency has been used to smuggle requests: sizes are hexadecimal digits
without sign, prefix or leading space, every line ends in CRLF, extensions are skipped but may not grow without limit,
and trailer lines must be valid fields.
"""

from __future__ import annotations

import re
from typing import Final

from varnishpy.http.message import Header
from varnishpy.http.wire import MAX_CONTENT_LENGTH
from varnishpy.http.wire_fields import WireError, parse_fields

LAST_CHUNK: Final = b"0\r\n\r\n"
CHUNK_END: Final = b"\r\n"

# A size line holds at most this many octets, extensions included; common servers use the same order of magnitude.
MAX_SIZE_LINE: Final = 512
# All extensions of one body together. Without it, a body of one-octet chunks could carry unbounded overhead.
MAX_EXTENSIONS: Final = 16 * 1024
# Hexadecimal digits of the largest size, leading zeros aside; some senders pad with zeros, within MAX_ZEROS.
MAX_DIGITS: Final = 16
MAX_ZEROS: Final = 20

_LENIENT_SIZE: Final = re.compile(rb"[ \t]*0*([0-9A-Fa-f]+)[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?")
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?")

_SIZE, _DATA, _TAIL, _TRAILERS, _DONE = range(5)


def chunk_head(size: int) -> bytes:
    """What stands in front of a chunk of so many octets (more than 0)."""
    return b"%x\r\n" % size


def last_chunk(trailers: list[Header] | None = None) -> bytes:
    """The end of a body, with its trailer fields."""
    if not trailers:
        return LAST_CHUNK
    fields = "".join(f"{name}: {value}\r\n" for _, name, value in trailers)
    return b"0\r\n" + fields.encode("latin-1") + b"\r\n"


def encode_chunk(data: bytes | bytearray | memoryview) -> bytes:
    """A whole chunk; data must not be empty, for an empty chunk would end the body."""
    if not data:
        raise ValueError("an empty chunk ends the body")
    return b"".join((chunk_head(len(data)), data, CHUNK_END))


class ChunkedDecoder:
    """Takes a chunked body off the front of a buffer, piece by piece.

    :param max_trailer: most octets of the trailer section, line ends included
    :param max_trailers: most trailer fields
    :param lone_lf: a lone LF may stand for CRLF behind a chunk, as the reference lets origins do
    :param lenient: and everywhere else, with blanks and any number of zeros before a size (``feature=+http1_compat``)

    :ivar done: the body has ended; nothing behind it was touched
    :ivar trailers: the trailer fields, once ``done``
    :ivar want: octets of the current chunk that have not arrived yet; with an empty buffer a caller may read that many
        straight into place and report them with `skip`
    """

    __slots__ = (
        "_extensions",
        "_lenient",
        "_lone_lf",
        "_max_trailer",
        "_max_trailers",
        "_scanned",
        "_state",
        "done",
        "trailers",
        "want",
    )

    def __init__(
        self, max_trailer: int = 8192, max_trailers: int = 64, lone_lf: bool = False, lenient: bool = False
    ) -> None:
        self.done = False
        self.trailers: list[Header] = []
        self.want = 0
        self._state = _SIZE
        self._extensions = 0
        self._lenient = lenient
        self._lone_lf = lone_lf or lenient
        self._max_trailer = max_trailer
        self._max_trailers = max_trailers
        self._scanned = 0

    def skip(self, count: int) -> None:
        """Account octets of the current chunk that did not come through the buffer."""
        assert 0 <= count <= self.want
        self.want -= count
        if self.want == 0:
            self._state = _TAIL

    def decode(self, buf: bytearray, limit: int) -> bytes:
        """Take at most ``limit`` octets of data out of the buffer.

        Framing behind the data is taken off as far as it has arrived, so that ``done`` is set as early as can be: with
        a limit of 0 this finishes a body whose data is complete. ``b""`` says that the buffer must be filled further,
        or, if ``done``, that the body has ended.

        :raises WireError: the coding is broken; the text is the reference's, for a ``FetchError`` record
        """
        pieces: list[bytes] = []
        state = self._state
        while state != _DONE:
            if state == _DATA:
                take = min(limit, self.want, len(buf))
                if take <= 0:
                    break
                pieces.append(bytes(buf[:take]))
                del buf[:take]
                limit -= take
                self.want -= take
                if self.want == 0:
                    self._state = _TAIL
            elif state == _SIZE:
                if not self._size_line(buf):
                    break
            elif state == _TAIL:
                if self._lone_lf and buf.startswith(b"\n"):
                    del buf[:1]
                    self._state = state = _SIZE
                    continue
                if not buf.startswith(CHUNK_END):
                    if not CHUNK_END.startswith(bytes(buf[:2])):
                        raise WireError("chunked tail no NL")
                    break
                del buf[:2]
                self._state = _SIZE
            elif not self._trailer_section(buf):
                break
            state = self._state
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _size_line(self, buf: bytearray) -> bool:
        end = buf.find(b"\n", 0, MAX_SIZE_LINE)
        if self._lenient:
            match = _LENIENT_SIZE.fullmatch(buf, 0, end) if end > 0 else None
            if end < 0 and len(buf) < MAX_SIZE_LINE:
                return False
            if match is None:
                raise WireError("chunked header too long" if end < 0 else "chunked header non-hex")
            return self._begin_chunk(buf, end, match)
        if end < 0:
            if len(buf) >= MAX_SIZE_LINE:
                raise WireError("chunked header too long")
            if buf and _SIZE_LINE.fullmatch(buf[:-1] if buf[-1] == 0x0D else buf) is None:
                raise self._bad_size_line(buf)
            return False
        match = _SIZE_LINE.fullmatch(buf, 0, end - 1) if end else None
        if match is None or buf[end - 1] != 0x0D:
            raise self._bad_size_line(buf)
        if len(match[1]) > MAX_ZEROS + MAX_DIGITS:
            raise WireError("chunked header too long")
        return self._begin_chunk(buf, end, match)

    def _begin_chunk(self, buf: bytearray, end: int, match: re.Match[bytes]) -> bool:
        digits = match[1]
        if len(digits.lstrip(b"0")) > MAX_DIGITS:
            raise WireError("chunked header too long")
        size = int(digits, 16)
        if size > MAX_CONTENT_LENGTH:
            raise WireError("bogusly large chunk size")
        if match[2] is not None:
            self._extensions += len(match[2])
            if self._extensions > MAX_EXTENSIONS:
                raise WireError("chunked header too long")
        del buf[: end + 1]
        self.want = size
        self._scanned = 0
        self._state = _DATA if size else _TRAILERS
        return True

    @staticmethod
    def _bad_size_line(buf: bytearray) -> WireError:
        """The complaint about a size line that cannot become valid, however it goes on."""
        if buf[0] not in b"0123456789abcdefABCDEF":
            return WireError("chunked header non-hex")
        return WireError("chunked header no NL")

    def _trailer_section(self, buf: bytearray) -> bool:
        end_octets = 1 if self._lenient and buf.startswith(b"\n") else 2
        if end_octets == 1 or buf.startswith(b"\r\n"):
            del buf[:end_octets]
            self._state = _DONE
            self.done = True
            return True
        end = buf.find(b"\r\n\r\n", max(0, self._scanned - 3))
        self._scanned = len(buf)
        if end < 0:
            if len(buf) >= self._max_trailer:
                raise WireError("chunked trailers too long")
            return False
        if end + 4 > self._max_trailer:
            raise WireError("chunked trailers too long")
        lines = bytes(buf[:end]).decode("latin-1").split("\r\n")
        self.trailers = parse_fields(lines, 0, self._max_trailers)
        del buf[: end + 4]
        self._state = _DONE
        self.done = True
        return True
