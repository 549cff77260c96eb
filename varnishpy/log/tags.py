"""The tags of log records: number, name, nature and one line of meaning for each.

Numbers are those of Varnish's current sources, which its ``VSLHEAD2`` shared-memory log carries. Logs in the older
``VSLHEAD1`` layout (Varnish up to 7.2) number a few tags differently; :data:`FILE_NUMBERS` and :data:`FILE_NAMES`
translate at the moment a record is laid down or read, so nothing else need know. The forty HTTP tags stand in five
runs of eight (request, response, backend request, backend response, object), each in the order Method, URL, Protocol,
Status, Reason, Header, Unset, Lost; ``http/message.py`` counts on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class TagFlag(IntFlag):
    """The nature of a tag's payload."""

    NONE = 0
    UNUSED = 1  # exists for the regularity of the table, never written
    UNSAFE = 2  # may hold octets that are unfit for a terminal: quoted when printed
    BINARY = 4  # not text: printed in hexadecimal, not terminated by NUL


class Tag(IntEnum):
    """Log tags with the numbers of the current layout."""

    Debug = 1
    Error = 2
    CLI = 3
    SessOpen = 4
    SessClose = 5
    BackendOpen = 6
    BackendClose = 7
    BackendSSL = 8
    TLS = 9
    HttpGarbage = 10
    Proxy = 11
    ProxyGarbage = 12
    Length = 13
    FetchError = 14
    ReqMethod = 15
    ReqURL = 16
    ReqProtocol = 17
    ReqStatus = 18
    ReqReason = 19
    ReqHeader = 20
    ReqUnset = 21
    ReqLost = 22
    RespMethod = 23
    RespURL = 24
    RespProtocol = 25
    RespStatus = 26
    RespReason = 27
    RespHeader = 28
    RespUnset = 29
    RespLost = 30
    BereqMethod = 31
    BereqURL = 32
    BereqProtocol = 33
    BereqStatus = 34
    BereqReason = 35
    BereqHeader = 36
    BereqUnset = 37
    BereqLost = 38
    BerespMethod = 39
    BerespURL = 40
    BerespProtocol = 41
    BerespStatus = 42
    BerespReason = 43
    BerespHeader = 44
    BerespUnset = 45
    BerespLost = 46
    ObjMethod = 47
    ObjURL = 48
    ObjProtocol = 49
    ObjStatus = 50
    ObjReason = 51
    ObjHeader = 52
    ObjUnset = 53
    ObjLost = 54
    BogoHeader = 55
    LostHeader = 56
    TTL = 57
    Fetch_Body = 58
    VCL_acl = 59
    VCL_call = 60
    VCL_trace = 61
    VCL_return = 62
    ReqStart = 63
    Hit = 64
    HitPass = 65
    ExpBan = 66
    ExpKill = 67
    WorkThread = 68
    ESI_xmlerror = 69
    Hash = 70
    Backend_health = 71
    VCL_Log = 72
    VCL_Error = 73
    Gzip = 74
    Link = 75
    Begin = 76
    End = 77
    VSL = 78
    Storage = 79
    Timestamp = 80
    ReqAcct = 81
    PipeAcct = 82
    BereqAcct = 83
    VfpAcct = 84
    Witness = 85
    H2RxHdr = 86
    H2RxBody = 87
    H2TxHdr = 88
    H2TxBody = 89
    HitMiss = 90
    Filters = 91
    SessError = 92
    VCL_use = 93
    Notice = 94
    VdpAcct = 95
    ReqTarget = 96


# Numbers with a meaning of their own in the ring; no record carries them as a tag.
BOGUS = 0
RESERVED = 254
BATCH = 255

_SHORT: dict[str, str] = {
    "Debug": "Notes for whoever is debugging",
    "Error": "Something went wrong",
    "CLI": "Traffic between manager and cache process",
    "SessOpen": "A client connected",
    "SessClose": "A client connection ended",
    "BackendOpen": "A connection to a backend is in use",
    "BackendClose": "A connection to a backend was given up or kept for reuse",
    "BackendSSL": "TLS towards a backend",
    "TLS": "TLS towards a client",
    "HttpGarbage": "A request that could not be parsed",
    "Proxy": "Addresses from the PROXY protocol",
    "ProxyGarbage": "A PROXY preamble that could not be parsed",
    "Length": "Length of the fetched body",
    "FetchError": "Why a fetch failed",
    "BogoHeader": "A received header that makes no sense",
    "LostHeader": "A header that did not fit",
    "TTL": "Lifetime given to an object",
    "Fetch_Body": "How the body will be fetched",
    "VCL_acl": "Outcome of an ACL check",
    "VCL_call": "A VCL subroutine was entered",
    "VCL_trace": "A trace point of VCL was passed",
    "VCL_return": "How a VCL subroutine ended",
    "ReqStart": "A client request begins",
    "Hit": "A cached object was found",
    "HitPass": "A hit-for-pass object was found",
    "ExpBan": "An object fell to a ban",
    "ExpKill": "Steps of an object's expiry",
    "WorkThread": "A worker thread starts or ends",
    "ESI_xmlerror": "Trouble in the markup of an ESI document",
    "Hash": "A value that went into the hash key",
    "Backend_health": "Outcome of a health probe",
    "VCL_Log": "Text logged by std.log()",
    "VCL_Error": "Error while VCL was running",
    "Gzip": "Compression or decompression of a body",
    "Link": "A transaction that this one started",
    "Begin": "A transaction begins",
    "End": "A transaction ends",
    "VSL": "Remarks of the log reader itself",
    "Storage": "Where the object is kept",
    "Timestamp": "When a step was reached",
    "ReqAcct": "Octets of a client request and its response",
    "PipeAcct": "Octets of a piped request",
    "BereqAcct": "Octets of a backend request and its response",
    "VfpAcct": "Work of a fetch filter",
    "Witness": "Order in which locks were taken",
    "H2RxHdr": "Header of a received HTTP/2 frame",
    "H2RxBody": "Payload of a received HTTP/2 frame",
    "H2TxHdr": "Header of a sent HTTP/2 frame",
    "H2TxBody": "Payload of a sent HTTP/2 frame",
    "HitMiss": "A hit-for-miss object was found",
    "Filters": "Filters the body goes through",
    "SessError": "A connection could not be accepted",
    "VCL_use": "The VCL that serves this transaction",
    "Notice": "Worth knowing about how the request was handled",
    "VdpAcct": "Work of a delivery filter",
    "ReqTarget": "Request target exactly as received",
}

