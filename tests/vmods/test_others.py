"""VMODs cookie, blob, purge, vtc, debug, unix, proxy, h2, tls."""

from __future__ import annotations

import math

import pytest

from tests.vcl.vcl_bench import Bench
from tests.vmods.vmod_bench import out, run
from varnishpy.base.panic import Panic
from varnishpy.vcl.context import end_task

PARSE = "cookie.parse(req.http.cookie);"


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ("", "a=1; bb=2; c=3"),
        ('cookie.keep("a,c");', "a=1; c=3"),
        ('cookie.filter("a, c");', "bb=2"),
        ('cookie.keep_re("^b");', "bb=2"),
        ('cookie.filter_re("^b");', "a=1; c=3"),
        ('cookie.delete("a");', "bb=2; c=3"),
        ('cookie.set("d", "4"); cookie.set("a", "9");', "a=9; bb=2; c=3; d=4"),
        ("cookie.clean();", ""),
    ],
)
def test_cookies(action: str, result: str) -> None:
    assert out("cookie", "cookie.get_string()", PARSE + action, Cookie="a=1; bb=2; empty=; c=3") == result


def test_cookie_lookup() -> None:
    assert (
        out("cookie", 'cookie.get("bb") + cookie.isset("x") + cookie.get_re("^b")', PARSE, Cookie="a=1; bb=2")
        == "2false2"
    )


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('blob.transcode(IDENTITY, BASE64, encoded="foo?")', "Zm9vPw=="),
        ('blob.transcode(BASE64, IDENTITY, encoded="Zm9vPw==")', "foo?"),
        ('blob.transcode(IDENTITY, BASE64URLNOPAD, encoded="~~~?")', "fn5-Pw"),
        ('blob.transcode(IDENTITY, HEX, UPPER, encoded="jk")', "6A6B"),
        ('blob.transcode(HEX, IDENTITY, encoded="96a")', "\tj"),
        ('blob.transcode(IDENTITY, URL, encoded="a b/")', "a%20b%2f"),
        ('blob.transcode(URL, IDENTITY, encoded="a%20b")', "a b"),
        ('blob.encode(HEX, blob=blob.sub(blob.decode(encoded="abcd"), 2B, 1B))', "6263"),
        ('blob.length(blob.decode(HEX, encoded="0102"))', "2"),
        ('blob.equal(:YQ==:, blob.decode(encoded="a"))', "true"),
    ],
)
def test_blobs(expression: str, result: str) -> None:
    assert out("blob", expression) == result


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('blob.transcode(HEX, encoded="g")', 'cannot decode, illegal encoding beginning with "g"'),
        ('blob.transcode(BASE64, encoded="-_-_")', "cannot decode"),
        ('blob.transcode(URL, encoded="%2")', "cannot decode"),
        ("blob.encode(BASE64, UPPER, :YQ==:)", "case UPPER is illegal with encoding BASE64"),
        ("blob.encode(HEX, blob=blob.sub(:YQ==:, 2B))", "requires more bytes than blob length 1 in blob.sub()"),
    ],
)
def test_blob_failures(expression: str, message: str) -> None:
    bench = run("blob", f"set req.http.out = {expression};")
    assert message in bench.log.texts("VCL_Error")[0]


def test_purge() -> None:
    bench = Bench("import purge; sub vcl_miss { set req.http.n = purge.hard() + purge.soft(10s, 1s); }")
    req = bench.request()
    bench.run("miss", req)
    assert bench.host.calls == [("purge", 0.0, 0.0, 0.0), ("purge", 10.0, 1.0, pytest.approx(math.nan, nan_ok=True))]
    assert req.http.get("n") == "6"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('vtc.typesize("p")', "8"),
        ('vtc.typesize("ci")', "8"),
        ('vtc.typesize("?")', "-1"),
        ("vtc.workspace_overflowed(client)", "false"),
        ("vtc.proxy_header(v1, client.ip, server.ip)", ":UFJPWFkgVENQNCAxOTIuMC4yLjcgMTI3LjAuMC4xIDQ3MTEgODANCg==:"),
    ],
)
def test_vtc(expression: str, result: str) -> None:
    assert out("vtc", expression) == result


def test_vtc_workspaces() -> None:
    body = "vtc.workspace_snapshot(client); vtc.workspace_alloc(client, -100);"
    body += " set req.http.free = vtc.workspace_free(client);"
    bench = run("vtc", body + " vtc.workspace_reset(client); vtc.workspace_alloc(client, 1000000);")
    assert 0 < int(bench.last.http.get("free")) <= 104  # type: ignore[attr-defined]
    assert bench.log.texts("VCL_Error") == ["vtc.workspace_alloc"]


def test_null_values() -> None:
    assert out("vtc", 'vtc.no_backend() + "x"') == "x"
    assert run("vtc", "set req.http.x = vtc.no_ip();").log.texts("VCL_Error") == ["VRT_IP_string: Illegal IP"]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("debug.author(des)", "Dag-Erling"),
        ('debug.argtest("1", 2.1, "3a")', "1 2.1 3a , 4 0 <undef>"),
        ('debug.argtest(two=2.2, one="x", string="s")', "x 2.2 3 , 4 1 s"),
        ('debug.concatenate("a" + req.http.none + "b")', "ab"),
        ("debug.return_null_strands()", ""),
        ('regsub("a.b", debug.just_return_regex("a."), "x")', "xb"),
        ("debug.client_ip()", "192.0.2.7"),
        ('debug.resolve_range("127.0.0.1:80-82")', "127.0.0.1:80, 127.0.0.1:81, 127.0.0.1:82"),
        ('debug.resolve_range("127.0.0.1", "8080")', "127.0.0.1:8080"),
        ('debug.resolve_range("127.0.0.1:80-82", fail_port="81")', "127.0.0.1:80, bad port"),
        ('debug.resolve_range("127.0.0.1:82-80")', "Failed: Range start higher than range end"),
        ('debug.re_quote({"a\\Eb"})', "\\Qa\\\\EE\\Qb\\E"),
    ],
)
def test_debug(expression: str, result: str) -> None:
    assert out("debug", expression) == result


