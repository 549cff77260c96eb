"""Errors of the backend side."""

from __future__ import annotations

from varnishpy.base.compiled import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestBodyError(Exception):
    """The body of the request could not be read from whoever provides it; the text is the reason for the log."""


class FetchError(Exception):
    """A fetch failed; the text is that of its ``FetchError`` log record."""
