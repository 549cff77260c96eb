"""Top-level commands about the test itself: its title, what it needs, environment variables and files."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import ssl
import struct
from collections.abc import Callable

from . import net
from .anywhere import EVERYWHERE, run_shell
from .context import Test
from .errors import ScriptError
from .table import Call, Command, Opt

DNS_CANARY = "dns-canary.varnish-cache.org"


def _vtest(_test: Test, call: Call) -> None:
    call.voice.say(1, f"VTEST {call.plain[0]}")


def _setenv(_test: Test, call: Call) -> None:
    name, value = call.plain
    if not (call.has("-ifunset") and name in os.environ):
        os.environ[str(name)] = str(value)


def _filewrite(_test: Test, call: Call) -> None:
    name, *strings = call.plain
    try:
        with open(name, "ab" if call.has("-a") else "wb") as file:
            file.write("".join(strings).encode("latin-1"))
    except OSError as error:
        call.voice.fatal(f"Cannot open {name}: {error.strerror}")


def _binds(address: str) -> bool:
    try:
        net.listen(address, 1).close()
    except net.NetError:
        return False
    return True


def _user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _dns_works() -> bool:
    """Whether a name made for this question resolves to what it should, and not to IPv6."""
    try:
        found = {address[0] for *_, address in socket.getaddrinfo(DNS_CANARY, None, socket.AF_INET)}
    except OSError:
        return False
    if found != {"192.0.2.255"}:
        return False
    try:
        socket.getaddrinfo(DNS_CANARY, None, socket.AF_INET6)
    except OSError:
        return True
    return False


FEATURES: dict[str, Callable[[Test], bool]] = {
    "64bit": lambda _test: struct.calcsize("P") == 8,
    "ipv4": lambda _test: _binds("127.0.0.1:0"),
    "ipv6": lambda _test: _binds("[::1]:0"),
    "dns": lambda _test: _dns_works(),
    "topbuild": lambda test: test.settings.in_build_tree,
    "root": lambda _test: os.geteuid() == 0,
    "user_varnish": lambda _test: _user("varnish"),
    "user_vcache": lambda _test: _user("vcache"),
    "group_varnish": lambda _test: _group("varnish"),
    "abstract_uds": lambda _test: _binds("@vtc.feature.abstract_uds"),
    "disable_aslr": lambda _test: os.path.exists("/proc/self/personality"),
    # How a C program was built: never true of a Python one.
    "persistent_storage": lambda _test: False,
    "coverage": lambda _test: False,
    "asan": lambda _test: False,
    "msan": lambda _test: False,
    "tsan": lambda _test: False,
    "ubsan": lambda _test: False,
    "sanitizer": lambda _test: False,
    "workspace_emulator": lambda _test: False,
    "tls": lambda _test: True,
    "tls_1_3": lambda _test: ssl.HAS_TLSv1_3,
    "tls_raw_staple": lambda _test: False,
    "SO_RCVTIMEO_WORKS": lambda _test: True,
    "varnishpy": lambda test: not test.settings.named_in(test.macros),
}
"""What ``feature`` may ask for, and how to find out."""


def _has(test: Test, call: Call, words: list[str]) -> bool:
    """Whether the feature ``words[0]`` is there; takes the feature's own argument off ``words``."""
    name = words[0].removeprefix("!")
    if name == "cmd":
        return run_shell(test, words.pop(1))[0] == 0
    if name == "vtest_cmd":
        return words.pop(1) in {**test.languages["top"], **EVERYWHERE}
    return FEATURES[name](test)


def _feature(test: Test, call: Call) -> None:
    words = list(call.plain)
    while words:
        word = words[0]
        name = word.removeprefix("!")
        if name == "ignore_unknown_macro":
            test.macros.ignore_unknown = True
            words.pop(0)
            continue
        if name in ("cmd", "vtest_cmd"):
            if len(words) < 2:
                raise ScriptError(f"feature {name}: an argument is missing", word.locate())
        elif name not in FEATURES:
            known = " ".join([*FEATURES, "cmd", "vtest_cmd", "ignore_unknown_macro"])
            raise ScriptError(f"FAIL test, unknown feature: {name} (known: {known})", word.locate())
        unwanted = word.startswith("!")
        if _has(test, call, words) == unwanted:  # type: ignore[arg-type]
            reason = "conflicting" if unwanted else "lacking"
            call.voice.say(1, f"SKIPPING test, {reason} feature: {name}")
            test.skip_reason = f"{reason} feature: {name}"
            test.set_ended(skipped=True)
            return
        words.pop(0)


ROWS = (
    Command("vtest", _vtest, "TITLE", text='this tests: "{0}"', mixed=False),
    Command("varnishtest", _vtest, "TITLE", text='this tests: "{0}"', mixed=False),
    Command("feature", _feature, "NAME [NAME...]", text="only go on with: {0}", mixed=False),
    Command(
        "setenv",
        _setenv,
        "NAME VALUE",
        {"-ifunset": Opt("", "unless it is set")},
        "set the environment variable {0} to {1}",
        mixed=False,
    ),
    Command("filewrite", _filewrite, "FILE [STRING...]", {"-a": Opt("", "appending")}, "write {0}", mixed=False),
)
