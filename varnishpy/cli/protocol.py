"""The words and frames of the CLI protocol (varnish-cli(7)).

A request is one line of words; a response is a 13-byte status line, ``"%-3d %-8d\\n"`` with status and length, then so
many octets of text and a newline. Words are separated by white space; a word may stand in double quotes with C-like
escapes; a last word ``<< TOKEN`` starts a here-document that ends at a line holding just TOKEN, which may
be indented.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Sequence
from typing import Final

# Status codes, varnish-cli(7)
SYNTAX: Final = 100
UNKNOWN: Final = 101
UNIMPLEMENTED: Final = 102
TOO_FEW: Final = 104
TOO_MANY: Final = 105
PARAM: Final = 106
AUTH: Final = 107
OK: Final = 200
TRUNCATED: Final = 201
CANT: Final = 300
COMMS: Final = 400
CLOSE: Final = 500

HEADER_LENGTH: Final = 13
CHALLENGE_LENGTH: Final = 32

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class CliError(Exception):
    """A command that failed: status code and text for the user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class CliProtocolError(Exception):
    """The peer does not speak the CLI protocol, or stopped speaking it."""


def split(line: str) -> list[str]:
    """Split a command line into words.

    :raises CliError: (100) for a quote that is not closed, an unknown escape, or a NUL, which no name may hold
    """
    if "\0" in line:
        raise CliError(SYNTAX, "Syntax Error: NUL in command")
    words: list[str] = []
    position, end = 0, len(line)
    while True:
        while position < end and line[position].isspace():
            position += 1
        if position >= end:
            return words
        if line[position] == '"':
            word, position = _quoted(line, position + 1)
        else:
            start = position
            while position < end and not line[position].isspace():
                if line[position] == "\\":
                    position += 1
                position += 1
            word = _unescape(line[start:position]) if "\\" in line[start:position] else line[start:position]
        words.append(word)


def _quoted(line: str, position: int) -> tuple[str, int]:
    start = position
    while position < len(line):
        if line[position] == "\\":
            position += 2
            continue
        if line[position] == '"':
            text = line[start:position]
            position += 1
            if position < len(line) and not line[position].isspace():
                raise CliError(SYNTAX, "Syntax Error: Quote followed by text")
            return (_unescape(text) if "\\" in text else text), position
        position += 1
    raise CliError(SYNTAX, "Syntax Error: Missing '\"'")


def _unescape(text: str) -> str:
    out: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char != "\\":
            out.append(char)
            continue
        escape = text[position : position + 1]
        position += 1
        if escape in _ESCAPES and escape:
            out.append(_ESCAPES[escape])
        elif escape == "x":
            digits = text[position : position + 2]
            out.append(_character(digits, 16))
            position += 2
        elif escape in ("0", "1", "2", "3"):
            digits = text[position - 1 : position + 2]
            out.append(_character(digits, 8))
            position += 2
        else:
            raise CliError(SYNTAX, "Syntax Error: Invalid backslash sequence")
    # escaped octets may make up a character of UTF-8 together
    return "".join(out).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _character(digits: str, base: int) -> str:
    """The octet of an escape, in the form of text that came from the wire."""
    try:
        code = int(digits, base)
    except ValueError:
        code = 0
    if code <= 0:
        raise CliError(SYNTAX, "Syntax Error: Invalid backslash sequence")
    return bytes([code]).decode("ascii", "surrogateescape")


def quote(word: str) -> str:
    """One word so that `split` gives it back."""
    if word and all(char.isalnum() or char in "-_./:@=+,*%^" for char in word):
        return word
    out = ['"']
    for char in word:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char == "\r":
            out.append("\\r")
        elif char == "\t":
            out.append("\\t")
        elif char < " ":
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(char)
    out.append('"')
    return "".join(out)


def join(words: Sequence[str]) -> str:
    """A command line of these words."""
    return " ".join(quote(word) for word in words)


def frame(status: int, text: str) -> bytes:
    """A response as it goes over the wire."""
    body = text.encode("utf-8", "surrogateescape")
    return b"%-3d %-8d\n" % (status, len(body)) + body + b"\n"


def parse_header(header: bytes) -> tuple[int, int]:
    """Status and body length of a 13-byte status line.

    :raises CliProtocolError: if it is not one
    """
    try:
        if len(header) != HEADER_LENGTH or header[12:13] != b"\n" or header[3:4] != b" ":
            raise ValueError
        return int(header[:3]), int(header[4:12])
    except ValueError:
        raise CliProtocolError(f"not a CLI status line: {header!r}") from None


def read_response(sock: socket.socket, timeout: float) -> tuple[int, str]:
    """Read one response from a stream socket.

    :param timeout: seconds for the whole response
    :raises CliProtocolError: on end of file, timeout or junk
    """
    deadline = time.monotonic() + timeout
    status, length = parse_header(_read_exactly(sock, HEADER_LENGTH, deadline))
    body = _read_exactly(sock, length + 1, deadline)
    return status, body[:-1].decode("utf-8", "surrogateescape")


def _read_exactly(sock: socket.socket, wanted: int, deadline: float) -> bytes:
    got = bytearray()
    while len(got) < wanted:
        left = deadline - time.monotonic()
        if left <= 0:
            raise CliProtocolError("timeout waiting for CLI response")
        sock.settimeout(left)
        try:
            data = sock.recv(wanted - len(got))
        except TimeoutError:
            continue
        except OSError as error:
            raise CliProtocolError(f"CLI communication error: {error.strerror}") from None
        if not data:
            raise CliProtocolError("CLI connection closed")
        got += data
    return bytes(got)


def auth_response(challenge: str, secret: bytes) -> str:
    """The answer to an authentication challenge: SHA-256 over challenge, secret, challenge (varnish-cli(7)).

    :param challenge: the first 32 characters of the 107 response, without the newline
    """
    line = challenge.encode("ascii") + b"\n"
    return hashlib.sha256(line + secret + line).hexdigest()
