"""``--check`` finds mistakes with their places; ``--explain`` says what a script does."""

import pytest

from varnishpy.vtc.check import check
from varnishpy.vtc.context import Settings
from varnishpy.vtc.explain import explain
from varnishpy.vtc.text import Source, Text

GOOD = """varnishtest "all kinds of things"

server s1 -repeat 2 {
	rxreq
	expect req.url == "/"
	loop 3 { chunked "x" }
	stream 1 {
		txresp -hdr foo bar -body x
	} -run
} -start
barrier b1 cond 2 -cyclic
varnish v1 -arg "-p x=y" -vcl+backend {} -start
varnish v1 -cliexpect ! foo "param.show" -expect !MAIN.foo
varnish v1 -expect MAIN.cache_hit >= 1
logexpect l1 -v v1 -g request -q "ReqURL ~ x" {
	expect * = ReqURL ^/
	fail add * Error
	fail clear
} -start
client c1 -connect ${s1_sock} {
	txreq -url "${v1_addr}/${date}${string,repeat,3,x}"
	rxresp
	shell -err {exit 1}
} -run
process p1 "cat" -start -expect-text 0 0 x -stop
shell "echo ${p1_pid} ${tmpdir} ${v1_a0_port}"
"""


def test_nothing_is_wrong_with_a_good_script() -> None:
    assert check(Source("g.vtc", GOOD), Settings()) == []


@pytest.mark.parametrize(
    ("script", "line", "column", "word"),
    [
        ("flurb x", 2, 1, "Unknown command"),
        ("server s1 {\n  rxreq\n  txfoo\n}", 4, 3, "Unknown command"),
        ("server s1 {\n txresp -statsu 200\n}", 3, 9, "Unknown txresp argument"),
        ("client c1 {\n txreq -url\n}", 3, 8, "expected URL"),
        ("client x1 { } -run", 2, 8, "must start with 'c'"),
        ("client c1 { txreq -hdr a -url / }", 2, 26, "must come before"),
        ("client c1 { expect a = b }", 2, 22, "unknown operator"),
        ("client c1 { expect a ~ ( }", 2, 24, "regular expression"),
        ("client c1 { expect a == }", 2, 13, "expected FIELD"),
        ("client c1 -connect ${s7_sock} { }", 2, 20, "s7_sock"),
        ("shell {echo ${x}}", 2, 13, "${x}"),
        ("feature warp_drive", 2, 9, "unknown feature"),
        ("varnish v1 -expect foo ==", 2, 12, "expected"),
        ("loop x { shell true }", 2, 6, "expected a number"),
        ('shell "oops', 2, 7, "unterminated"),
        ("server s1 {", 2, 11, "unbalanced"),
        ("client c1 { stream 1 { txdata -nostrand } -run }", 2, 31, "Unknown txdata"),
        ("delay soon", 2, 7, "expected a number"),
        ("client c1 { timeout 1e3 }", 2, 21, "expected a number"),
        ("client c1 { sendhex 0g }", 2, 21, "hexadecimal"),
        ("client c1 { txreq -bodylen 0 }", 2, 28, "length above 0"),
        ("client c1 { stream x { } }", 2, 20, "31 bits"),
        ("client c1 { stream 1 { txsettings -push maybe } }", 2, 41, "one of: true false"),
        ("client c1 { stream 1 { txreq -litHdr inc hof a huf b } }", 2, 42, "one of: huf plain"),
        ("client c1 { stream 1 { txprio -weight 256 } }", 2, 39, "8 bits"),
        ("client c1 { stream 1 { txrst -err WRONG } }", 2, 35, "an error's name"),
        ("client c1 { stream 1 { rxdata -some 0 } }", 2, 37, "above 0"),
        ("client c1 { stream 1 { txdata -padlen 256 } }", 2, 39, "1 to 255"),
        ("client c1 { stream 1 { txping -data 1234567 } }", 2, 37, "8 characters"),
        ("client c1 -proxy2 1.2.3.4:1", 2, 19, "SERVERIP:PORT"),
        ('client c1 -proxy2 "1.2.3.4:1 1.2.3.4:1 foo=x"', 2, 20, "tlv type foo"),
        ("server s1 -dispatch", 2, 11, "only works on s0"),
        ("barrier b1", 2, 9, "expected cond, sock"),
        ("process p1 -key F1", 2, 17, "one of: NPAGE"),
        ("process p1 -winsz 1 80", 2, 19, "above 1"),
        ("syslog S1 -level loud", 2, 18, "one of: emerg"),
        ("syslog S1 { expect == x }", 2, 20, "one of: ~ !~"),
        ("shell -expect a -match b true", 2, 17, "Cannot use -expect with -match"),
        ("shell -match ( true", 2, 14, "regular expression"),
        ("varnish v1 -expect a =< 1", 2, 22, "one of: == !="),
        ("varnish v1 -cliexpect ( ping", 2, 23, "regular expression"),
        ("varnish v1 -syntax four", 2, 20, "a number"),
        ("logexpect l1 -v v1 -g all", 2, 23, "one of: raw vxid"),
        ("logexpect l1 -v v1 -q ReqURL(", 2, 23, "query"),
        ("logexpect l1 -v v1 { expect x * ReqURL }", 2, 29, "a number, * or ?"),
        ("logexpect l1 -v v1 { expect * y ReqURL }", 2, 31, "a number, * or ="),
        ("logexpect l1 -v v1 { expect * * ReqUrls }", 2, 33, "log tag"),
        ("logexpect l1 -v v1 { fail sometimes }", 2, 27, "one of: add clear"),
        ("logexpect l1 -v v1 { fail add * }", 2, 27, "expected VXID TAG"),
        ("feature cmd", 2, 9, "argument is missing"),
        ("shell ${string,repeat,x,y}", 2, 7, "invalid number"),
        ("shell ${localhost,x}", 2, 7, "does not take arguments"),
    ],
)
def test_mistakes_have_their_place(script: str, line: int, column: int, word: str) -> None:
    found = check(Source("x.vtc", f'vtest "x"\n{script}\n'), Settings())
    assert len(found) == 1, found
    assert word in found[0].text
    assert (found[0].position.line, found[0].position.column) == (line, column)