def test_sweep_shows_and_digests_what_an_acl_says() -> None:
    bench = Bench(
        'import debug; import std; import blob; acl l { "192.168.8.0"/22; }\n'
        "sub vcl_recv { set req.http.digest = blob.encode(HEX, blob="
        ' debug.sweep_acl(l, std.ip("192.168.0.0"), std.ip("192.168.32.255"), 256)); }'
    )
    req = bench.recv()
    # as the VMOD of the reference has it
    assert bench.log.texts("Debug") == ["Sweep: 192.168.0.0    --------XXXX---------------------"]
    assert req.http.get("digest") == "7891ee1c8ceb88f0afbd9487316b07284e0fb7b96aecb1ad8f81741ff5a227db"


def test_optional_arguments_of_objects() -> None:
    bench = Bench(
        'import debug; sub vcl_init { new o = debug.obj_opt(s="x"); }\n'
        "sub vcl_recv { set req.http.out = o.meth_opt(b=true); }"
    )
    assert bench.recv().http.get("out") == "obj o obj_s x obj_b *undef* met_s *undef* met_b true"


def test_the_end_of_private_data_is_logged() -> None:
    bench = Bench(
        "import debug; sub vcl_init { new o = debug.obj(); }\n"
        'sub vcl_recv { debug.test_priv_task("a"); o.test_priv_task("b"); debug.test_priv_top("c"); }'
    )
    end_task(bench.recv())
    ends = [text.partition("(")[0] for text in bench.log.texts("Debug") if "_fini" in text]
    assert ends == ["priv_task_fini", "obj_priv_task_fini", "priv_top_fini"]


def test_a_vmod_of_two_names_is_one() -> None:
    bench = Bench(
        "import debug; import debug as also; sub vcl_init { debug.register_obj_events(); also.vsc_new(); }\n"
        'sub vcl_recv { debug.test_priv_task("a"); set req.http.out = also.test_priv_task("b"); }'
    )
    assert bench.recv().http.get("out") == "a b"
    assert bench.host.calls == ["subscribe"]


def test_no_backend_is_made_for_a_cold_vcl() -> None:
    bench = Bench("import debug; sub vcl_init { debug.cold_backend(); }")
    bench.vcl.warm()
    with pytest.raises(Panic, match="Dynamic Backends can only be added to warm VCLs"):
        bench.vcl.cool()


def test_no_backend_is_made_for_a_cooling_vcl() -> None:
    bench = Bench("import debug; sub vcl_init { debug.cooling_backend(); }")
    bench.vcl.warm()
    assert [director.vcl_name for director in bench.vcl.directors()] == ["b", "dir_warmcold"]
    bench.vcl.cool()
    assert bench.vcl.temperature == "cold"
    assert [director.vcl_name for director in bench.vcl.directors()] == ["b"]


def test_a_sub_of_another_vcl_is_a_panic() -> None:
    other = Bench("import debug; sub foo { set req.http.x = 1; } sub vcl_init { debug.bad_memory(foo); }")
    bench = Bench("import debug; sub vcl_recv { call debug.total_recall(); }")
    bench.vcl.name = "another"
    with pytest.raises(Panic, match="Assert error in VPI_Call_Check"):
        bench.recv()
    assert other.vcl.name != bench.vcl.name


def test_private_data_lives_as_long_as_its_task() -> None:
    bench = Bench(
        'import debug; sub vcl_recv { set req.http.t = debug.test_priv_task("a") + "," + debug.test_priv_task("b"); }'
    )
    req = bench.recv()
    assert req.http.get("t") == "a,a b"
    end_task(req)
    bench.run("recv", req)
    assert req.http.get("t") == "a,a b"
    bench.run("recv", req)
    assert req.http.get("t") == "a b a,a b a b"


def test_subs_as_values() -> None:
    bench = Bench(
        "import debug; sub inner { if (req.http.X) { return (pass); } set req.http.seen = 1; }\n"
        "sub again { debug.call(again); }\n"
        "sub vcl_init { new c = debug.caller(inner); }\n"
        "sub vcl_recv { c.call(); call c.xsub(); set req.http.check = debug.check_call(inner);"
        ' if (req.url == "/loop") { debug.call(again); } }'
    )
    req = bench.recv()
    assert (bench.action, req.http.get("seen"), req.http.get("check")) == ("hash", "1", "")
    assert bench.returns(X="1") == "pass"
    assert bench.returns("/loop") == "fail"
    assert bench.log.texts("VCL_Error")[-1] == 'Recursive call to "sub again{}"'


def test_what_http1_clients_without_proxy_see() -> None:
    assert (
        out("proxy h2 tls unix", "proxy.is_ssl() + h2.is() + tls.is_tls() + unix.uid() + proxy.alpn()")
        == "falsefalsefalse-1"
    )
