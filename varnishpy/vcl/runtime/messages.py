"""Messages: header fields and first lines."""

from __future__ import annotations

import re

from varnishpy.http.freshness import current_directives
from varnishpy.http.message import Message
from varnishpy.http.status import reason as reason_phrase
from varnishpy.params import params
from varnishpy.vcl.context import Ctx, VclFailure

# what a field value cannot hold: controls but for the tab
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


def set_header(ctx: Ctx, message: Message, name: str, value: str) -> None:
    if not value.isprintable() and _BAD_VALUE(value) is not None and params.feature.validate_headers:
        raise VclFailure(f"Bad header {name}: {_visible(value)}")
    message.assign(name, value)


def _visible(value: str) -> str:
    return value.replace("\r", "\\r").replace("\n", "\\n")


def _first_line(message: Message, name: str, value: str) -> str:
    if message.ws is not None and not message.ws.account(len(value) + 1):
        raise VclFailure(f"Workspace overflow ({name})")
    if not value:
        raise VclFailure(f"Setting {name} to empty string")
    return value


def set_method(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_method(_first_line(message, name, value))


def set_url(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_url(_first_line(message, name, value))


def set_proto(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_proto(_first_line(message, name, value))


def set_reason(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_reason(_first_line(message, name, value))


def set_status(message: Message, name: str, value: int) -> None:
    """Statuses above 999 are for VCL's own use: only the last three digits are sent."""
    if value < 0:
        raise VclFailure(f"{name}.status ({value}) is negative")
    if value > 65535:
        raise VclFailure(f"{name}.status ({value}) > 65535")
    if value % 1000 < 100:
        raise VclFailure(f"illegal {name}.status ({value}) (..0##)")
    message.set_status(value)
    message.set_reason(reason_phrase(value % 1000))


def set_body(target: list[bytes], value: bytes) -> None:
    target[:] = [value]


def cache_control(beresp: Message) -> str:
    """``beresp.cache_control``: the directives that are obeyed, wherever they stand."""
    return current_directives(beresp)
