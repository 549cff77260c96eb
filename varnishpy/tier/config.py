"""``-s tier=valkey,ADDRESS[,OPTION...]``: reading it. It stands beside storage, and is taken out of it here.

ADDRESS is ``host:port``, ``[ipv6]:port``, or the path of a unix socket. ``redis`` is another name for ``valkey``: the
same client package speaks to both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from varnishpy.base.near import did_you_mean
from varnishpy.tier.errors import TierConfigError

METHODS: Final = ("valkey", "redis")
NEEDED: Final = "valkey"
_FLAGS: Final = ("tls", "cluster")
_OPTIONS: Final = ("prefix", "generation", "user", "password-file", "ca", "cert", "key", "db", "wait")
_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class TierSpec:
    """One ``-s tier=...``.

    :ivar path: of a unix socket; else ``host`` and ``port``
    :ivar generation: objects of another generation are not seen; invalidations are seen by all
    :ivar wait_all: purges answer when every live node has applied them
    """

    method: str
    host: str = ""
    port: int = _PORT
    path: str = ""
    prefix: str = "vp"
    generation: int = 0
    user: str = ""
    password_file: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    db: int = 0
    cluster: bool = False
    wait_all: bool = False

    @property
    def address(self) -> str:
        """Where the engine is, for people."""
        return self.path or f"{self.host}:{self.port}"

    def password(self) -> str | None:
        """What the password file says. :raises TierConfigError:"""
        if not self.password_file:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise TierConfigError(f"-s tier: cannot read {self.password_file}: {error.strerror}") from None

    def check(self) -> None:
        """What can be known to be wrong before a child is started. :raises TierConfigError:"""
        if importlib.util.find_spec(NEEDED) is None:
            raise TierConfigError(
                f"-s tier={self.method} needs the Python package {NEEDED}, which is not installed: "
                "pip install 'varnishpy[tier]'"
            )
        self.password()
        for path in (self.ca, self.cert, self.key):
            if path and not Path(path).is_file():
                raise TierConfigError(f"-s tier: there is no file {path}")


def is_tier(text: str) -> bool:
    """Does this ``-s`` ask for a tier?"""
    name, equals, rest = text.partition("=")
    method = rest if equals and "," not in name else text
    return method.split(",")[0] in METHODS


def take_tier(texts: Sequence[str]) -> tuple[list[str], TierSpec | None]:
    """The ``-s`` arguments that mean storage, and the tier, if there is one.

    :raises TierConfigError:
    """
    storage = [text for text in texts if not is_tier(text)]
    tiers = [text for text in texts if is_tier(text)]
    if len(tiers) > 1:
        raise TierConfigError("-s: there can be one tier only")
    return storage, parse(tiers[0]) if tiers else None


def parse(text: str) -> TierSpec:
    """Read one argument. :raises TierConfigError:"""
    name, equals, rest = text.partition("=")
    if equals and "," not in name:
        if name != "tier":
            raise TierConfigError(f"-s {name}=...: the shared tier has the name tier")
        text = rest
    method, *words = text.split(",")
    if not words or not words[0]:
        raise TierConfigError(f"-s tier={method} needs an address: host:port or the path of a unix socket")
    host, port, path = _address(words[0])
    given: dict[str, str] = {}
    for word in words[1:]:
        option, has_value, value = word.partition("=")
        known = (*_FLAGS, *_OPTIONS)
        if option not in known:
            raise TierConfigError(f'-s tier: unknown option "{option}"{did_you_mean(option, known)}')
        if (option in _FLAGS) == bool(has_value):
            raise TierConfigError(f"-s tier: {option} {'takes no value' if has_value else 'needs a value'}")
        given[option] = value
    if given.get("wait", "log") not in ("log", "all"):
        raise TierConfigError("-s tier: wait is log or all")
    if path and ("cluster" in given or "tls" in given):
        raise TierConfigError("-s tier: a unix socket has neither TLS nor a cluster behind it")
    if ("cert" in given) != ("key" in given):
        raise TierConfigError("-s tier: cert and key go together")
    if not given.get("prefix", "vp").isalnum():
        raise TierConfigError("-s tier: prefix takes letters and digits")
    return TierSpec(
        method,
        host,
        port,
        path,
        prefix=given.get("prefix", "vp"),
        generation=_number(given, "generation"),
        user=given.get("user", ""),
        password_file=given.get("password-file", ""),
        tls="tls" in given,
        ca=given.get("ca", ""),
        cert=given.get("cert", ""),
        key=given.get("key", ""),
        db=_number(given, "db"),
        cluster="cluster" in given,
        wait_all=given.get("wait") == "all",
    )


def _number(given: dict[str, str], option: str) -> int:
    text = given.get(option, "0")
    if not text.isdecimal():
        raise TierConfigError(f"-s tier: {option} is a number")
    return int(text)


def _address(text: str) -> tuple[str, int, str]:
    """Host, port and path. :raises TierConfigError:"""
    if text.startswith("/"):
        return "", 0, text
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket:
            raise TierConfigError(f'-s tier: address "{text}" lacks "]"')
    else:
        host, colon, digits = text.partition(":")
        tail = colon + digits
    if not host:
        raise TierConfigError(f'-s tier: address "{text}" has no host')
    if not tail:
        return host, _PORT, ""
    if not tail.startswith(":") or not tail[1:].isdecimal() or not 0 < int(tail[1:]) < 1 << 16:
        raise TierConfigError(f'-s tier: address "{text}" has no port that could be')
    return host, int(tail[1:]), ""