def test_all_mistakes_are_found() -> None:
    found = check(Source("x.vtc", "a\nserver s1 { b }\nclient c1 { c\n d }\n"), Settings())
    assert [finding.position.line for finding in found] == [1, 2, 3, 4]


def test_macros_may_bring_quotes() -> None:
    assert check(Source("x", 'client c1 {\n send "a ${string,repeat,3," "}"\n}'), Settings()) == []


def test_warnings() -> None:
    script = "client c1 {\n expect resp.stauts == 200\n stream 1 {\n  expect resp.stauts == x\n } -run\n}"
    found = check(Source("x", script), Settings())
    assert [(one.position.line, one.warning) for one in found] == [(2, True), (4, True)]


def test_macros_from_outside_and_leave_to_use_any() -> None:
    assert check(Source("x", "shell ${mine}"), Settings(macros={"mine": "1"})) == []
    assert check(Source("x", "feature ignore_unknown_macro\nshell ${any}"), Settings()) == []
    assert check(Source("x", "include more\nshell ${s1_sock}"), Settings()) == []


def test_explanations() -> None:
    rows = explain(Text.whole(Source("g.vtc", GOOD)), "top")
    text = "\n".join(rows)
    for phrase in (
        "server s1, 2 times, start it",
        "receive a request",
        "3 times:",
        "HTTP/2 stream 1",
        "with header foo: bar",
        "expect MAIN.cache_hit >= 1",
        "wait for",
    ):
        assert phrase in text, phrase
    assert rows[0].startswith("   1  this tests")
