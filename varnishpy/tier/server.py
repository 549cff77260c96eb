"""One server of the engine: its connections, through the client package ``valkey``; its deadline and its breaker.

A *command* is its words, a *call* some of them sent together. Each call has the deadline ``tier_timeout`` for each
answer; the breaker is asked before and told after. Nothing is tried twice here: who asks has something better to do.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import valkey
from valkey.cluster import ClusterParser
from valkey.connection import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from valkey.exceptions import AskError

from varnishpy.params import params
from varnishpy.tier.answers import a_list
from varnishpy.tier.breaker import Breaker
from varnishpy.tier.config import TierSpec
from varnishpy.tier.errors import LeftAlone, TierError, TierTimeout

Word = bytes | str | int | float
Command = Sequence[Word]

_RAW: Final = ("XREAD", "XRANGE", "HGETALL", "SET")  # commands whose answers we take apart ourselves
_CONNECTIONS: Final = 64
_TEXT: Final = 200  # characters of an error that are worth a line in the log: some repeat the whole command


class _Pipeline(Protocol):
    def execute_command(self, *args: Word) -> object: ...
    def execute(self, raise_on_error: bool) -> Sequence[object]: ...


class _Client(Protocol):
    """What is used of the package's client."""

    def pipeline(self, transaction: bool) -> _Pipeline: ...
    def set_response_callback(self, command: str, callback: Callable[..., object]) -> None: ...
    def close(self) -> None: ...


_open_pool: Final[Callable[..., ConnectionPool]] = BlockingConnectionPool


def _as_it_comes(answer: object, **options: object) -> object:
    return answer


def _open(spec: TierSpec, password: str | None, host: str, port: int, patience: float) -> _Client:
    """A client; it opens connections as it needs them.

    :param patience: seconds that an answer may take
    """
    options: dict[str, object] = {
        "socket_timeout": patience,
        "client_name": "varnishpy",
        "db": spec.db,
        "parser_class": ClusterParser,  # which tells redirections from other errors
    }
    if spec.user:
        options["username"] = spec.user
    if password is not None:
        options["password"] = password
    kind: type[Connection | SSLConnection | UnixDomainSocketConnection] = Connection
    if spec.tls:
        kind = SSLConnection
        options["ssl_check_hostname"] = True
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
        for option, path in (("ssl_ca_certs", spec.ca), ("ssl_certfile", spec.cert), ("ssl_keyfile", spec.key)):
            if path:
                options[option] = path
    if spec.path:
        kind = UnixDomainSocketConnection
        options["path"] = spec.path
    else:
        options.update(host=host, port=port, socket_connect_timeout=params.tier_timeout)
    pool = _open_pool(_CONNECTIONS, params.tier_timeout, connection_class=kind, **options)
    client: _Client = valkey.Valkey.from_pool(pool)  # which closes the pool when it is closed
    for command in _RAW:
        client.set_response_callback(command, _as_it_comes)
    return client


def refused(answer: object) -> bool:
    """Is that an error? A redirection is none: whoever knows the cluster deals with it."""
    return isinstance(answer, Exception) and not isinstance(answer, AskError)


class Server:
    """See the module text. Any thread.

    :param opened: called when the breaker opens
    :param wait: seconds that it may let an answer wait beyond the deadline, as is asked of it. Such a server is for one
        thread, which waits anyway: it is asked whatever the breaker says
    """

    def __init__(
        self,
        spec: TierSpec,
        password: str | None,
        host: str,
        port: int,
        opened: Callable[[], None],
        wait: float = 0.0,
    ) -> None:
        self.address = (host, port)
        self.breaker = Breaker()
        self._spec = spec
        self._password = password
        self._opened = opened
        self._wait = wait
        self._client: _Client | None = None
        self._timeout = 0.0  # that its connections have

    def ask(self, commands: Sequence[Command]) -> list[object]:
        """Answers in order; those that are redirections (`valkey.exceptions.AskError`) are the caller's.

        :raises TierError: one was refused, or it could not be asked
        """
        if not self._wait and not self.breaker.allows():
            raise LeftAlone("the engine failed a moment ago")
        try:
            pipeline = self._connected().pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            answers = a_list(pipeline.execute(raise_on_error=False), len(commands))
        except (valkey.TimeoutError, TimeoutError) as exc:
            self._failed()
            raise TierTimeout(str(exc)[:_TEXT] or "no answer in time") from None
        except (valkey.ValkeyError, OSError, TierError) as exc:
            self._failed()
            raise TierError(str(exc)[:_TEXT]) from None
        except Exception as exc:  # the package takes for granted that an engine keeps to its protocol
            self._failed()
            raise TierError(f"no sense in the engine's answer: {type(exc).__name__}: {str(exc)[:_TEXT]}") from None
        for answer in answers:
            if refused(answer):
                self._failed()
                raise TierError(str(answer)[:_TEXT])
        self.breaker.succeeded()
        return answers

    def _connected(self) -> _Client:
        timeout = params.tier_timeout
        client = self._client
        if client is None or timeout != self._timeout:
            # two threads may make one each: one is forgotten. Connections of the one before end with their calls
            client = _open(self._spec, self._password, *self.address, timeout + self._wait)
            self._timeout = timeout
            self._client = client
        return client

    def _failed(self) -> None:
        if self.breaker.failed():
            self._opened()

    def close(self) -> None:
        """Let go of all connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
