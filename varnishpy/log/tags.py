"""The tags of log records: one row each with number, name, one line of meaning, nature, and number in older logs.

Numbers are those of Varnish's current sources, which its ``VSLHEAD2`` shared-memory log carries. Logs in the older
``VSLHEAD1`` layout (Varnish up to 7.2) number a few tags differently; :data:`FILE_NUMBERS` and :data:`FROM_FILE`
translate at the moment a record is laid down or read, so nothing else need know. The forty HTTP tags stand in five
runs of eight (request, response, backend request, backend response, object), each in the order Method, URL, Protocol,
Status, Reason, Header, Unset, Lost; ``http/message.py`` counts on that.

Code that logs takes the numbers from ``log/tag_numbers.py``, which ``make docs`` makes of this table: to look up a
member of an Enum costs more than to drop a record that is masked.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class TagFlag(IntFlag):
    """The nature of a tag."""

    NONE = 0
    UNUSED = 1  # exists for the regularity of the table, never written
    UNSAFE = 2  # may hold octets that are unfit for a terminal: quoted when printed
    BINARY = 4  # not text: printed in hexadecimal, not terminated by NUL


_PLAIN: Final = TagFlag.NONE
_UNUSED: Final = TagFlag.UNUSED
_UNSAFE: Final = TagFlag.UNSAFE
_BINARY: Final = TagFlag.BINARY
_MASKED: Final = True  # not logged unless vsl_mask asks for it
_SHOWN: Final = False
_AS_NOTICE: Final = -1  # the older layout has no such tag: there its records are Notices


class Tag(IntEnum):
    """Log tags with the numbers of the current layout.

    :ivar text: what it tells
    :ivar flags: its nature
    :ivar masked: not logged unless the parameter ``vsl_mask`` asks for it
    :ivar legacy: its number in the ``VSLHEAD1`` layout; 0: the same
    """

    text: str
    flags: TagFlag
    masked: bool
    legacy: int

    def __new__(
        cls, number: int, text: str = "", flags: TagFlag = _PLAIN, masked: bool = _SHOWN, legacy: int = 0
    ) -> Tag:
        member = int.__new__(cls, number)
        member._value_ = number
        member.text = text
        member.flags = flags
        member.masked = masked
        member.legacy = legacy
        return member

    Debug = 1, "Notes for whoever is debugging", _UNSAFE, _MASKED
    Error = 2, "Something went wrong"
    CLI = 3, "Traffic between manager and cache process"
    SessOpen = 4, "A client connected"
    SessClose = 5, "A client connection ended"
    BackendOpen = 6, "A connection to a backend is in use"
    BackendClose = 7, "A connection to a backend was given up or kept for reuse", _PLAIN, _SHOWN, 8
    BackendSSL = 8, "TLS towards a backend", _PLAIN, _SHOWN, _AS_NOTICE
    TLS = 9, "TLS towards a client", _PLAIN, _SHOWN, _AS_NOTICE
    HttpGarbage = 10, "A request that could not be parsed", _UNSAFE, _SHOWN, 9
    Proxy = 11, "Addresses from the PROXY protocol", _PLAIN, _SHOWN, 10
    ProxyGarbage = 12, "A PROXY preamble that could not be parsed", _PLAIN, _SHOWN, 11
    Length = 13, "Length of the fetched body"
    FetchError = 14, "Why a fetch failed"
    ReqMethod = 15, "Client request: method"
    ReqURL = 16, "Client request: URL"
    ReqProtocol = 17, "Client request: protocol"
    ReqStatus = 18, "Client request: status code", _UNUSED
    ReqReason = 19, "Client request: reason phrase", _UNUSED
    ReqHeader = 20, "Client request: header field"
    ReqUnset = 21, "Client request: header field removed or replaced"
    ReqLost = 22, "Client request: lost header field", _UNUSED
    RespMethod = 23, "Client response: method", _UNUSED
    RespURL = 24, "Client response: URL", _UNUSED
    RespProtocol = 25, "Client response: protocol"
    RespStatus = 26, "Client response: status code"
    RespReason = 27, "Client response: reason phrase"
    RespHeader = 28, "Client response: header field"
    RespUnset = 29, "Client response: header field removed or replaced"
    RespLost = 30, "Client response: lost header field", _UNUSED
    BereqMethod = 31, "Backend request: method"
    BereqURL = 32, "Backend request: URL"
    BereqProtocol = 33, "Backend request: protocol"
    BereqStatus = 34, "Backend request: status code", _UNUSED
    BereqReason = 35, "Backend request: reason phrase", _UNUSED
    BereqHeader = 36, "Backend request: header field"
    BereqUnset = 37, "Backend request: header field removed or replaced"
    BereqLost = 38, "Backend request: lost header field", _UNUSED
    BerespMethod = 39, "Backend response: method", _UNUSED
    BerespURL = 40, "Backend response: URL", _UNUSED
    BerespProtocol = 41, "Backend response: protocol"
    BerespStatus = 42, "Backend response: status code"
    BerespReason = 43, "Backend response: reason phrase"
    BerespHeader = 44, "Backend response: header field"
    BerespUnset = 45, "Backend response: header field removed or replaced"
    BerespLost = 46, "Backend response: lost header field", _UNUSED
    ObjMethod = 47, "Cached object: method", _UNUSED
    ObjURL = 48, "Cached object: URL", _UNUSED
    ObjProtocol = 49, "Cached object: protocol", _PLAIN, _MASKED
    ObjStatus = 50, "Cached object: status code", _PLAIN, _MASKED
    ObjReason = 51, "Cached object: reason phrase", _PLAIN, _MASKED
    ObjHeader = 52, "Cached object: header field", _PLAIN, _MASKED
    ObjUnset = 53, "Cached object: header field removed or replaced"
    ObjLost = 54, "Cached object: lost header field", _UNUSED
    BogoHeader = 55, "A received header that makes no sense"
    LostHeader = 56, "A header that did not fit"
    TTL = 57, "Lifetime given to an object"
    Fetch_Body = 58, "How the body will be fetched"
    VCL_acl = 59, "Outcome of an ACL check"
    VCL_call = 60, "A VCL subroutine was entered"
    VCL_trace = 61, "A trace point of VCL was passed"
    VCL_return = 62, "How a VCL subroutine ended"
    ReqStart = 63, "A client request begins"
    Hit = 64, "A cached object was found"
    HitPass = 65, "A hit-for-pass object was found"
    ExpBan = 66, "An object fell to a ban"
    ExpKill = 67, "Steps of an object's expiry", _PLAIN, _MASKED
    WorkThread = 68, "A worker thread starts or ends", _PLAIN, _MASKED
    ESI_xmlerror = 69, "Trouble in the markup of an ESI document"
    Hash = 70, "A value that went into the hash key", _UNSAFE, _MASKED
    Backend_health = 71, "Outcome of a health probe"
    VCL_Log = 72, "Text logged by std.log()"
    VCL_Error = 73, "Error while VCL was running"
    Gzip = 74, "Compression or decompression of a body"
    Link = 75, "A transaction that this one started"
    Begin = 76, "A transaction begins"
    End = 77, "A transaction ends"
    VSL = 78, "Remarks of the log reader itself"
    Storage = 79, "Where the object is kept"
    Timestamp = 80, "When a step was reached"
    ReqAcct = 81, "Octets of a client request and its response"
    PipeAcct = 82, "Octets of a piped request"
    BereqAcct = 83, "Octets of a backend request and its response"
    VfpAcct = 84, "Work of a fetch filter", _PLAIN, _MASKED
    Witness = 85, "Order in which locks were taken"
    H2RxHdr = 86, "Header of a received HTTP/2 frame", _BINARY, _MASKED, 87
    H2RxBody = 87, "Payload of a received HTTP/2 frame", _BINARY, _MASKED, 88
    H2TxHdr = 88, "Header of a sent HTTP/2 frame", _BINARY, _MASKED, 89
    H2TxBody = 89, "Payload of a sent HTTP/2 frame", _BINARY, _MASKED, 90
    HitMiss = 90, "A hit-for-miss object was found", _PLAIN, _SHOWN, 91
    Filters = 91, "Filters the body goes through", _PLAIN, _SHOWN, 92
    SessError = 92, "A connection could not be accepted", _PLAIN, _SHOWN, 93
    VCL_use = 93, "The VCL that serves this transaction", _PLAIN, _SHOWN, 94
    Notice = 94, "Worth knowing about how the request was handled", _PLAIN, _SHOWN, 95
    VdpAcct = 95, "Work of a delivery filter", _PLAIN, _MASKED, 96
    ReqTarget = 96, "Request target exactly as received", _PLAIN, _MASKED, _AS_NOTICE


# Numbers with a meaning of their own in the ring; no record carries them as a tag.
BOGUS = 0
RESERVED = 254
BATCH = 255

TAGS: dict[int, Tag] = {int(tag): tag for tag in Tag}

# Names of numbers that only the VSLHEAD1 layout has.
_LEGACY_ONLY = {7: "BackendReuse", 12: "Backend", 86: "BackendStart"}


def _file_number(tag: Tag, layout: int) -> int:
    if layout == 1 and tag.legacy:
        return Tag.Notice.legacy if tag.legacy == _AS_NOTICE else tag.legacy
    return int(tag)


def _from_file(layout: int) -> list[int]:
    numbers = [0] * 256
    for tag in Tag:
        if layout != 1 or tag.legacy != _AS_NOTICE:
            numbers[_file_number(tag, layout)] = int(tag)
    return numbers


#: layout -> number in the file of each of our tags (index: our number; 0 where there is no tag)
FILE_NUMBERS: dict[int, list[int]] = {
    layout: [_file_number(TAGS[n], layout) if n in TAGS else 0 for n in range(256)] for layout in (1, 2)
}
#: layout -> our number of each number in the file (0: a tag we do not have)
FROM_FILE: dict[int, list[int]] = {1: _from_file(1), 2: _from_file(2)}


def name_of(number: int) -> str:
    """The name of a tag by our number; ``Unknown-N`` for one that is not in the table."""
    tag = TAGS.get(number)
    return tag.name if tag is not None else f"Unknown-{number}"


def legacy_name(file_number: int) -> str | None:
    """Name of a tag that only the ``VSLHEAD1`` layout knows, by its number there."""
    return _LEGACY_ONLY.get(file_number)
