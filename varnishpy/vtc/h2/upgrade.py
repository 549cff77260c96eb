"""Ways into HTTP/2: prior knowledge, ``Upgrade: h2c``, and the ``stream`` command that does what is missing."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING

from ..log import Voice
from ..table import Call
from .connection import H2Connection
from .stream import Stream
from .tables import Setting, setting_name

if TYPE_CHECKING:
    from ..http1 import Http

_EXCHANGE_SETTINGS = """
    txsettings
    rxsettings
    txsettings -ack
    rxsettings
    expect settings.ack == true
"""


def start(http: Http) -> None:
    """From here on the connection carries frames."""
    http.h2 = H2Connection(http)


def apply_settings(http: Http, voice: Voice, header: str) -> None:
    """What an ``HTTP2-Settings`` header (base64url, RFC 7540 section 3.2.1) says."""
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        settings = list(struct.iter_unpack(">HI", raw))
    except (binascii.Error, struct.error, ValueError):
        voice.fatal('Bad "HTTP2-Settings" header')
    for code, value in settings:
        if code == Setting.NO_RFC7540_PRIORITIES:
            http.no_rfc7540_priorities = value
        if code == Setting.HEADER_TABLE_SIZE and http.h2 is not None:
            (http.h2.encoder.table if http.is_server else http.h2.decoder_table).resize(value)
        voice.say(4, f"Upgrade: {setting_name(code)} ({code}): {value}")


def finish_client_upgrade(http: Http, voice: Voice, settings: str) -> None:
    """The client's part after the request that asked for HTTP/2."""
    http.run(
        "rxresp\nexpect resp.status == 101\nexpect resp.http.connection == Upgrade\n"
        "expect resp.http.upgrade == h2c\ntxpri\n"
    )
    apply_settings(http, voice, settings)
    http.run(f"stream 0 {{{_EXCHANGE_SETTINGS}}} -start\n")


def server_upgrade(http: Http, voice: Voice) -> None:
    """The server's part: check the request just received, switch, exchange settings."""
    from ..http1 import find_header

    if find_header(http.req, "Upgrade") != "h2c":
        voice.fatal('Req misses "Upgrade: h2c" header')
    if find_header(http.req, "Connection") != "Upgrade, HTTP2-Settings":
        voice.fatal('Req misses "Connection: Upgrade, HTTP2-Settings" header')
    settings = find_header(http.req, "HTTP2-Settings")
    if settings is None:
        voice.fatal('Req misses "HTTP2-Settings" header')
    http.run('txresp -status 101 -hdr "Connection: Upgrade" -hdr "Upgrade: h2c"\n')
    http.run(f"rxpri\nstream 0 {{{_EXCHANGE_SETTINGS}}} -start\n")
    apply_settings(http, voice, settings)


def stream_command(http: Http, call: Call) -> None:
    """``stream ID ...``: declare, start, wait for a stream."""
    if http.h2 is None:
        http.voice.say(4, "Not in H/2 mode, do what's needed")
        http.run("rxpri\n" if http.is_server else "txpri\n")
        http.run(f"stream 0 {{{_EXCHANGE_SETTINGS}}} -run\n")
    connection = http.h2
    if connection is None:
        voice = call.voice
        voice.fatal("HTTP/2 did not start")
    name = call.plain[0]
    stream = connection.streams.get(name) or Stream(connection, name)
    naming = True
    for item in call.items:
        if naming and not item.option:
            naming = False
            continue
        if item.option == "-wait":
            stream.wait()
            continue
        if stream.thread is not None:
            stream.wait()
        match item.option:
            case "-start":
                stream.start()
            case "-run":
                stream.start()
                stream.wait()
            case _:
                stream.spec = item.args[0]
