"""What a new user types first, and what is said when it is mistyped."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import running
from tests.waiting import wait_for
from varnishpy import __version__
from varnishpy.__main__ import SUBCOMMANDS, main
from varnishpy.base.endpoint import parse_listen

Text = pytest.CaptureFixture[str]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "varnishpy", *arguments],
        capture_output=True, text=True, timeout=60, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_help_names_every_subcommand_and_fits_a_screen(capsys: Text) -> None:
    for words in (["--help"], ["help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        for name, subcommand in SUBCOMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(subcommand.text)}$", text, re.MULTILINE)
        assert text.index("Subcommands") < text.index("Examples")
        assert len(text.splitlines()) < 35


def test_version(capsys: Text) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"varnishpy {__version__}\n"


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help(name: str, capsys: Text) -> None:
    shown = []
    for words in ([name, "--help"], ["help", name]):
        try:
            status = main(words)
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            status = ended.code
        assert status == 0
        shown.append(capsys.readouterr().out)
    assert f"varnishpy {name}" in shown[0] and shown[0] == shown[1]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_tool_takes_long_options_and_knows_near_ones(name: str, capsys: Text) -> None:
    try:
        assert main([name, "--version"]) == 0
    except SystemExit as ended:
        assert ended.code == 0
    assert capsys.readouterr().out.startswith(f"varnishpy {name} (varnishpy-{__version__})\n")
    assert main([name, "--hepl"]) in (1, 2)
    assert "Did you mean --help?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["strt"], "Did you mean stat?"),
        (["scorebord"], "Did you mean scoreboard?"),
        (["-b", "none", "-p", "thread_pool_mim=3"], "Did you mean thread_pool_min?"),
        (["-b", "none", "-p", "feature=+htp2"], "Did you mean http2?"),
        (["-b", "none", "-r", "default_tll"], "Did you mean default_ttl?"),
        (["log", "-i", "ReqULR"], "Did you mean ReqURL?"),
        (["log", "-q", "RespStaus >= 500"], "Did you mean RespStatus?"),
    ],
)
def test_near_names(words: list[str], near: str, short_tmp: Path) -> None:
    where = ["-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-F"] if words[0] == "-b" else []
    done = run(*words, *where)
    assert done.returncode in (1, 2)
    assert near in done.stderr


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://127.0.0.1:8080/", "try -b 127.0.0.1:8080\n"),
        ("http://127.0.0.1:8080/app", "which sets bereq.url\n"),
        ("https://127.0.0.1:8443", ".ssl = 1"),
    ],
)
def test_a_url_is_no_address(url: str, advice: str, tmp_path: Path) -> None:
    done = run("-F", "-b", url, "-a", "127.0.0.1:0", "-n", str(tmp_path / "v"))
    assert done.returncode == 2
    assert "takes an address, not a URL" in done.stderr and advice in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["-b", "none", "-S", "/nonexistent"],
        ["-b", "none", "-I", "/nonexistent"],
        ["-b", "none", "-E", "/nonexistent.py"],
        ["-b", "none", "-a", "127.0.0.1:0,https,cert=/nonexistent"],
        ["-b", "none", "-s", "file,/nonexistent/x,1m"],
        ["-f", "/nonexistent"],
    ],
)
def test_usage_is_only_spoken_of_after_mistakes_of_usage(arguments: list[str], short_tmp: Path) -> None:
    done = run("-F", "-a", "127.0.0.1:0", "-n", str(short_tmp / "v"), *arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr and "gives usage" not in done.stderr


def test_https_without_a_certificate_is_refused(short_tmp: Path) -> None:
    done = run("-F", "-b", "none", "-a", "127.0.0.1:0,https", "-n", str(short_tmp / "v"))
    assert done.returncode == 2
    assert "has no certificate" in done.stderr and "launched" not in done.stderr
    assert not (short_tmp / "v").exists()


def test_statistics_for_other_machines_need_a_token(short_tmp: Path) -> None:
    words = ["-F", "-b", "none", "-a", "127.0.0.1:0", "-n", str(short_tmp / "v"), "-p", "stats_listen=0.0.0.0:0"]
    done = run(*words)
    assert done.returncode == 2
    assert "stats_listen 0.0.0.0:0: this is no loopback address, so stats_token_file must name a file" in done.stderr
    done = run(*words, "-p", f"stats_token_file={short_tmp}/none")
    assert done.returncode == 2 and f"stats_token_file {short_tmp}/none: No such file or directory" in done.stderr


def test_a_vcl_init_that_fails_is_told_once(short_tmp: Path) -> None:
    vcl = short_tmp / "init.vcl"
    vcl.write_text('vcl 4.1;\nbackend default none;\nsub vcl_init { return (fail("no luck")); }\n')
    done = run("-F", "-f", str(vcl), "-a", "127.0.0.1:0", "-n", str(short_tmp / "v"))
    assert done.returncode == 2
    assert done.stderr.count("no luck") == 1
    assert "died" not in done.stderr


def test_a_relative_directory_and_where_it_listens(short_tmp: Path) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "varnishpy", "-F", "-b", "none", "-a", "main=127.0.0.1:0", "-n", "./work"],
        cwd=short_tmp, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert daemon.stderr is not None
        line = next(line for line in daemon.stderr if "Listening" in line)
        assert re.fullmatch(r"Info: Listening on http://127\.0\.0\.1:\d+/ \(main\)\n", line)
        assert (short_tmp / "work" / "_.pid").exists()
        done = run("adm", "-n", "./work", "ping", cwd=short_tmp)
        assert done.returncode == 0 and "PONG" in done.stdout
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_users_instance(short_tmp: Path) -> None:
    other = pwd.getpwnam("nobody")
    theirs = short_tmp / "v"
    theirs.mkdir(mode=0o700)
    short_tmp.chmod(0o755)
    program = (
        "import os, sys; from varnishpy.shm.reader import SetReader, VsmError; from pathlib import Path\n"
        f"os.setgid({other.pw_gid}); os.setuid({other.pw_uid})\n"
        "try: SetReader(Path(sys.argv[1])).attach(None)\n"  # for ever, if it waited
        "except VsmError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(theirs)], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"Could not get hold of {theirs}: permission denied, it belongs to root\n", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_scoreboard_of_another_users_instance(short_tmp: Path) -> None:
    other = pwd.getpwnam("nobody")
    short_tmp.chmod(0o755)
    path = short_tmp / "stats.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        path.chmod(0o600)
        program = (
            "import encodings.idna, os, sys; from varnishpy.tools.scoreboard import main\n"
            f"os.setgid({other.pw_gid}); os.setuid({other.pw_uid})\n"
            "sys.exit(main(['-1', '-s', sys.argv[1]]))\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"Could not get hold of {path}: permission denied, it belongs to root" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_port_for_root(short_tmp: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 80:
        pytest.skip("every port is for everybody here")
    other = pwd.getpwnam("nobody")
    program = (
        "import encodings.idna, os; from varnishpy.base.endpoint import EndpointError, open_listen, parse_listen\n"
        f"os.setgid({other.pw_gid}); os.setuid({other.pw_uid})\n"
        "try: open_listen(parse_listen('127.0.0.1:79', 'a0'), 10)\n"
        "except EndpointError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "Could not get socket 127.0.0.1:79: Permission denied (in -a)\n"
        "(ports below 1024 are for root: try -a 127.0.0.1:6081)\n"
    ), done.stderr


def test_a_demo_ends_when_nobody_reads_it(short_tmp: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "varnishpy", "demo", "-a", "127.0.0.1:0", "-n", str(short_tmp / "v")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert demo.stdout is not None and demo.stderr is not None
    assert "varnishpy is serving" in demo.stdout.readline()
    demo.stdout.close()
    wait_for(lambda: demo.poll() is not None, "the demo's end")
    assert demo.returncode == 0
    assert "Traceback" not in demo.stderr.read()
    demo.stderr.close()


def test_the_addresses_in_the_docs_are_addresses(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "listening.md").read_text()
    pem = tmp_path / "site.pem"
    pem.touch()
    found = re.findall(r"^-a (\S+)$", page, re.MULTILINE)
    assert len(found) > 5
    for text in found:
        parse_listen(text.replace("/etc/varnishpy/site.pem", str(pem)), "a0")


def test_check(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.vcl", tmp_path / "bad.vcl"
    good.write_text("vcl 4.1;\nbackend default none;\n")
    bad.write_text("vcl 4.1;\nbackend default none;\nsub vcl_recv { set req.nosuch = 1; }\n")
    done = run("check", "good.vcl", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good.vcl: good\n", "")
    done = run("check", "bad.vcl", "good.vcl", "absent.vcl", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "good.vcl: good\n"
    assert "Line 3" in done.stderr and "absent.vcl" in done.stderr
    assert run("check").returncode == 2


def test_reload_on_change(short_tmp: Path) -> None:
    """Of the file, of what it includes, of a VMOD; a file that is replaced has changed; mistakes change nothing."""
    vcl, part, vmod = short_tmp / "my.vcl", short_tmp / "part.vcl", short_tmp / "number.py"
    module = "from varnishpy.vmods.api import INT, Ctx\n\n\ndef it(ctx: Ctx) -> INT:\n    return {}\n"

    def replace(path: Path, text: str) -> None:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)

    vcl.write_text('vcl 4.1;\nimport number;\nbackend default none;\ninclude "./part.vcl";\n')
    part.write_text("sub vcl_recv { return (synth(700 + number.it())); }\n")
    vmod.write_text(module.format(1))
    with running(short_tmp / "v", "-f", str(vcl), "-p", f"vmod_path={short_tmp}") as cache:
        command = [sys.executable, "-u", "-m", "varnishpy", "reload", "-n", str(cache.workdir), "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as watcher:
            assert watcher.stdout is not None

            def until_watching() -> str:
                said = ""
                assert watcher.stdout is not None
                while "watching" not in said:
                    line = watcher.stdout.readline()
                    assert line, said
                    said += line
                return said

            assert "watching 3 files" in until_watching()
            assert cache.get("/").status == 701
            replace(vmod, module.format(22))
            until_watching()
            assert cache.get("/").status == 722
            replace(part, "sub vcl_recv { return (synth(801)); }\n")
            until_watching()
            assert cache.get("/").status == 801
            vcl.write_text("wrong")
            assert "VCL compilation failed" in until_watching()
            assert cache.get("/").status == 801
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(20) == 0
            assert "Traceback" not in watcher.stdout.read()


def test_reload(short_tmp: Path) -> None:
    vcl = short_tmp / "my.vcl"

    def program(text: str) -> None:
        vcl.write_text("vcl 4.1;\nbackend default none;\n" + f"sub vcl_recv {{ return (synth({text})); }}\n")

    program("701")
    with running(short_tmp / "v", "-f", str(vcl)) as cache:
        for text in ("702", "703"):
            program(text)
            done = run("reload", "-n", str(cache.workdir))
            assert done.returncode == 0 and f"{vcl} is in use" in done.stdout, done.stderr
            assert cache.get("/").status == int(text)
        rows = cache.cli("vcl.list").splitlines()
        assert sum("active" in row for row in rows) == 1
        assert not any("boot" in row and "discarded" not in row for row in rows)
        program("wrong")
        done = run("reload", "-n", str(cache.workdir))
        assert done.returncode == 1 and "VCL compilation failed" in done.stderr
        assert cache.get("/").status == 703
