"""HPACK and frames of the test peers, held against the libraries hpack and hyperframe know nothing of each other."""

import hpack as library
import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.vtc.h2 import frames
from varnishpy.vtc.h2.frames import Frame, FrameError
from varnishpy.vtc.h2.hpack import DynamicTable, Encoder, Field, HpackError, Indexing, decode, encode_integer
from varnishpy.vtc.h2.tables import Flag, FrameType, Setting, flag_names

NAMES = st.binary(min_size=1, max_size=40)
VALUES = st.binary(max_size=300)


@given(st.lists(st.tuples(NAMES, VALUES, st.sampled_from(Indexing), st.booleans(), st.booleans()), max_size=20))
def test_what_we_encode_the_library_decodes(fields: list[tuple[bytes, bytes, Indexing, bool, bool]]) -> None:
    table = DynamicTable(4096)
    encoder = Encoder(table)
    block = b"".join(encoder.literal(name, value, how, (one, two)) for name, value, how, one, two in fields)
    decoder = library.Decoder(max_header_list_size=1 << 20)
    got = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    assert got == [(name, value) for name, value, *_ in fields]
    ours = [(entry.name, entry.value) for entry in (table.dynamic(n + 1) for n in range(len(table))) if entry]
    assert ours == [(bytes(name), bytes(value)) for name, value in decoder.header_table.dynamic_entries]


@given(st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=8), max_size=4))
def test_what_the_library_encodes_we_decode(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    encoder, table = library.Encoder(), DynamicTable(4096)
    for fields in blocks:
        assert decode(encoder.encode(fields), table) == [Field(name, value) for name, value in fields]
    assert table.size == encoder.header_table._current_size


@pytest.mark.parametrize(
    ("value", "prefix", "wire"), [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (127, 7, "7f00"), (31, 5, "1f00")]
)
def test_integers_of_the_rfc(value: int, prefix: int, wire: str) -> None:
    assert encode_integer(value, prefix, 0).hex() == wire


@pytest.mark.parametrize("block", ["80", "ff80808080808001", "00", "0003616263", "0083ffffff00", "be", "3fe1"])
def test_blocks_that_cannot_be_decoded(block: str) -> None:
    with pytest.raises(HpackError):
        decode(bytes.fromhex(block), DynamicTable(4096))


def test_the_table_is_bounded() -> None:
    table = DynamicTable(100)
    for name in (b"a", b"b", b"c", b"d"):
        table.push(Field(name, b""))
    assert len(table) == 3
    table.push(Field(b"x" * 100, b""))
    assert (len(table), table.size) == (0, 0)


def frame(kind: int, flags: int, data: str, stream: int = 1) -> Frame:
    made = Frame(kind, flags, stream, bytes.fromhex(data))
    frames.parse(made)
    return made


def test_frame_headers_go_there_and_back() -> None:
    raw = frames.header(FrameType.HEADERS, 5, 0x7FFFFFFF, 0x123456)
    assert frames.read_header(raw) == (0x123456, 1, 5, 0x7FFFFFFF)


def test_payloads() -> None:
    data = frame(FrameType.DATA, Flag.PADDED, "02616263" + "0000")
    assert (data.content, data.padding) == (b"abc", 2)
    headers = frame(FrameType.HEADERS, Flag.PRIORITY | Flag.PADDED, "01" + "80000003" + "0f" + "8284" + "00")
    assert (headers.content, headers.dependency, headers.exclusive, headers.weight) == (b"\x82\x84", 3, True, 15)
    assert frame(FrameType.SETTINGS, 0, "000400010000", 0).settings == {Setting.INITIAL_WINDOW_SIZE: 65536}
    goaway = frame(FrameType.GOAWAY, 0, "00000005" + "0000000b" + "6f6f7073", 0)
    assert (goaway.last_stream, goaway.error, goaway.debug) == (5, 11, b"oops")
    assert frame(FrameType.PUSH_PROMISE, 0, "0000000282").promised == 2
    assert frame(FrameType.WINDOW_UPDATE, 0, "00010000").increment == 65536
    assert frame(0x42, 0xFF, "001122").data == b"\x00\x11\x22"


@pytest.mark.parametrize(
    ("kind", "flags", "data"),
    [
        (FrameType.DATA, Flag.PADDED, "04616263"),
        (FrameType.DATA, Flag.PADDED, ""),
        (FrameType.HEADERS, Flag.PRIORITY, "0000"),
        (FrameType.PRIORITY, 0, "00"),
        (FrameType.RST_STREAM, 0, "0000"),
        (FrameType.SETTINGS, 0, "0000"),
        (FrameType.PING, 0, "00"),
        (FrameType.GOAWAY, 0, "80000000" + "00000000"),
        (FrameType.WINDOW_UPDATE, 0, "80000001"),
    ],
)
def test_frames_that_contradict_themselves(kind: int, flags: int, data: str) -> None:
    with pytest.raises(FrameError):
        frame(kind, flags, data, 0)


def test_flags_are_named_by_frame() -> None:
    assert flag_names(FrameType.SETTINGS, 1) == ["ACK"]
    assert flag_names(FrameType.HEADERS, 0x2D) == ["END_STREAM", "END_HEADERS", "PADDED", "PRIORITY"]
    assert flag_names(FrameType.DATA, 0x20) == ["0x20"]
