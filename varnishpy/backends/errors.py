"""Errors of the backend side."""

from __future__ import annotations


class RequestBodyError(Exception):
    """The body of the request could not be read from whoever provides it; the text is the reason for the log."""


class FetchError(Exception):
    """A fetch failed; the text is that of its ``FetchError`` log record."""
