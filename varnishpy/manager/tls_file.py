"""The file of ``-A``: listeners that speak TLS, and their certificates.

The grammar is that of hitch(8)'s configuration as the reference took it over: ``name = value``, where a value is a
string, a word, a list of words, or more of the same in braces. What stands outside of a ``frontend`` block is for all
of them. The last certificate of a block is its default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from varnishpy.manager.complain import StartupError
from varnishpy.session.tls_settings import VERSIONS, CertificateSpec, FrontendPolicy, TlsSettings

_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|(?P<punct>[{}=])|"(?P<string>(?:\\.|[^\\"])*)"|(?P<word>[A-Za-z0-9.-]+)|(?P<junk>.)"""
)
_BOOLS: Final = {
    **dict.fromkeys(("yes", "y", "on", "true", "t"), True),
    **dict.fromkeys(("no", "n", "off", "false", "f"), False),
}
_COMMON: Final = frozenset(("ciphers", "ciphersuites", "prefer-server-ciphers", "sni-nomatch-abort", "tls-protos"))
_TOP: Final = _COMMON | {"ecdh-curve", "frontend", "pem-file"}
_FRONTEND: Final = _COMMON | {"host", "match-global-certs", "name", "pem-file", "port"}
_PEM: Final = frozenset(("cert", "ciphers", "ciphersuites", "dhparam", "name", "private-key"))
_SWITCHES: Final = frozenset(("match-global-certs", "prefer-server-ciphers", "sni-nomatch-abort"))


@dataclass(slots=True, frozen=True)
class _Token:
    kind: str  # punct, string, word, end
    text: str
    line: int


@dataclass(slots=True)
class _Block:
    """The settings of one level; blocks within it in the order of the file."""

    texts: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    pems: list[_Block] = field(default_factory=list)
    frontends: list[_Block] = field(default_factory=list)


