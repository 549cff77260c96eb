"""All languages by name: the top level, and the inside of those commands that take scripts."""

from __future__ import annotations

from . import environment
from .client import CLIENT
from .h2.commands import STREAM
from .haproxy import HAPROXY, HAPROXY_CLI
from .http1_commands import HTTP
from .logexpect import LOGEXPECT, LOGEXPECT_SPEC
from .process import PROCESS
from .server import SERVER
from .syslog import SYSLOG, SYSLOG_SPEC
from .table import Table, table
from .tls import TLS
from .tunnel import TUNNEL, TUNNEL_SPEC
from .varnish import VARNISH_ROWS
from .vsm import VSM

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

RESET_ORDER = ("barrier", "client", "haproxy", "logexpect", "process", "server", "syslog", "tunnel", "varnish", "vsm")
"""In which order a test's parties are told to leave."""
