"""Stream commands that send frames."""

from __future__ import annotations

from .. import numbers
from ..bodies import synthetic
from ..http1_commands import body_option
from ..kinds import KINDS
from ..table import Call, Command, Opt
from ..text import Text
from .frames import priority_fields, settings_payload
from .hpack import HpackError, Indexing
from .stream import Stream
from .tables import ERROR_CODES, Flag, FrameType, Setting


def _error(word: str) -> str:
    """The kind of an error: its name or number."""
    return "" if word in ERROR_CODES else KINDS["UINT32"](word) and "an error's name or number"


def _error_code(word: str) -> int:
    return ERROR_CODES[word] if word in ERROR_CODES else numbers.unsigned(word)


def _octets(word: str) -> bytes:
    return word.encode("latin-1")


_PSEUDO = {
    "-status": b":status",
    "-url": b":path",
    "-method": b":method",
    "-req": b":method",
    "-scheme": b":scheme",
}
_REQUEST_DEFAULTS = {b":path": b"/", b":method": b"GET", b":scheme": b"http"}
_DEFAULTS: dict[str, dict[bytes, bytes]] = {
    "txreq": _REQUEST_DEFAULTS,
    "txpush": _REQUEST_DEFAULTS,
    "txresp": {b":status": b"200"},
    "txcont": {},
}


class _Headers:
    """A HEADERS, PUSH_PROMISE or CONTINUATION frame in the making, and the body to follow it."""

    def __init__(self, stream: Stream, call: Call) -> None:
        self.stream = stream
        self.call = call
        self.missing = dict(_DEFAULTS[call.command.name])
        self.block = bytearray()
        self.end_stream = call.command.name in ("txreq", "txresp")
        self.end_headers = True
        self.padding: bytes | None = None
        self.body: bytes | None = None
        self.prioritised = False
        self.dependency = 0
        self.exclusive = False
        self.weight = 16
        self.promised = 0

    def take(self, option: str, args: list[Text]) -> None:
        encoder = self.stream.connection.encoder
        match option:
            case "-noadd":
                self.missing.clear()
            case "-hdr":
                self.block += encoder.literal(_octets(args[0]), _octets(args[1]))
            case "-idxHdr":
                self.block += encoder.indexed(numbers.unsigned(args[0]))
            case "-litIdxHdr":
                how, index = Indexing[args[0].upper()], numbers.unsigned(args[1])
                self.block += encoder.literal_indexed(index, _octets(args[3]), how, args[2] == "huf")
            case "-litHdr":
                how = Indexing[args[0].upper()]
                huffman = args[1] == "huf", args[3] == "huf"
                self.block += encoder.literal(_octets(args[2]), _octets(args[4]), how, huffman)
            case "-nostrend":
                self.end_stream = False
            case "-nohdrend":
                self.end_headers = False
            case "-promised":
                self.promised = numbers.unsigned(args[0])
            case "-pad" | "-padlen":
                self.padding = _padding(option, args[0])
            case "-dep" | "-ex" | "-weight":
                self._priority(option, args)
            case _ if option in _PSEUDO:
                self.missing.pop(_PSEUDO[option], None)
                self.block += encoder.literal(_PSEUDO[option], _octets(args[0]))
            case _:
                self._body(option, args[0])

    def _priority(self, option: str, args: list[Text]) -> None:
        self.prioritised = True
        match option:
            case "-dep":
                self.dependency = numbers.unsigned(args[0])
            case "-ex":
                self.exclusive = True
            case "-weight":
                self.weight = numbers.unsigned(args[0])

    def _body(self, option: str, value: str) -> None:
        made = body_option(self.stream.connection.http, self.call, option, value)
        if made is not None:
            self.body = made
            self.end_stream = False
            if option in ("-gzipbody", "-gziplen"):
                self.block += self.stream.connection.encoder.literal(b"content-encoding", b"gzip")

    def payload(self) -> tuple[int, bytes]:
        """Flags and payload of the frame."""
        for name, value in self.missing.items():
            self.block += self.stream.connection.encoder.literal(name, value)
        flags = Flag.NONE
        payload = bytes(self.block)
        if self.prioritised:
            flags |= Flag.PRIORITY
            self.stream.depend(self.dependency, self.weight & 0xFF, self.exclusive)
            payload = priority_fields(self.dependency, self.exclusive, self.weight) + payload
        if self.call.command.name == "txpush":
            payload = self.promised.to_bytes(4, "big") + payload
        if self.padding is not None:
            flags |= Flag.PADDED
            payload = bytes([len(self.padding)]) + payload + self.padding
        if self.end_stream:
            flags |= Flag.END_STREAM
        if self.end_headers:
            flags |= Flag.END_HEADERS
        return int(flags), payload


def _padding(option: str, value: str) -> bytes:
    return _octets(value) if option == "-pad" else synthetic(numbers.unsigned(value))


