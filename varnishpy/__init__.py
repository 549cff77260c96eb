"""varnishpy: a caching HTTP reverse proxy faithful to Varnish's session and request thread model."""

__version__ = "0.1.0"
