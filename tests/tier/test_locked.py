"""Engines that do not let everybody in: TLS, passwords, users with the least rights that do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme

from tests.conftest import Setting
from tests.tier.cluster_process import running_cluster
from tests.tier.engine_process import EngineProcess, free_port, running_engine
from tests.tier.real_node import RealNode, one_round
from varnishpy import stats
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore
from varnishpy.tier.errors import TierError
from varnishpy.tier.store import Facts

PAGE = Path(__file__).parents[2] / "docs" / "many-nodes.md"
RIGHTS = re.findall(r"^user cache on >PASSWORD (.*)$", PAGE.read_text(), re.MULTILINE)[0]
Counters = stats.Counters[stats.TierName]


@dataclass(frozen=True)
class Papers:
    """Files: whom to trust, a certificate for 127.0.0.1, one for somebody else, one for a client."""

    ca: str
    here: str
    elsewhere: str
    client: str

    def server(self, identity: str) -> list[str]:
        return ["--tls-cert-file", identity, "--tls-key-file", identity, "--tls-ca-cert-file", self.ca]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    place = tmp_path_factory.mktemp("papers")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(place / "ca.pem")
    names = {"here": "127.0.0.1", "elsewhere": "other.example", "client": "node.example"}
    for file, name in names.items():
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(place / file)
    return Papers(str(place / "ca.pem"), *(str(place / file) for file in names))


def tls_engine(place: Path, papers: Papers, identity: str, clients: str = "no") -> tuple[EngineProcess, int]:
    port = free_port()
    words = ["--tls-port", str(port), *papers.server(identity), "--tls-auth-clients", clients]
    return EngineProcess(place / "e", *words), port


@pytest.fixture(autouse=True)
def patience(setting: Setting) -> None:
    setting("tier_timeout", "2")


def facts(spec: TierSpec, counters: Counters, password: str | None = None) -> Facts:
    store = EngineStore(spec, counters, password)
    try:
        return store.facts()
    finally:
        store.close()


def test_tls_with_a_certificate_for_the_address(short_tmp: Path, papers: Papers, counters: Counters) -> None:
    engine, port = tls_engine(short_tmp, papers, papers.here)
    engine.start()
    try:
        spec = TierSpec("valkey", "127.0.0.1", port, tls=True, ca=papers.ca)
        assert facts(spec, counters) == Facts()
        with pytest.raises(TierError, match="certificate verify failed"):
            facts(replace(spec, ca=""), counters)
        with pytest.raises(TierError):
            facts(replace(spec, tls=False), counters)
    finally:
        engine.stop()


def test_a_certificate_for_another_name_is_refused(short_tmp: Path, papers: Papers, counters: Counters) -> None:
    engine, port = tls_engine(short_tmp, papers, papers.elsewhere)
    engine.start()
    try:
        with pytest.raises(TierError, match=r"not valid for '127\.0\.0\.1'"):
            facts(TierSpec("valkey", "127.0.0.1", port, tls=True, ca=papers.ca), counters)
    finally:
        engine.stop()


def test_an_engine_that_wants_a_certificate_of_ours(short_tmp: Path, papers: Papers, counters: Counters) -> None:
    engine, port = tls_engine(short_tmp, papers, papers.here, clients="yes")
    engine.start()
    try:
        spec = TierSpec("valkey", "127.0.0.1", port, tls=True, ca=papers.ca)
        with pytest.raises(TierError):
            facts(spec, counters)
        assert facts(replace(spec, cert=papers.client, key=papers.client), counters) == Facts()
    finally:
        engine.stop()


@pytest.mark.parametrize("identity", ["here", "elsewhere"])
def test_each_server_of_a_tls_cluster_is_held_against_its_name(
    short_tmp: Path, papers: Papers, counters: Counters, identity: str
) -> None:
    """They listen for TLS on the port that the others listen on without."""
    words = [*papers.server(getattr(papers, identity)), "--tls-auth-clients", "no", "--tls-cluster", "yes"]
    with running_cluster(short_tmp / "c", *words, tls=("--tls", "--cacert", papers.ca)) as cluster:
        spec = TierSpec("valkey", "127.0.0.1", cluster.engines[1].port, tls=True, ca=papers.ca, cluster=True)
        if identity == "here":
            assert facts(spec, counters) == Facts()
        else:
            with pytest.raises(TierError, match="not valid for"):
                facts(spec, counters)


@pytest.fixture
def locked(short_tmp: Path) -> Iterator[EngineProcess]:
    """One password for all, and a user who may do no more than docs/many-nodes.md says."""
    rules = short_tmp / "users.acl"
    rules.write_text(f"user default on >s3cret ~* &* +@all\nuser cache on >hush {RIGHTS}\n")
    with running_engine(short_tmp / "locked", "--aclfile", str(rules)) as engine:
        yield engine


def test_it_says_who_it_is(locked: EngineProcess, counters: Counters) -> None:
    spec = TierSpec("valkey", "127.0.0.1", locked.port)
    for user, password in (("", None), ("", "wrong"), ("cache", "s3cret")):
        with pytest.raises(TierError, match=r"Authentication|invalid username"):
            facts(replace(spec, user=user), counters, password)
    assert facts(spec, counters, "s3cret") == Facts()


def test_the_rights_that_the_documentation_names_are_enough(locked: EngineProcess, setting: Setting) -> None:
    spec = TierSpec("valkey", path=str(locked.path), user="cache")
    setting("tier_wait", "1")
    nodes = [RealNode(spec, name, "hush") for name in ("first", "second")]
    one_round(nodes, "/page")
    for node in nodes:
        node.cache.env.bans.ban_words(("obj.status", "==", "200"))
        assert node.followed()
        node.store.forget_node(node.tier.node)
        assert not node.store.bucket(b"limit", 9, 60.0, 0.0, 1).denied
        assert not node.troubles(), locked.command("ACL", "LOG")
        node.close()