_KINDS = {
    "txreq": FrameType.HEADERS,
    "txresp": FrameType.HEADERS,
    "txpush": FrameType.PUSH_PROMISE,
    "txcont": FrameType.CONTINUATION,
}


def _txheaders(stream: Stream, call: Call) -> None:
    name = call.command.name
    server = stream.connection.http.is_server
    if name == "txreq" and server:
        call.voice.fatal('"txreq" only possible in client')
    if name in ("txresp", "txpush") and not server:
        call.voice.fatal(f'"{name}" only possible in server')
    made = _Headers(stream, call)
    try:
        for item in call.items:
            made.take(item.option, item.args)
    except HpackError as error:
        call.voice.fatal(str(error))
    flags, payload = made.payload()
    stream.connection.write_frame(stream, _KINDS[name], flags, payload)
    if made.body is not None:
        stream.connection.write_frame(stream, FrameType.DATA, Flag.END_STREAM, made.body)


def _txdata(stream: Stream, call: Call) -> None:
    body = b""
    padded: bytes | None = None
    flags = Flag.END_STREAM
    for item in call.items:
        match item.option:
            case "-data":
                body = _octets(item.args[0])
            case "-datalen":
                body = synthetic(numbers.unsigned(item.args[0]))
            case "-pad" | "-padlen":
                padded = _padding(item.option, item.args[0])
            case "-nostrend":
                flags &= ~Flag.END_STREAM
    if padded is not None:
        flags |= Flag.PADDED
        body = bytes([len(padded)]) + body + padded
    stream.connection.write_frame(stream, FrameType.DATA, int(flags), body)


def _txrst(stream: Stream, call: Call) -> None:
    given = call.find("-err")
    code = _error_code(given[0]) if given else 0
    stream.connection.write_frame(stream, FrameType.RST_STREAM, 0, code.to_bytes(4, "big"))


def _txprio(stream: Stream, call: Call) -> None:
    on, weight = call.find("-stream"), call.find("-weight")
    dependency = numbers.unsigned(on[0]) if on else 0
    heavy = numbers.unsigned(weight[0]) if weight else 0
    stream.depend(dependency, heavy, call.has("-ex"))
    payload = priority_fields(dependency, call.has("-ex"), heavy)
    stream.connection.write_frame(stream, FrameType.PRIORITY, 0, payload)


SETTINGS_OPTIONS = {
    "-hdrtbl": Setting.HEADER_TABLE_SIZE,
    "-push": Setting.ENABLE_PUSH,
    "-maxstreams": Setting.MAX_CONCURRENT_STREAMS,
    "-winsize": Setting.INITIAL_WINDOW_SIZE,
    "-framesize": Setting.MAX_FRAME_SIZE,
    "-hdrsize": Setting.MAX_HEADER_LIST_SIZE,
}


def _txsettings(stream: Stream, call: Call) -> None:
    connection = stream.connection
    settings: list[tuple[int, int]] = []
    flags = 0
    for item in call.items:
        option, args = item.option, item.args
        if option == "-ack":
            flags |= Flag.ACK
            continue
        value = int(args[0] == "true") if option == "-push" else numbers.unsigned(args[0])
        code = SETTINGS_OPTIONS[option] if option in SETTINGS_OPTIONS else int(option[3:], 16)
        settings.append((code, value))
        if option == "-hdrtbl":
            connection.decoder_table.resize(value)
        elif option == "-winsize":
            with connection.lock:
                for other in connection.streams.values():
                    other.window_self += value - connection.window_self_initial
                connection.window_self_initial = value
    connection.write_frame(stream, FrameType.SETTINGS, int(flags), settings_payload(settings))


def _txping(stream: Stream, call: Call) -> None:
    given = call.find("-data")
    data = _octets(given[0]) if given else bytes(8)
    stream.connection.write_frame(stream, FrameType.PING, int(Flag.ACK) if call.has("-ack") else 0, data)


def _txgoaway(stream: Stream, call: Call) -> None:
    err, last, debug = call.find("-err"), call.find("-laststream"), call.find("-debug")
    code = _error_code(err[0]) if err else 0
    last_stream = numbers.unsigned(last[0]) if last else 0
    payload = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + (_octets(debug[0]) if debug else b"")
    stream.connection.write_frame(stream, FrameType.GOAWAY, 0, payload)


def _txwinup(stream: Stream, call: Call) -> None:
    given = call.find("-size")
    size = numbers.unsigned(given[0]) if given else 0
    connection = stream.connection
    with connection.lock:
        if stream.id == 0:
            connection.window_self += size
        stream.window_self += size
    connection.write_frame(stream, FrameType.WINDOW_UPDATE, 0, size.to_bytes(4, "big"))


def _sendhex(stream: Stream, call: Call) -> None:
    data = numbers.hex_bytes(call.plain[0])
    call.voice.hexdump(4, "sendhex", data)
    stream.connection.write_raw(call.voice, data)


