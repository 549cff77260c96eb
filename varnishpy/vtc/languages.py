"""All languages by name: the top level, and the inside of those commands that take scripts."""

from __future__ import annotations

from . import environment
from .barrier import Barrier
from .client import CLIENT, Client
from .daemon import Daemon
from .h2.commands import STREAM
from .haproxy import HAPROXY, HAPROXY_CLI, HAProxy
from .http1_commands import HTTP
from .logexpect import LOGEXPECT, LOGEXPECT_SPEC, LogExpect
from .party import Party
from .process import PROCESS
from .pty_process import Process
from .server import SERVER, Server
from .syslog import SYSLOG, SYSLOG_SPEC, Syslog
from .table import Table, table
from .tls import TLS
from .tunnel import TUNNEL, TUNNEL_SPEC, Tunnel
from .varnish import VARNISH_ROWS
from .vsm import VSM, Vsm

TOP = table(*environment.ROWS, CLIENT, SERVER, PROCESS, TUNNEL, SYSLOG, HAPROXY, *VARNISH_ROWS, LOGEXPECT, VSM)

LANGUAGES: dict[str, Table] = {
    "top": TOP,
    "http": HTTP,
    "stream": STREAM,
    "tls": TLS,
    "tunnel": TUNNEL_SPEC,
    "syslog": SYSLOG_SPEC,
    "haproxy-cli": HAPROXY_CLI,
    "logexpect": LOGEXPECT_SPEC,
}

RESET_ORDER: tuple[type[Party], ...] = (
    *(Barrier, Client, HAProxy, LogExpect, Process),
    *(Server, Syslog, Tunnel, Daemon, Vsm),
)
"""In which order a test's parties are told to leave."""
