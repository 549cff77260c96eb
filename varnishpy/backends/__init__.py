"""Backends: directors, connections to origins, probes, and HTTP/1 towards them."""

from __future__ import annotations

from varnishpy.backends.backend import Backend
from varnishpy.backends.body import BodyReader
from varnishpy.backends.director import Director, resolve
from varnishpy.backends.errors import FetchError
from varnishpy.backends.registry import BackendError, Backends

__all__ = ["Backend", "BackendError", "Backends", "BodyReader", "Director", "FetchError", "resolve"]
