"""``-s tier=...``: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from varnishpy.tier.config import TierSpec, parse, take_tier
from varnishpy.tier.errors import TierConfigError


def test_the_tier_is_taken_out_of_the_storage() -> None:
    storage, tier = take_tier(["malloc,10m", "tier=valkey,127.0.0.1:7000", "big=file,/x,1g"])
    assert storage == ["malloc,10m", "big=file,/x,1g"]
    assert tier == TierSpec("valkey", "127.0.0.1", 7000)
    assert take_tier(["malloc"]) == (["malloc"], None)
    assert take_tier([]) == ([], None)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("valkey,engine", TierSpec("valkey", "engine", 6379)),
        ("tier=redis,[::1]:7", TierSpec("redis", "::1", 7)),
        ("tier=redis,[::1]", TierSpec("redis", "::1", 6379)),
        ("tier=valkey,/run/engine.sock", TierSpec("valkey", port=0, path="/run/engine.sock")),
        ("tier=valkey,e:1,prefix=shop,generation=3", TierSpec("valkey", "e", 1, prefix="shop", generation=3)),
        ("tier=valkey,e:1,cluster,tls,ca=/c", TierSpec("valkey", "e", 1, cluster=True, tls=True, ca="/c")),
        ("tier=valkey,e:1,user=u,password-file=/p", TierSpec("valkey", "e", 1, user="u", password_file="/p")),
        ("tier=valkey,e:1,wait=all,db=2", TierSpec("valkey", "e", 1, wait_all=True, db=2)),
    ],
)
def test_what_it_takes(text: str, spec: TierSpec) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tier=valkey", "needs an address"),
        ("tier=valkey,:12", "has no host"),
        ("tier=valkey,host:0", "no port that could be"),
        ("tier=valkey,[::1", 'lacks "]"'),
        ("tier=valkey,e:1,generatoin=1", "Did you mean generation"),
        ("tier=valkey,e:1,tls=yes", "takes no value"),
        ("tier=valkey,e:1,ca", "needs a value"),
        ("tier=valkey,e:1,generation=new", "is a number"),
        ("tier=valkey,e:1,wait=some", "wait is log or all"),
        ("tier=valkey,/s,tls", "unix socket has neither"),
        ("tier=valkey,e:1,cert=/c", "cert and key go together"),
        ("tier=valkey,e:1,prefix=a b", "letters and digits"),
        ("other=valkey,e:1", "has the name tier"),
    ],
)
def test_what_it_refuses(text: str, why: str) -> None:
    with pytest.raises(TierConfigError, match=why.replace("[", r"\[")):
        parse(text)


def test_there_is_one_tier_only() -> None:
    with pytest.raises(TierConfigError, match="one tier only"):
        take_tier(["tier=valkey,a:1", "tier=redis,b:1"])


def test_without_the_client_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TierConfigError, match=r"pip install 'varnishpy\[tier\]'"):
        parse("tier=valkey,e:1").check()


def test_files_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with pytest.raises(TierConfigError, match="cannot read"):
        parse(f"tier=valkey,e:1,password-file={secret}").check()
    secret.write_text("pass word\n")
    spec = parse(f"tier=valkey,e:1,password-file={secret},tls,ca={tmp_path / 'ca'}")
    assert spec.password() == "pass word"
    with pytest.raises(TierConfigError, match="there is no file"):
        spec.check()
