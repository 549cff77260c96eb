"""Parts of the room on their own: the ESI parser, growing sources, pipes, header rules."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_env, make_request, make_session
from varnishpy.base import clock
from varnishpy.http.message import Message
from varnishpy.request.conditional import not_modified
from varnishpy.request.esi_codes import Encoder, Include, Skip, Verbatim, decode
from varnishpy.request.esi_parse import EsiParser
from varnishpy.request.growing import GrowingSource, Pieces, ReaderGone
from varnishpy.request.header_rules import FETCH, connection_options, filter_headers
from varnishpy.request.pipe import PipeAccounting, Splice
from varnishpy.request.vdp import Chain, DeliveryProcessor, Pump
from varnishpy.storage.source import END, LATER, BytesSource, SourceError, _Mark


class Recorder:
    """Keeps what the parser says."""

    def __init__(self) -> None:
        self.shown = b""
        self.all = b""
        self.includes: list[tuple[int, Include]] = []
        self.complaints: list[str] = []

    def mark(self, piece: bytes, verbatim: bool) -> None:
        self.all += piece
        if verbatim:
            self.shown += piece

    def include(self, instruction: Include) -> None:
        self.includes.append((len(self.shown), instruction))

    def complain(self, text: str, error: bool) -> None:
        self.complaints.append(text)

    def remark(self, text: str) -> None:
        self.complaints.append(text)


def parse(text: bytes, cuts: tuple[int, ...] = (), url: str = "/dir/page?x=/y") -> Recorder:
    sink = Recorder()
    parser = EsiParser(sink, url)
    at = 0
    for cut in (*sorted(cuts), len(text)):
        if text[at:cut]:
            parser.feed(text[at:cut])
        at = max(at, cut)
    parser.finish()
    assert sink.all == text
    return sink


DOCUMENT = (
    b"<a><esi:include src='/i' onerror=\"continue\"/><!-- <esi:include src='/no'/> --><![CDATA[<esi:remove>]]>"
    b"<esi:remove>x<b>y</b></esi:remove><!--esi <p><esi:include src=\"rel\"/></p>--><esi:comment text='t'/>-->z"
)


@given(st.lists(st.integers(0, len(DOCUMENT)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_parsing_does_not_depend_on_how_the_body_is_cut(cuts: list[int]) -> None:
    whole = parse(DOCUMENT)
    assert whole.shown == b"<a><!-- <esi:include src='/no'/> --><![CDATA[<esi:remove>]]> <p></p>-->z"
    assert [include for _, include in whole.includes] == [Include("", "/i", True), Include("", "/dir/rel")]
    cut = parse(DOCUMENT, tuple(cuts))
    assert (cut.shown, cut.includes, cut.complaints) == (whole.shown, whole.includes, whole.complaints)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_body_comes_out_whole(text: bytes) -> None:
    parse(b"<" + text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"plain", "No ESI processing, first char not '<'. (See feature esi_disable_xml_check)"),
        (b"<esi:include/>", "ESI 1.0 <esi:include> lacks src attr"),
        (b"<esi:include src='/a'>", "ESI 1.0 <esi:include> lacks final '/'"),
        (b"<esi:include src='/a' src='/b'/>", "ESI 1.0 <esi:include> has multiple src= attributes"),
        (b"<esi:include src='/a b'/>", "ESI 1.0 <esi:include> has whitespace in src= attribute"),
        (b"<esi:include src='/a/>", "XML 1.0 Missing end attribute delimiter"),
        (b"<esi:include src='http://host'/>", "ESI 1.0 <esi:include> invalid src= URL"),
        (b"<esi:include src='https://host/'/>", "ESI 1.0 <esi:include> with https:// ignored"),
        (b"</esi:include>", "ESI 1.0 </esi:include> illegal end-tag"),
        (b"<esi:remove/>", "ESI 1.0 <esi:remove/> not legal"),
        (b"</esi:remove>", "ESI 1.0 <esi:remove> not open"),
        (b"<esi:comment>", "ESI 1.0 <esi:comment> needs final '/'"),
        (b"<esi:vars/>", "ESI 1.0 <esi:bogus> element"),
        (b"<esi:include src", "VEP ended inside a tag"),
    ],
)
def test_complaints(text: bytes, complaint: str) -> None:
    assert complaint in parse(text).complaints


def test_include_urls() -> None:
    found = parse(b"<esi:include src='http://other/p?a&amp;b'/><esi:include src='x'/>", url="/d/e/f").includes
    assert [include for _, include in found] == [Include("other", "/p?a&b"), Include("", "/d/e/x")]


def test_instructions_survive_encoding() -> None:
    given_: list[Verbatim | Skip | Include] = [
        Verbatim(1, 2, 3),
        Skip(1 << 40),
        Include("h", "/\xff", True),
        Verbatim(70000),
    ]
    encoder = Encoder(True)
    for instruction in given_:
        encoder.add(instruction)
    assert decode(encoder.data()) == (True, given_)


def test_growing_source_asks_its_writer_to_pause() -> None:
    source = GrowingSource(-1, 10)
    woken = threading.Event()
    assert source.pull(5) is LATER
    source.on_ready = woken.set
    assert source.pull(5) is LATER
    resumed: list[int] = []
    assert source.wants_more(lambda: resumed.append(0))
    source.push(b"0123456789")
    assert woken.is_set()
    assert not source.wants_more(lambda: resumed.append(1))
    assert source.pull(4) == b"0123"
    assert resumed == []  # one call back when half of it is gone, not one for each piece
    assert source.pull(4) == b"4567"
    assert source.pull(4) == b"89"
    assert resumed == [1]
    source.push(b"x")
    source.finish()
    assert [source.pull(9), source.pull(9)] == [b"x", END]


def test_growing_source_tells_both_sides_of_failure() -> None:
    source = GrowingSource(-1, 1)
    source.finish("broken")
    with pytest.raises(SourceError, match="broken"):
        source.pull(1)
    source = GrowingSource(-1, 1)
    source.push(b"full")
    resumed: list[int] = []
    assert not source.wants_more(lambda: resumed.append(1))
    source.close()
    assert resumed == [1]
    with pytest.raises(ReaderGone):
        source.push(b"more")
    with pytest.raises(ReaderGone):
        source.wants_more(lambda: None)


class Doubling(DeliveryProcessor):
    """Computes; remembers the threads it ran on, and whether it was closed."""

    name = "doubling"

    def __init__(self, fails_at: int = 1000) -> None:
        super().__init__()
        self.fails_at = fails_at
        self.seen = 0
        self.threads: set[int] = set()
        self.closed = 0

    def run(self, pieces: Pieces) -> Pieces:
        for piece in pieces:
            self.seen += 1
            self.threads.add(threading.get_ident())
            if self.seen == self.fails_at:
                raise SourceError("cannot double that")
            yield bytes(piece) * 2

    def close(self) -> None:
        self.closed += 1


def make_pump(processor: Doubling) -> tuple[Pump, list[int]]:
    """A pump for ten pieces of 100 octets that become 2000, with room for 500."""
    resumed: list[int] = []
    env = make_env()
    chain = Chain([processor], BytesSource([b"x" * 100] * 10), make_request(env, make_session(env), None))
    return Pump(chain, -1, 500, lambda: resumed.append(1)), resumed


def take(source: GrowingSource) -> int:
    """Octets that can be pulled now."""
    size = 0
    while not isinstance(piece := source.pull(150), _Mark):
        size += len(piece)
    return size


def test_a_pump_leaves_its_thread_when_the_client_is_slow() -> None:
    processor = Doubling()
    pump, resumed = make_pump(processor)
    assert not pump.run()
    assert processor.seen == 3
    got = runs = 0
    over = False
    while not over:
        got += take(pump.source)
        assert resumed == [1]
        resumed.clear()
        with ThreadPoolExecutor(1) as other:
            over = other.submit(pump.run).result()
        runs += 1
    assert got + take(pump.source) == 2000
    assert pump.source.pull(1) is END
    assert runs > 1
    assert len(processor.threads) > 1
    assert processor.closed == 1


@pytest.mark.parametrize("way", ["reader gone", "failure", "no thread"])
def test_a_pump_ends_in_any_case(way: str) -> None:
    processor = Doubling(fails_at=5)
    pump, resumed = make_pump(processor)
    assert not pump.run()
    if way == "reader gone":
        pump.source.close()
        assert resumed == [1]
        assert pump.run()
        assert processor.seen == 3
    else:
        take(pump.source)
        if way == "failure":
            assert pump.run()
        else:
            pump.give_up()
        with pytest.raises(SourceError, match="cannot double that" if way == "failure" else "no thread"):
            take(pump.source)
    assert processor.closed == 1


def test_pipe_copies_both_ways_and_passes_the_end_on() -> None:
    client, ours = socket.socketpair()
    backend, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    acct = PipeAccounting()
    why: list[str] = []
    pipe = threading.Thread(
        target=lambda: why.append(Splice(ours, theirs, b"", acct).run(b"early ", clock.mono() + 10))
    )
    pipe.start()
    big = b"x" * 3_000_000

    def send() -> None:
        client.sendall(big)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = b""
    while data := backend.recv(1 << 20):
        received += data
    assert received == b"early " + big
    backend.sendall(b"answer")
    backend.close()
    assert client.recv(100) == b"answer" and client.recv(100) == b""
    pipe.join(5)
    assert why == ["TX_PIPE"]
    assert (acct.client_in, acct.client_out) == (len(big) + 6, 6)
    for sock in (client, ours, theirs):
        sock.close()


def test_pipe_deadline() -> None:
    client, ours = socket.socketpair()
    backend, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    assert Splice(ours, theirs, b"", PipeAccounting()).run(b"", clock.mono() + 0.02) == "RX_TIMEOUT"
    for sock in (client, ours, backend, theirs):
        sock.close()


def message(*headers: tuple[str, str], proto: str = "HTTP/1.1", status: int = 200) -> Message:
    made = Message()
    made.proto, made.status = proto, status
    made.headers = [(name.lower(), name, value) for name, value in headers]
    return made


def test_connection_options() -> None:
    found = message(("Connection", "close, X-A"), ("X-A", "1"), ("X-B", "2"))
    reason, named = connection_options(found, "REQ_CLOSE")
    assert reason == "REQ_CLOSE"
    assert [header[1] for header in filter_headers(found.headers, FETCH, named)] == ["X-B"]
    assert connection_options(message(proto="HTTP/1.0"), "REQ_CLOSE")[0] == "REQ_HTTP10"
    assert connection_options(message(("Connection", "keep-alive"), proto="HTTP/1.0"), "REQ_CLOSE")[0] is None
    assert connection_options(message(("Connection", "Cookie")), "REQ_CLOSE")[0] == "RX_BAD"


def test_if_none_match_goes_before_if_modified_since() -> None:
    date = "Mon, 23 Nov 2020 00:00:00 GMT"
    response = message(("ETag", '"1"'), ("Last-Modified", date))
    assert not not_modified(message(("If-None-Match", '"2"'), ("If-Modified-Since", date)), response, 2e9, 0.0)
    assert not_modified(message(("If-Modified-Since", date)), response, 2e9, 0.0)
    assert not not_modified(message(("If-Modified-Since", "garbage")), response, 2e9, 0.0)
