"""Origins for tests, made of Python: a function, a WSGI or ASGI application; and what they are given and give.

A function takes a `Request` and returns what it answers: text or octets, a dict or list (JSON), a status, ``(status,
headers)``, ``(status, headers, body)``, or a `Response`.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Fields = list[tuple[str, str]]


@dataclass
class Request:
    """A request as it came to an origin. Header names are compared without regard to case."""

    method: str
    url: str
    fields: Fields
    body: bytes = b""

    @property
    def path(self) -> str:
        """The URL without its query."""
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query."""
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first header of a name."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), default)

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; of several of one name the values are joined with commas (RFC 9110, 5.3)."""
        found: dict[str, str] = {}
        for key, value in self.fields:
            found[key.lower()] = f"{found[key.lower()]}, {value}" if key.lower() in found else value
        return found


@dataclass
class Response:
    """What an origin answers."""

    status: int = 200
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    reason: str = ""


Handler = Callable[[Request], Response]


class OriginError(Exception):
    """What a function returned is no answer, or what was given as an origin is none; the text says so."""


def response_of(answer: object) -> Response:
    """A response of what a function returned, see the module text. :raises OriginError:"""
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, str):
        return Response(200, [("Content-Type", "text/plain; charset=utf-8")], answer.encode())
    if isinstance(answer, bytes):
        return Response(200, [], answer)
    if isinstance(answer, (dict, list)):
        return Response(200, [("Content-Type", "application/json")], json.dumps(answer).encode())
    if isinstance(answer, int) and not isinstance(answer, bool):
        return Response(answer)
    if isinstance(answer, tuple) and len(answer) in (2, 3) and isinstance(answer[0], int):
        headers = answer[1]
        fields = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        body = response_of(answer[2]) if len(answer) == 3 else Response()
        names = {name.lower() for name, _ in fields}
        return Response(answer[0], fields + [row for row in body.fields if row[0].lower() not in names], body.body)
    raise OriginError(f"an origin answered {answer!r}, which is no response (see varnishpy.kit.origins)")


def handler_of(thing: Callable[..., object]) -> Handler:
    """A handler of a function (one parameter), a WSGI application (two) or an ASGI application (three).

    :raises OriginError: it is none of these
    """
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        raise OriginError(f"{thing!r} cannot be an origin: it is no function and no application") from None
    count = sum(each.default is each.empty and each.kind in _POSITIONAL for each in parameters)
    if count == 1:
        return lambda request: response_of(thing(request))
    if count == 2:
        return lambda request: _wsgi(thing, request)
    if count == 3:
        return lambda request: _asgi(thing, request)
    raise OriginError(
        f"{thing!r} cannot be an origin: a function takes the request, a WSGI application environ and start_response, "
        f"an ASGI application scope, receive and send; this takes {count} arguments"
    )


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _wsgi(application: Callable[..., Any], request: Request) -> Response:
    """Ask a WSGI application (PEP 3333)."""
    split = urlsplit(request.url)
    environ: dict[str, object] = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": split.path, "QUERY_STRING": split.query,
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(request.body)),
    }  # fmt: skip
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    said: list[Response] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: Sequence[tuple[str, str]], exc_info: object = None) -> object:
        number, _, reason = status.partition(" ")
        said[:] = [Response(int(number), list(headers), reason=reason)]
        return parts.append

    chunks: Iterable[bytes] = application(environ, start_response)
    try:
        parts.extend(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    if not said:
        raise OriginError("the WSGI application did not call start_response")
    said[0].body = b"".join(parts)
    return said[0]


def _asgi(application: Callable[..., Any], request: Request) -> Response:
    """Ask an ASGI application (HTTP connection scope, ASGI 3.0)."""
    split = urlsplit(request.url)
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": request.method, "scheme": "http", "path": split.path, "raw_path": split.path.encode(),
        "query_string": split.query.encode(), "root_path": "", "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 80),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.fields],
    }  # fmt: skip
    response = Response(0)
    asked = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> dict[str, object]:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            rows = message.get("headers", ())
            response.fields = [(bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in rows]
        elif message["type"] == "http.response.body":
            response.body += message.get("body", b"")

    async def ask() -> None:
        await application(scope, receive, send)

    asyncio.run(ask())
    if not response.status:
        raise OriginError("the ASGI application sent no response")
    return response


def reason_of(status: int) -> str:
    """The usual reason phrase, or nothing."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