def read(path: str) -> TlsSettings:
    """Read the file.

    :raises StartupError: it cannot be read, or its line so-and-so is wrong
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise StartupError(f"-A: Cannot open '{path}': {error.strerror}", usage=True) from None
    top = _Parser(text).parse()
    if not top.frontends:
        raise StartupError(
            f"-A: No frontend listen endpoint definitions found in configuration file {path}", usage=True
        )
    settings = TlsSettings()
    _add_certificates(settings, top, None, "")
    for number, block in enumerate(top.frontends):
        name = block.texts.get("name") or f"tls{number}"
        settings.listen.append(f"{name}={_address(block)},HTTPS")
        abort = block.switches.get("sni-nomatch-abort", top.switches.get("sni-nomatch-abort", False))
        match_global = block.switches.get("match-global-certs", not block.pems)
        settings.policies[name] = FrontendPolicy(tuple(block.versions or top.versions), abort, match_global)
        _add_certificates(settings, top, block, name)
    idents = [spec.ident for spec in settings.certificates if spec.ident]
    for ident in idents:
        if idents.count(ident) > 1:
            raise StartupError(f"Certificate ID '{ident}' already exists.", usage=True)
    return settings


def _add_certificates(settings: TlsSettings, top: _Block, frontend: _Block | None, name: str) -> None:
    block = top if frontend is None else frontend
    for number, pem in enumerate(block.pems, 1):
        ciphers = [level.texts["ciphers"] for level in (pem, block, top) if "ciphers" in level.texts]
        curve = top.texts.get("ecdh-curve", "")
        order = [level.switches for level in (block, top) if "prefer-server-ciphers" in level.switches]
        settings.certificates.append(
            CertificateSpec(
                cert_file=_readable(pem.texts.get("cert", "")),
                key_file=_readable(pem.texts["private-key"]) if "private-key" in pem.texts else "",
                ident=pem.texts.get("name", ""),
                frontend=name,
                dh_file=_readable(pem.texts["dhparam"]) if "dhparam" in pem.texts else "",
                ciphers=ciphers[0] if ciphers else "",
                curve="" if curve == "auto" else curve,
                versions=tuple(block.versions or top.versions),
                server_order=order[0]["prefer-server-ciphers"] if order else True,
                default=number == len(block.pems),
            )
        )


def _readable(path: str) -> str:
    """The file by its full name: the process may change its directory before it reads it."""
    full = os.path.abspath(path) if path else ""
    try:
        with open(full, "rb"):
            return full
    except OSError as error:
        raise StartupError(f"-A: Unable to read certificate file '{path}' ({error.strerror})", usage=True) from None


def _address(block: _Block) -> str:
    """Where a frontend listens, as ``-a`` says it."""
    whole = block.texts.get("frontend")
    if whole is not None:
        return whole[1:] if whole.startswith("*:") else whole
    host, port = block.texts.get("host", ""), block.texts.get("port", "")
    if host.startswith("/"):
        return host
    if not port:
        raise StartupError("-A: a frontend needs a port", usage=True)
    if host == "*":
        host = ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._tokens = self._read(text)
        self._token = next(self._tokens)

    def _read(self, text: str) -> Iterator[_Token]:
        line = 1
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup
            if kind is not None and kind != "junk":
                yield _Token(kind, found[kind], line)
            line += found[0].count("\n")
        while True:
            yield _Token("end", "", line)

    def _fail(self, text: str) -> StartupError:
        line = self._token.line
        shown = self._lines[line - 1] if line <= len(self._lines) else ""
        return StartupError(f"-A: Parsing error in line {line}: {text}: '{shown}'", usage=True)

    def _next(self) -> _Token:
        token, self._token = self._token, next(self._tokens)
        return token

    def _skip(self, text: str) -> None:
        if self._token.kind != "punct" or self._token.text != text:
            raise self._fail(f"syntax error, expected '{text}'")
        self._next()

    def _at(self, text: str) -> bool:
        return self._token.kind == "punct" and self._token.text == text

    def parse(self) -> _Block:
        top = _Block()
        if self._token.kind == "end":
            raise self._fail("syntax error, unexpected end of file")
        while self._token.kind != "end":
            self._setting(top, _TOP)
        return top

    def _setting(self, block: _Block, names: frozenset[str]) -> None:
        if self._token.kind != "word" or self._token.text not in names:
            raise self._fail(f"syntax error, unexpected {self._token.text or 'end of file'}")
        name = self._next().text
        self._skip("=")
        if name == "frontend":
            block.frontends.append(self._nested(_FRONTEND, "frontend"))
        elif name == "pem-file":
            block.pems.append(self._nested(_PEM, "cert"))
        elif name == "tls-protos":
            self._protocols(block)
        elif name in _SWITCHES:
            switch = _BOOLS.get(self._token.text.lower()) if self._token.kind in ("word", "string") else None
            if switch is None:
                raise self._fail("syntax error, expected yes or no")
            self._next()
            block.switches[name] = switch
        else:
            text = self._text()
            if name == "ciphersuites" and text:
                why = "Python's TLS cannot choose among those of TLS 1.3: leave this out"
                raise StartupError(f"-A: Invalid ciphersuites: {text} ({why})", usage=True)
            block.texts[name] = text

    def _nested(self, names: frozenset[str], short: str) -> _Block:
        """A block in braces, or the one text that can stand for it."""
        inner = _Block()
        if not self._at("{"):
            inner.texts[short] = self._text()
            return inner
        self._next()
        while not self._at("}"):
            self._setting(inner, names)
        self._next()
        return inner

    def _protocols(self, block: _Block) -> None:
        if self._token.text not in VERSIONS:
            raise self._fail(f"syntax error, expected one of {', '.join(VERSIONS)}")
        while self._token.kind == "word" and self._token.text in VERSIONS:
            block.versions.append(self._next().text)

    def _text(self) -> str:
        if self._token.kind not in ("string", "word"):
            raise self._fail("syntax error, expected a string")
        return self._next().text
