"""varnishpy: a caching HTTP reverse proxy faithful to Varnish's session and request thread model."""

from varnishpy.base import compiled as _compiled

__version__ = "0.1.0"

_compiled.choose()  # before any other module of the package is imported
