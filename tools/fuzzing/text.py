"""Texts that users write: programs, scripts, queries, commands, addresses; and ESI, which origins write."""

from __future__ import annotations

import socket
import tempfile
import threading
from functools import cache
from pathlib import Path

from varnishpy.base.endpoint import EndpointError, parse_address, parse_backend, parse_listen
from varnishpy.base.units import UnitError, parse_bytes, parse_duration
from varnishpy.base.wiretext import to_wire
from varnishpy.cache.ban_spec import BanError, parse_string
from varnishpy.child.stats_socket import StatsSocket
from varnishpy.cli.protocol import CliError, CliProtocolError, join, parse_header, split
from varnishpy.log.grouping import Transaction
from varnishpy.log.query import QueryError, parse_user_query
from varnishpy.log.record import Record
from varnishpy.log.tags import Tag
from varnishpy.params import ParamError, table
from varnishpy.request.esi_codes import Include
from varnishpy.request.esi_parse import EsiParser
from varnishpy.vcl.compiler import CompileOptions, VclError, compile_vcl
from varnishpy.vtc.check import check
from varnishpy.vtc.context import Settings
from varnishpy.vtc.text import Source

_OFFLINE = CompileOptions(vcl_path=[], vmod_path=[], offline=True)


def vcl(data: bytes) -> None:
    """A program: a report that names a place, or Python that compiles."""
    try:
        made = compile_vcl(data, "fuzz", _OFFLINE)
    except VclError as error:
        assert str(error).strip(), "an empty report"
        return
    compile(made.python_source, "vgc.py", "exec")


def vtc(data: bytes) -> None:
    """A script: findings, each at a place in it."""
    text = data.decode("latin-1")
    for finding in check(Source("fuzz.vtc", text), Settings()):
        assert finding.text and finding.position.line >= 1


def cli(data: bytes) -> None:
    """Command lines: what is read can be written and read again; and answers' headers."""
    try:
        words = split(data.decode("utf-8", "surrogateescape"))
    except CliError:
        return
    assert split(join(words)) == words
    try:
        status, length = parse_header(data[:13])
    except CliProtocolError:
        return
    assert 0 <= status <= 999 and length >= 0


@cache
def _group() -> list[Transaction]:
    texts = ("GET", "/a?b=c", "Host: example.com", "Fetch: 1700000000.5 0.25 1e3", "", "-5", "0x10 1.5 nan", "\xff \t'")
    tags = (Tag.ReqMethod, Tag.ReqURL, Tag.ReqHeader, Tag.Timestamp, Tag.VCL_Log, Tag.Length, Tag.TTL, Tag.BerespHeader)
    records = [Record(int(tag), 3, True, False, text.encode("latin-1")) for tag, text in zip(tags, texts, strict=True)]
    return [Transaction(1, 3, 2, "req", "rxreq", records), Transaction(2, 4, 3, "bereq", "fetch", records[::-1])]


def vslq(data: bytes) -> None:
    """A query: refused with a reason, or it says yes or no, and ``not`` of it says the other thing."""
    text = data.decode("utf-8", "replace")
    try:
        test = parse_user_query(text)
    except QueryError as error:
        assert str(error)
        return
    found = test(_group())
    assert found in (True, False)
    if text.strip() and "\n" not in text and "#" not in text:
        assert parse_user_query(f"not ({text})")(_group()) is not found


class _Sink:
    """What a parser of ESI says, and what comes out of it."""

    def __init__(self) -> None:
        self.octets = b""
        self.said: list[object] = []
        self.kept = b""

    def mark(self, piece: bytes, verbatim: bool) -> None:
        """Octets to be delivered, or left out."""
        self.octets += piece
        if verbatim:
            self.kept += piece

    def include(self, instruction: Include) -> None:
        """An include."""
        self.said.append((len(self.kept), repr(instruction)))

    def complain(self, text: str, error: bool) -> None:
        """An error or warning."""
        self.said.append((text, error))

    def remark(self, text: str) -> None:
        """A remark."""
        self.said.append(text)


def _esi(data: bytes, piece: int) -> _Sink:
    sink = _Sink()
    parser = EsiParser(sink, "/base/page")
    for at in range(0, len(data), piece):
        parser.feed(data[at : at + piece])
    parser.finish()
    return sink


def esi(data: bytes) -> None:
    """A document: every octet comes out, once and in order; pieces make no difference."""
    whole = _esi(data, max(len(data), 1))
    assert whole.octets == data, f"{whole.octets!r} of {data!r}"
    for piece in (1, 3):
        other = _esi(data, piece)
        assert other.octets == data
        assert (other.kept, other.said) == (whole.kept, whole.said), f"{other.said} in pieces of {piece}, {whole.said}"


def words(data: bytes) -> None:
    """What operators write: bans, addresses, sizes, durations, values of parameters."""
    text = data.decode("utf-8", "replace").replace("\0", "")  # no argument of a program has one
    for parse, errors in (
        (lambda value: parse_string(to_wire(value)), BanError),
        (parse_backend, EndpointError),
        (lambda value: parse_listen(value, "a0"), EndpointError),
        (lambda value: parse_address(value, "80", "-b"), EndpointError),
        (parse_bytes, UnitError),
        (parse_duration, UnitError),
    ):
        try:
            parse(text)
        except errors as error:
            assert str(error), parse
    name, _, value = text.partition("=")
    if name in dict(table.texts()):
        before = table.text(name)
        try:
            table.set(name, value)
            shown = table.text(name)
            table.set(name, shown)
            assert table.text(name) == shown, f"{name}: {shown} is read as {table.text(name)}"
        except ParamError as error:
            assert str(error)
        finally:
            table.load([(name, before)])


@cache
def _socket() -> Path:
    path = Path(tempfile.mkdtemp(prefix="vp-")) / "s"
    StatsSocket(path, {"sessions": list, "pools": list}).start()
    return path


def stats(data: bytes) -> None:
    """A request to the statistics' socket: answered or the connection closed, and its threads live on."""
    failed: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, failed.append
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(_socket()))
            client.sendall(data.replace(b"/log", b"/lug") + b"\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1."), answer[:100]
    except ConnectionError:
        pass
    finally:
        threading.excepthook = before
    assert not failed, failed[0].exc_value
