"""What a VMOD is written with.

A VMOD is a Python module with typed functions and classes::

    from varnishpy.vmods.api import INT, STRING, Ctx

    def repeat(ctx: Ctx, text: STRING, times: INT = 2) -> STRING:
        return (text or "") * times

VCL says ``import name;`` and the module is found among the built-in ones, then under the entry-point group
``varnishpy.vmods``, then as ``name.py`` on ``vmod_path``. See `varnishpy.vcl.vmodspec` for the rules. Strings are wire
strings (one character per octet); ``None`` is a string that is not there. A function fails the VCL by raising
`VclFailure`.
"""

from __future__ import annotations

from varnishpy.base.ipaddr import packed
from varnishpy.threads.worker import blocking
from varnishpy.vcl.context import Ctx, PrivateData, VclFailure, VclSub
from varnishpy.vcl.values import HeaderRef, SockAddr
from varnishpy.vcl.vmodspec import (
    ACL,
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    HEADER,
    HTTP,
    INT,
    IP,
    NOT_GIVEN,
    PIECES,
    PRIV_CALL,
    PRIV_TASK,
    PRIV_TOP,
    PRIV_VCL,
    PROBE,
    REAL,
    REGEX,
    STEVEDORE,
    STRANDS,
    STRING,
    SUB,
    TIME,
    NotGiven,
    restrict,
)

__all__ = [
    "ACL",
    "BACKEND",
    "BLOB",
    "BOOL",
    "BYTES",
    "DURATION",
    "HEADER",
    "HTTP",
    "INT",
    "IP",
    "NOT_GIVEN",
    "PIECES",
    "PRIV_CALL",
    "PRIV_TASK",
    "PRIV_TOP",
    "PRIV_VCL",
    "PROBE",
    "REAL",
    "REGEX",
    "STEVEDORE",
    "STRANDS",
    "STRING",
    "SUB",
    "TIME",
    "Ctx",
    "HeaderRef",
    "NotGiven",
    "PrivateData",
    "SockAddr",
    "VclFailure",
    "VclSub",
    "blocking",
    "packed",
    "restrict",
]
