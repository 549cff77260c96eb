"""The CLI's words and frames, without sockets."""

from __future__ import annotations

import hashlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.cli import protocol


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  ping  ", ["ping"]),
        ("a b\tc", ["a", "b", "c"]),
        ('say "two words" end', ["say", "two words", "end"]),
        (r'"a\nb\"c\\d\x41\101"', ['a\nb"c\\dAA']),
        ('""', [""]),
        (r"plain\x41\ttail", ["plainA\ttail"]),
        (r'"\xc3\251" \xff', ["é", "\udcff"]),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    assert protocol.split(line) == words


@pytest.mark.parametrize("line", ['"open', r'"\q"', r"\xzz", '"quote"tail', r'"\9"', "a\0b", r"a\x00", r'"\000"'])
def test_split_refuses(line: str) -> None:
    with pytest.raises(protocol.CliError) as caught:
        protocol.split(line)
    assert caught.value.status == protocol.SYNTAX


@given(st.lists(st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=20), max_size=6))
def test_join_is_the_inverse_of_split(words: list[str]) -> None:
    assert protocol.split(protocol.join(words)) == words


def test_frame_counts_octets() -> None:
    assert protocol.frame(200, "é") == b"200 2       \n\xc3\xa9\n"


def test_response_round_trip() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(protocol.frame(101, "what?\nthat\n") + protocol.frame(200, ""))
        assert protocol.read_response(ours, 5) == (101, "what?\nthat\n")
        assert protocol.read_response(ours, 5) == (200, "")


@pytest.mark.parametrize("junk", [b"", b"HTTP/1.1 200 OK\r\n", b"200 12"])
def test_response_refuses_junk(junk: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(junk)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(protocol.CliProtocolError):
            protocol.read_response(ours, 5)


def test_response_has_a_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(protocol.CliProtocolError, match="timeout"):
        protocol.read_response(ours, 0.01)


def test_auth_response_is_the_documented_digest() -> None:
    challenge = "ixslvvxrgkjptxmcgnnsdxsvdmvfympg"
    by_hand = hashlib.sha256(f"{challenge}\nfoo\n{challenge}\n".encode()).hexdigest()
    assert protocol.auth_response(challenge, b"foo\n") == by_hand
    # the worked example of varnish-cli(7)
    assert by_hand == "455ce847f0073c7ab3b1465f74507b75d3dc064c1e7de3b71e00de9092fdc89a"
