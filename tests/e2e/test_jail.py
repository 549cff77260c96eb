"""The cache process gives root up: what it can do then, and that it does so without being asked."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import trustme

from tests.e2e.harness import Cache, Origin, running
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_tmp(short_tmp: Path) -> Path:
    """A directory that everybody may look into."""
    short_tmp.chmod(0o755)
    return short_tmp


def owner(cache: Cache) -> str:
    """Whose the cache process is."""
    return pwd.getpwuid(Path(f"/proc/{cache.child_pid}").stat().st_uid).pw_name


def test_jail(open_tmp: Path, origin: Origin) -> None:
    origin.pages["/"] = lambda exchange: exchange.answer(b"jailed")
    with running(open_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-j", "unix,user=nobody") as cache:
        assert cache.get("/").body == b"jailed"
        assert Path(f"/proc/{cache.child_pid}").stat().st_uid != 0
        assert "-junix" in cache.cli("banner")
        # what is only needed now must not be looked for in a library that the new user perhaps cannot read
        backend = f'backend site {{ .host = "localhost"; .port = "{origin.port}"; }}'
        cache.cli("vcl.inline", "later", f"vcl 4.1; import blob; import cookie; import directors; {backend}")
        cache.cli("vcl.use", "later")
        cache.cli("ban", "req.url", "~", "x")
        assert cache.get("/").body == b"jailed"
        # and what the system tells of a process is still told to itself
        assert json.loads(cache.stats_page("/process"))["descriptors"] > 0


def names_served(port: int, authority: trustme.CA) -> list[str]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    plain = socket.create_connection(("127.0.0.1", port), 20)
    with plain, context.wrap_socket(plain, server_hostname="x.example") as sock:
        certificate = sock.getpeercert()
        assert certificate
        return [str(entry[1]) for entry in certificate["subjectAltName"]]


def test_keys_of_root(open_tmp: Path, origin: Origin) -> None:
    authority = trustme.CA()
    keys = open_tmp / "keys"
    keys.mkdir(mode=0o700)

    def write(name: str) -> Path:
        path = keys / "site.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        path.chmod(0o600)
        return path

    arguments = ["-a", f"web=127.0.0.1:0,HTTPS,cert={write('a.example')}", "-b", f"127.0.0.1:{origin.port}"]
    with running(open_tmp / "v", *arguments, "-j", "unix,user=nobody") as cache:
        assert owner(cache) == "nobody"
        assert names_served(cache.port, authority) == ["a.example"]
        write("b.example")
        cache.cli("tls.cert.reload")
        assert names_served(cache.port, authority) == ["b.example"]
        shutil.copy(write("c.example"), keys / "other.pem")
        (keys / "other.pem").chmod(0o600)
        cache.cli("tls.cert.load", "other", str(keys / "other.pem"), "-d", "-f", "web")
        cache.cli("tls.cert.commit")
        assert names_served(cache.port, authority) == ["c.example"]
        cache.cli("stop")
        cache.cli("start")
        assert names_served(cache.port, authority) == ["c.example"], "of the CLI, to a new child"
        (keys / "site.pem").unlink()
        status, text = cache.cli_result("tls.cert.reload")
        assert status != 200 and ("No such file" in text or "Permission denied" in text)
        assert names_served(cache.port, authority) == ["c.example"], "all or none"
        shown = subprocess.run(
            [sys.executable, "-m", "varnishpy", "log", "-n", str(cache.workdir), "-d", "-g", "raw"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert " CLI " in shown and "tls.file" not in shown


def open_python() -> str | None:
    """An interpreter of our version that everybody may run: this one, or the system's."""
    version = "import sys; print(sys.version_info[:2])"
    user = pwd.getpwnam("nobody")
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-I", "-c", version], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
                capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
        except OSError:
            continue
        if done.stdout.strip() == str(sys.version_info[:2]):
            return python
    return None


def test_root_is_given_up_unless_told_otherwise(open_tmp: Path, origin: Origin) -> None:
    python = open_python()
    if python is None:
        pytest.skip("no Python of this version that everybody may run")
    origin.pages["/"] = lambda exchange: exchange.answer(b"by nobody")
    # copies that everybody may read: the checkout and its environment perhaps are not for everybody
    library = open_tmp / "library"
    root = Path(__file__).parent.parent.parent / "varnishpy"
    shutil.copytree(root, library / "varnishpy", ignore=shutil.ignore_patterns("*.so", "__pycache__", ".compiled*"))
    installed = Path(sysconfig.get_path("platlib"))
    for pattern in ("hpack", "h2", "hyperframe", "psutil", "*pcre2*", "cffi", "_cffi_backend*"):
        for found in installed.glob(pattern):
            copy = shutil.copytree if found.is_dir() else shutil.copy
            copy(found, library / found.name)
    for path in library.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    environment = {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
    bodies = open_tmp / "bodies.bin"
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-s", f"file,{bodies},10m"]
    with running(open_tmp / "v", *arguments, status=0x40, environment=environment, python=python) as cache:
        assert owner(cache) in ("vcache", "varnish", "nobody")
        assert "-junix" in cache.cli("banner")
        assert not cache.said("Security:")
        assert cache.get("/").body == b"by nobody"
        os.kill(cache.child_pid, 9)
        wait_for(lambda: cache.said("died signal=9"), "the child's end")
        wait_for(lambda: cache.cli("status") == "Child in state running", "another child")
        assert owner(cache) != "root"
        assert cache.get("/").body == b"by nobody"


def test_root_stays_where_it_must_and_says_why(short_tmp: Path, origin: Origin) -> None:
    short_tmp.chmod(0o700)
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}") as cache:
        assert owner(cache) == "root"
        (remark,) = [line for line in cache.output if line.startswith("Security:")]
        assert "runs as root: " in remark and " cannot read " in remark and "is closed to it" in remark
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-j", "none") as cache:
        assert owner(cache) == "root"
        assert not cache.said("Security:")
