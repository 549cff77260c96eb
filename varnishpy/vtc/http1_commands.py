"""The language inside ``client`` and ``server``: HTTP/1 messages, raw bytes, and the door to HTTP/2."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from . import bodies, net, numbers, tls
from .compare import expect as compare_expect
from .h2 import upgrade
from .http1 import PREFACE, Http, WireError, find_header, until_nul
from .kinds import KINDS
from .log import Voice
from .table import Call, Command, Handler, Opt, table

CRLF = b"\r\n"


def on_the_wire(run: Handler) -> Handler:
    """A command that reads or writes: trouble that is not fatal ends it quietly."""

    def wrapped(http: Http, call: Call) -> None:
        try:
            run(http, call)
        except WireError as error:
            call.voice.say(4, f"{call.command.name} ends early: {error}")

    return wrapped


def _only(http: Http, call: Call, server: bool) -> None:
    if http.h2 is not None:
        call.voice.fatal(f'"{call.command.name}" only possible before H/2 upgrade')
    if http.is_server != server:
        call.voice.fatal(f'"{call.command.name}" only possible in {"server" if server else "client"}')


# Receiving


def _rxresp(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    http.read_head()
    http.split_head(is_request=False)
    if call.has("-no_obj") or not http.resp[0] or not http.resp[1] or http.head_method:
        return
    http.read_body(http.resp, until_close=http.resp[1] == "200")
    call.voice.say(4, f"bodylen = {http.body_length}")


def _rxresphdrs(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    http.read_head()
    http.split_head(is_request=False)


def _rxrespbody(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    most = call.find("-max")
    http.read_body(http.resp, until_close=True, most=numbers.integer(most[0]) if most else 0)
    call.voice.say(4, f"bodylen = {http.body_length}")


def _rxreq(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    http.read_head()
    http.split_head(is_request=True)
    http.read_body(http.req, until_close=False)
    call.voice.say(4, f"bodylen = {http.body_length}")


def _rxreqhdrs(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    http.read_head()
    http.split_head(is_request=True)


def _rxreqbody(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    http.read_body(http.req, until_close=False)
    call.voice.say(4, f"bodylen = {http.body_length}")


def _rxchunk(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    if http.read_chunk() == 0:
        http.body_length = str(len(http.body or b""))
        call.voice.say(4, f"bodylen = {http.body_length}")


def _recv(http: Http, call: Call) -> None:
    left = numbers.unsigned(call.plain[0])
    while left > 0:
        data = http.read_exactly(min(left, 32))
        http.voice.dump(4, "recv", data)
        left -= len(data)


# Sending


def _gzip(http: Http, data: bytes, fragment: bool, voice: Voice) -> bytes:
    made = bodies.gzip(data, http.gzip_level, fragment)
    if http.gzip_residual >= 0:
        got = bodies.residual(made)
        if got != http.gzip_residual:
            http.problem(f"Wrong gzip residual got {got} wanted {http.gzip_residual}")
    voice.say(3, f"new bodylen {len(made)}")
    voice.dump(4, "body", made)
    http.body_length = str(len(made))
    return made


def body_option(http: Http, call: Call, option: str, value: str) -> bytes | None:
    """The body an option asks for; None if it only sets how the next is made.  Shared with HTTP/2."""
    match option:
        case "-body":
            return value.encode("latin-1").replace(b"\\0", b"\0")
        case "-bodyfrom":
            return read_file(value, call)
        case "-bodylen":
            return bodies.synthetic(numbers.unsigned(value))
        case "-gzipbody":
            return _gzip(http, value.encode("latin-1"), False, call.voice)
        case "-gziplen":
            made = bodies.synthetic(numbers.unsigned(value), call.test.random)
            return _gzip(http, made, True, call.voice)
        case "-gziplevel":
            http.gzip_level = numbers.unsigned(value)
        case "-gzipresidual":
            http.gzip_residual = numbers.unsigned(value)
    return None


def read_file(name: str, call: Call) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        call.voice.fatal(f"Cannot read {name}: {error.strerror}")


def _message(http: Http, call: Call, first: str, defaults: list[tuple[str, str]], body: bytes | None) -> bytes:
    """A request or response: first line, given headers, then those of ``defaults`` not overridden, then the body."""
    head = [first.encode("latin-1")]
    wanted = dict(defaults)
    length_header = True
    for item in call.items:
        option, args = item.option, item.args
        match option:
            case "-hdr":
                row = str(args[0])
                name = row.partition(":")[0].lower() if ":" in row else ""
                if name in ("content-length", "transfer-encoding"):
                    length_header = False
                wanted.pop(name, None)
                head.append(row.encode("latin-1"))
            case "-hdrlen":
                count = numbers.integer(args[1])
                digits = ("9876543210" * (count // 10 + 1))[-count:] if count > 0 else ""
                head.append(f"{args[0]}: {digits}".encode("latin-1"))
            case "-nolen":
                length_header = False
            case "-nohost" | "-nodate" | "-noserver":
                wanted.pop(option[3:], None)
            case "-nouseragent":
                wanted.pop("user-agent", None)
            case _ if option.startswith(("-body", "-gzip")):
                made = body_option(http, call, option, args[0])
                if made is not None:
                    body = made
                    if option in ("-gzipbody", "-gziplen"):
                        head.append(b"Content-Encoding: gzip")
    names = {"host": "Host", "date": "Date", "server": "Server", "user-agent": "User-Agent"}
    head.extend(f"{names[name]}: {value}".encode("latin-1") for name, value in wanted.items())
    if body is not None and length_header:
        head.append(b"Content-Length: %d" % len(body))
    return CRLF.join(head) + CRLF + CRLF + (body or b"")


def _first(call: Call, option: str, default: str) -> str:
    found = call.find(option)
    return str(found[0]) if found else default


def _txresp(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    first = f"{_first(call, '-proto', 'HTTP/1.1')} {_first(call, '-status', '200')} {_first(call, '-reason', 'OK')}"
    defaults: list[tuple[str, str]] = []
    if call.test.language.identifying:
        defaults = [("date", call.test.expand(call.voice, "${date}")), ("server", http.name)]
    http.transmit("txresp", _message(http, call, first, defaults, b""))


def _txreq(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    method = "GET"
    http.head_method = False
    for item in call.items:
        if item.option in ("-method", "-req"):
            method = str(item.args[0])
            http.head_method = method == "HEAD"
    protocol = _first(call, "-proto", "HTTP/1.1")
    first = f"{method} {_first(call, '-url', '/')} {protocol}"
    settings = call.find("-up")
    if settings:
        first += f"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {settings[0]}"
    defaults = [("user-agent", http.name)] if call.test.language.identifying else []
    if protocol == "HTTP/1.1":
        defaults.insert(0, ("host", call.test.macros.get("localhost") or "127.0.0.1"))
    http.transmit("txreq", _message(http, call, first, defaults, None))
    if settings:
        upgrade.finish_client_upgrade(http, call.voice, str(settings[0]))


def _send(http: Http, call: Call) -> None:
    http.transmit("send", call.plain[0].encode("latin-1"))


def _send_n(http: Http, call: Call) -> None:
    data = call.plain[1].encode("latin-1")
    http.voice.dump(4, "send_n", data)
    for _ in range(numbers.unsigned(call.plain[0])):
        http.write(data)


def _send_urgent(http: Http, call: Call) -> None:
    data = call.plain[0].encode("latin-1")
    http.voice.dump(4, "send_urgent", data)
    if http.sock is None:
        http.problem("the connection is closed")
        return
    try:
        http.sock.send(data, socket.MSG_OOB)
    except OSError as error:
        http.problem(f"Write error in http_send_urgent(): {error.strerror}")


def _sendhex(http: Http, call: Call) -> None:
    data = numbers.hex_bytes(call.plain[0])
    http.voice.hexdump(4, "sendhex", data)
    http.write(data)


def _chunked(http: Http, call: Call) -> None:
    data = call.plain[0].encode("latin-1")
    http.transmit("chunked", b"%x\r\n%s\r\n" % (len(data), data))


def _chunkedlen(http: Http, call: Call) -> None:
    length = numbers.integer(call.plain[0])
    http.transmit("chunked", b"%x\r\n%s\r\n" % (length, bodies.pattern(length)))


# The connection


def _timeout(http: Http, call: Call) -> None:
    http.timeout = numbers.number(call.plain[0])


def _expect_close(http: Http, call: Call) -> None:
    call.voice.say(4, f"Expecting close (fd = {http.descriptor})")
    if http.h2 is not None:
        http.h2.stop()
    http.expect_close()
    call.voice.say(4, f"fd={http.descriptor} EOF, as expected")


def _close(http: Http, call: Call) -> None:
    if http.h2 is not None:
        http.h2.stop()
    _only(http, call, server=True)
    http.close()
    call.voice.say(4, "Closed")


def _accept(http: Http, call: Call) -> None:
    if http.h2 is not None:
        http.h2.stop()
    _only(http, call, server=True)
    http.close()
    call.voice.say(4, "Accepting")
    assert http.listener is not None and http.waker is not None
    http.sock = net.accept(call.test, http.listener, http.waker)
    call.voice.say(3, f"Accepted socket fd is {http.descriptor}")


_DIRECTIONS = {"-read": (socket.SHUT_RD, "RD"), "-write": (socket.SHUT_WR, "WR")}


def _shutdown(http: Http, call: Call) -> None:
    how, shown = socket.SHUT_RDWR, "RDWR"
    for item in call.items:
        how, shown = _DIRECTIONS.get(item.option, (how, shown))
    call.voice.say(4, f"Shutting down fd ({shown}): {http.descriptor}")
    try:
        if http.sock is None:
            raise OSError(107, "Transport endpoint is not connected")
        http.sock.shutdown(how)
    except OSError as error:
        if not call.has("-notconn"):
            http.problem(f"Shutdown({shown}) socket fd {http.descriptor}, failed, {error.strerror}")
        else:
            call.voice.say(3, f"Shutdown({shown}) socket fd {http.descriptor}, (was already closed)")
        return
    call.voice.say(3, f"Shutdown({shown}) socket fd {http.descriptor}")


def _fatal(http: Http, call: Call) -> None:
    http.fatal = call.command.name == "fatal"


# Bodies and expectations


def _gunzip(http: Http, call: Call) -> None:
    http.body = gunzip_body(http, http.body or b"")
    http.body_length = str(len(http.body))


def gunzip_body(http: Http, body: bytes) -> bytes:
    """The body unpacked; shared with HTTP/2."""
    if body[:2] != b"\x1f\x8b":
        http.problem("Gunzip error: body lacks gzip magic")
    try:
        body = bodies.gunzip(body)
    except zlib.error as error:
        http.problem(f"Gunzip error = {error} len:{len(body)}")
    http.voice.say(3, f"new bodylen {len(body)}")
    http.voice.dump(4, "body", body)
    return body


def write_file(name: str, body: bytes, voice: Voice) -> None:
    try:
        Path(name).write_bytes(body)
    except OSError as error:
        voice.fatal(f"failed to write body: {error.strerror} ({error.errno})")


def _write_body(http: Http, call: Call) -> None:
    write_file(call.plain[0], http.body or b"", call.voice)


FIELDS: dict[str, Callable[[Http], str | None]] = {
    "remote.ip": lambda http: http.remote_ip,
    "remote.port": lambda http: http.remote_port,
    "remote.path": lambda http: http.remote_path,
    "req.method": lambda http: http.req[0],
    "req.url": lambda http: http.req[1],
    "req.proto": lambda http: http.req[2],
    "resp.proto": lambda http: http.resp[0],
    "resp.status": lambda http: http.resp[1],
    "resp.reason": lambda http: http.resp[2],
    "resp.chunklen": lambda http: http.chunk_length,
    "req.bodylen": lambda http: http.body_length,
    "resp.bodylen": lambda http: http.body_length,
    "h2.state": lambda http: "true" if http.h2 is not None else "false",
}


def resolve(http: Http, word: str) -> str | None:
    """What a word of ``expect`` stands for: a field of the connection or message, else itself."""
    field = FIELDS.get(word)
    if field is not None:
        return field(http)
    if word.startswith("tls."):
        return tls.resolve(http, word)
    if word in ("req.body", "resp.body"):
        return until_nul(http.body) if http.body is not None else word
    if word.startswith("req.http."):
        return find_header(http.req, word[9:])
    if word.startswith("resp.http."):
        return find_header(http.resp, word[10:])
    return word


def is_field(word: str) -> bool:
    """Whether ``expect`` would find something else than the word itself."""
    others = word in ("req.body", "resp.body") or word.startswith(("req.http.", "resp.http."))
    return others or word in FIELDS or tls.is_field(word)


def _expect(http: Http, call: Call) -> None:
    left, operator, right = call.plain
    compare_expect(call.voice, left, resolve(http, left), operator, right, resolve(http, right))


def _expect_pattern(http: Http, call: Call) -> None:
    body = (http.body or b"").partition(b"\0")[0]
    for at, (got, wanted) in enumerate(zip(body, bodies.pattern(len(body)), strict=True)):
        if got != wanted:
            call.voice.fatal(f"EXPECT PATTERN FAIL @{at} should 0x{wanted:02x} is 0x{got:02x}")
    call.voice.say(4, "EXPECT PATTERN SUCCESS")


# HTTP/2


def _txpri(http: Http, call: Call) -> None:
    _only(http, call, server=False)
    http.voice.dump(4, "txpri", PREFACE)
    # In two parts, so that a peer's reading of the preface in pieces is always exercised.
    http.write(PREFACE[:18])
    time.sleep(0.01)
    http.write(PREFACE[18:])
    upgrade.start(http)


def _rxpri(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    if http.read_exactly(len(PREFACE)) != PREFACE:
        call.voice.fatal("Received invalid preface")
    upgrade.start(http)


def _upgrade(http: Http, call: Call) -> None:
    _only(http, call, server=True)
    upgrade.server_upgrade(http, call.voice)


def _settings(http: Http, call: Call) -> None:
    if http.h2 is None:
        call.voice.fatal("Only possible in H/2 mode")
    size = call.find("-dectbl")
    if size:
        http.h2.decoder_table.resize(numbers.unsigned(size[0]))


def _stream(http: Http, call: Call) -> None:
    upgrade.stream_command(http, call)


_HEADER_OPTIONS = {
    "-nolen": Opt("", "without Content-Length", 1),
    "-nohost": Opt("", "without Host", 1),
    "-nodate": Opt("", "without Date", 1),
    "-hdr": Opt("HEADER", 'with the header "{0}"', 1),
    "-hdrlen": Opt("NAME NUMBER", "with a header {0} of {1} bytes", 1),
}
_BODY_OPTIONS = {
    "-body": Opt("STRING", 'with the body "{0}"', 2),
    "-bodyfrom": Opt("FILE", "with the content of {0} as body", 2),
    "-bodylen": Opt("LENGTH", "with a body of {0} bytes", 2),
    "-gziplevel": Opt("LEVEL", "gzip level {0}", 2),
    "-gzipresidual": Opt("BIT", "gzip data ending at bit {0}", 2),
    "-gzipbody": Opt("STRING", 'with "{0}", gzipped, as body', 2),
    "-gziplen": Opt("LENGTH", "with {0} bytes, gzipped, as body", 2),
}

HTTP = table(
    Command("accept", on_the_wire(_accept), text="close this connection and accept the next"),
    Command("close", _close, text="close the connection"),
    Command("recv", on_the_wire(_recv), "NUMBER", text="read {0} bytes"),
    Command("send", on_the_wire(_send), "STRING", text='send "{0}"', mixed=False),
    Command("send_n", on_the_wire(_send_n), "NUMBER STRING", text='send "{1}" {0} times', mixed=False),
    Command("send_urgent", _send_urgent, "STRING", text='send "{0}" as urgent data', mixed=False),
    Command("sendhex", on_the_wire(_sendhex), "HEX", text="send the bytes {0}", mixed=False),
    Command(
        "shutdown",
        _shutdown,
        options={
            "-read": Opt("", "the read direction"),
            "-write": Opt("", "the write direction"),
            "-notconn": Opt("", "it may be closed already"),
        },
        text="shut the connection down",
    ),
    Command("timeout", _timeout, "SECONDS", text="wait at most {0} s for data from now on"),
    Command("fatal", _fatal, text="trouble on the connection fails the test"),
    Command("non_fatal", _fatal, text="trouble on the connection does not fail the test"),
    Command("gunzip", _gunzip, text="unpack the body"),
    Command("write_body", _write_body, "FILE", text="write the body to {0}"),
    Command("chunked", on_the_wire(_chunked), "STRING", text='send the chunk "{0}"', mixed=False),
    Command("chunkedlen", on_the_wire(_chunkedlen), "NUMBER", text="send a chunk of {0} bytes", mixed=False),
    Command("rxchunk", on_the_wire(_rxchunk), text="receive a chunk"),
    Command(
        "stream",
        _stream,
        "ID [SPEC...]",
        {
            "-start": Opt("", "start it"),
            "-wait": Opt("", "wait for its end"),
            "-run": Opt("", "start it and wait for its end"),
        },
        "HTTP/2 stream {0}",
        language="stream",
        kinds={"ID": lambda word: "" if word == "next" else KINDS["UINT31"](word)},
    ),
    Command("settings", _settings, options={"-dectbl": Opt("UINT", "the decoding table has {0} bytes")}, text="set"),
    Command(
        "rxresp", on_the_wire(_rxresp), options={"-no_obj": Opt("", "but not its body")}, text="receive a response"
    ),
    Command(
        "rxrespbody",
        on_the_wire(_rxrespbody),
        options={"-max": Opt("NUMBER", "at most {0} bytes")},
        text="receive the response's body",
    ),
    Command("rxresphdrs", on_the_wire(_rxresphdrs), text="receive the response's headers"),
    Command("txpri", on_the_wire(_txpri), text="send the HTTP/2 preface"),
    Command(
        "txreq",
        on_the_wire(_txreq),
        options={
            "-url": Opt("URL", "for {0}"),
            "-proto": Opt("PROTOCOL", "as {0}"),
            "-method": Opt("METHOD", "with method {0}"),
            "-req": Opt("METHOD", "with method {0}"),
            "-up": Opt("SETTINGS", "asking for an upgrade to HTTP/2"),
            "-nouseragent": Opt("", "without User-Agent"),
            **_HEADER_OPTIONS,
            **_BODY_OPTIONS,
        },
        text="send a request",
    ),
    Command("rxpri", on_the_wire(_rxpri), text="receive the HTTP/2 preface"),
    Command("rxreq", on_the_wire(_rxreq), text="receive a request"),
    Command("rxreqbody", on_the_wire(_rxreqbody), text="receive the request's body"),
    Command("rxreqhdrs", on_the_wire(_rxreqhdrs), text="receive the request's headers"),
    Command(
        "txresp",
        on_the_wire(_txresp),
        options={
            "-proto": Opt("PROTOCOL", "as {0}"),
            "-status": Opt("STATUS", "with status {0}"),
            "-reason": Opt("REASON", 'with reason "{0}"'),
            "-noserver": Opt("", "without Server"),
            **_HEADER_OPTIONS,
            **_BODY_OPTIONS,
        },
        text="send a response",
    ),
    Command("upgrade", on_the_wire(_upgrade), text="accept the upgrade to HTTP/2"),
    Command("tls_config", tls.configure, "SPEC", text="TLS as follows", mixed=False, language="tls"),
    Command("tls_handshake", tls.handshake, text="shake hands for TLS"),
    Command("expect", _expect, "FIELD OPERATOR VALUE", text="expect {0} {1} {2}", mixed=False),
    Command("expect_close", on_the_wire(_expect_close), text="expect the other side to close"),
    Command("expect_pattern", _expect_pattern, text="expect the body to repeat the digits 0 to 7"),
)