_HTTP_KINDS = (("Req", "Client request"), ("Resp", "Client response"), ("Bereq", "Backend request"),
               ("Beresp", "Backend response"), ("Obj", "Cached object"))  # fmt: skip
# part, text, written for requests, written for responses
_HTTP_PARTS = (
    ("Method", "method", True, False),
    ("URL", "URL", True, False),
    ("Protocol", "protocol", True, True),
    ("Status", "status code", False, True),
    ("Reason", "reason phrase", False, True),
    ("Header", "header field", True, True),
    ("Unset", "header field removed or replaced", True, True),
    ("Lost", "lost header field", False, False),
)
_UNSAFE = frozenset({"Debug", "HttpGarbage", "Hash"})
_BINARY = frozenset({"H2RxHdr", "H2RxBody", "H2TxHdr", "H2TxBody"})
MASKED_BY_DEFAULT = frozenset(
    {"Debug", "ExpKill", "H2RxBody", "H2RxHdr", "H2TxBody", "H2TxHdr", "Hash", "ObjHeader", "ObjProtocol", "ObjReason",
     "ObjStatus", "ReqTarget", "VdpAcct", "VfpAcct", "WorkThread"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TagInfo:
    """What is known of one tag."""

    number: int
    name: str
    flags: TagFlag
    text: str


def _table() -> dict[int, TagInfo]:
    text = dict(_SHORT)
    unused = set()
    for position, (kind, kind_text) in enumerate(_HTTP_KINDS):
        is_request = position in (0, 2)
        for part, part_text, of_request, of_response in _HTTP_PARTS:
            text[kind + part] = f"{kind_text}: {part_text}"
            if not (of_request if is_request else of_response):
                unused.add(kind + part)
    table = {}
    for tag in Tag:
        flags = TagFlag.NONE
        if tag.name in unused:
            flags |= TagFlag.UNUSED
        if tag.name in _UNSAFE:
            flags |= TagFlag.UNSAFE
        if tag.name in _BINARY:
            flags |= TagFlag.BINARY
        table[int(tag)] = TagInfo(int(tag), tag.name, flags, text[tag.name])
    return table


TAGS: dict[int, TagInfo] = _table()
BY_NAME: dict[str, Tag] = {tag.name.lower(): tag for tag in Tag}

# VSLHEAD1: these differ; all others have the same number in both layouts. BackendReuse (7), Backend (12) and
# BackendStart (86) exist only there. Tags which that layout has no number for are written as Notice.
_LEGACY_NUMBERS = {
    Tag.BackendClose: 8, Tag.HttpGarbage: 9, Tag.Proxy: 10, Tag.ProxyGarbage: 11, Tag.H2RxHdr: 87, Tag.H2RxBody: 88,
    Tag.H2TxHdr: 89, Tag.H2TxBody: 90, Tag.HitMiss: 91, Tag.Filters: 92, Tag.SessError: 93, Tag.VCL_use: 94,
    Tag.Notice: 95, Tag.VdpAcct: 96, Tag.BackendSSL: 95, Tag.TLS: 95, Tag.ReqTarget: 95,
}  # fmt: skip
_LEGACY_ONLY = {7: "BackendReuse", 12: "Backend", 86: "BackendStart"}

#: layout -> number in the file of each of our tags (index: our number; 0 where there is no tag)
FILE_NUMBERS: dict[int, list[int]] = {
    1: [_LEGACY_NUMBERS.get(Tag(n), n) if n in TAGS else 0 for n in range(256)],
    2: [n if n in TAGS else 0 for n in range(256)],
}


def _from_file(layout: int) -> list[int]:
    numbers = [0] * 256
    for ours, theirs in enumerate(FILE_NUMBERS[layout]):
        if theirs and not (layout == 1 and ours in (Tag.BackendSSL, Tag.TLS, Tag.ReqTarget)):
            numbers[theirs] = ours
    return numbers


#: layout -> our number of each number in the file (0: a tag we do not have)
FROM_FILE: dict[int, list[int]] = {1: _from_file(1), 2: _from_file(2)}


def name_of(number: int) -> str:
    """The name of a tag by our number; ``Unknown-N`` for one that is not in the table."""
    info = TAGS.get(number)
    return info.name if info is not None else f"Unknown-{number}"


def legacy_name(file_number: int) -> str | None:
    """Name of a tag that only the ``VSLHEAD1`` layout knows, by its number there."""
    return _LEGACY_ONLY.get(file_number)