_BLOCK = {
    "-noadd": Opt("", "without default headers"),
    "-hdr": Opt("NAME VALUE", "with header {0}: {1}"),
    "-idxHdr": Opt("UINT", "with table entry {0}"),
    "-litIdxHdr": Opt("inc|not|never UINT huf|plain VALUE", "with the name of entry {1} and value {3} ({0}, {2})"),
    "-litHdr": Opt("inc|not|never huf|plain NAME huf|plain VALUE", "with literal {2}: {4} ({0}, {1}, {3})"),
    "-nohdrend": Opt("", "without END_HEADERS"),
    "-nostrend": Opt("", "without END_STREAM"),
}
_PADDED = {"-pad": Opt("PADDING", "padded with {0}"), "-padlen": Opt("PADDING-LENGTH", "padded with {0} bytes")}
_ASKING = {
    "-url": Opt("PATH", "for {0}"),
    "-method": Opt("METHOD", "with method {0}"),
    "-req": Opt("METHOD", "with method {0}"),
    "-scheme": Opt("SCHEME", "with scheme {0}"),
}
_BODY = {
    "-body": Opt("STRING", 'with body "{0}"'),
    "-bodyfrom": Opt("FILE", "with the content of {0} as body"),
    "-bodylen": Opt("LENGTH", "with a body of {0} bytes"),
    "-gzipbody": Opt("STRING", 'with "{0}", gzipped, as body'),
    "-gziplen": Opt("LENGTH", "with {0} bytes, gzipped, as body"),
    "-gziplevel": Opt("LEVEL", "gzip level {0}"),
    "-gzipresidual": Opt("BIT", "gzip data ending at bit {0}"),
    "-dep": Opt("UINT", "depending on stream {0}"),
    "-ex": Opt("", "exclusively"),
    "-weight": Opt("UINT8", "with weight {0}"),
}


class _SettingOptions(dict[str, Opt]):
    """The named settings, and ``-0xHHHH`` for any other."""

    def get(self, key: str, default: Opt | None = None) -> Opt | None:  # type: ignore[override]
        found = super().get(key, default)
        if found is None and key.startswith("-0x"):
            code, length = numbers.prefix_unsigned(key[1:])
            if length == len(key) - 1 and code <= 0xFFFF:
                return Opt("UINT", f"setting {key[1:]} to {{0}}")
        return found


_SETTINGS = _SettingOptions(
    {
        "-hdrtbl": Opt("UINT", "header table of {0} bytes"),
        "-push": Opt("true|false", "server push {0}"),
        "-maxstreams": Opt("UINT", "at most {0} streams"),
        "-winsize": Opt("UINT", "initial window of {0} bytes"),
        "-framesize": Opt("UINT", "frames of at most {0} bytes"),
        "-hdrsize": Opt("UINT", "header lists of at most {0} bytes"),
        "-ack": Opt("", "acknowledged"),
    }
)

_ERR = Opt("ERROR", "with {0}", kinds={"ERROR": _error})

ROWS = (
    Command("txreq", _txheaders, options={**_BLOCK, **_ASKING, **_PADDED, **_BODY}, text="send a request"),
    Command(
        "txresp",
        _txheaders,
        options={**_BLOCK, "-status": Opt("STATUS", "with status {0}"), **_PADDED, **_BODY},
        text="send a response",
    ),
    Command(
        "txpush",
        _txheaders,
        options={**_BLOCK, **_ASKING, **_PADDED, "-promised": Opt("UINT31", "for stream {0}")},
        text="promise a push",
    ),
    Command("txcont", _txheaders, options=_BLOCK, text="send a CONTINUATION"),
    Command(
        "txdata",
        _txdata,
        options={
            "-data": Opt("STRING", '"{0}"'),
            "-datalen": Opt("LENGTH", "of {0} bytes"),
            "-nostrend": Opt("", "without END_STREAM"),
            **_PADDED,
        },
        text="send DATA",
    ),
    Command("txrst", _txrst, options={"-err": _ERR}, text="reset the stream"),
    Command(
        "txprio",
        _txprio,
        options={
            "-stream": Opt("UINT", "depending on stream {0}"),
            "-ex": Opt("", "exclusively"),
            "-weight": Opt("UINT8", "with weight {0}"),
        },
        text="send a PRIORITY",
    ),
    Command("txsettings", _txsettings, options=_SETTINGS, text="send SETTINGS"),
    Command(
        "txping",
        _txping,
        options={"-data": Opt("8-CHARACTERS", '"{0}"'), "-ack": Opt("", "as acknowledgement")},
        text="send a PING",
    ),
    Command(
        "txgoaway",
        _txgoaway,
        options={
            "-err": _ERR,
            "-laststream": Opt("UINT31", "last stream {0}"),
            "-debug": Opt("STRING", "saying {0}"),
        },
        text="send a GOAWAY",
    ),
    Command("txwinup", _txwinup, options={"-size": Opt("UINT32", "of {0} bytes")}, text="send a WINDOW_UPDATE"),
    Command("sendhex", _sendhex, "HEX", text="send the bytes {0}", mixed=False),
)
