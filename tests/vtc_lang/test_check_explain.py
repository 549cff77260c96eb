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
	txreq -url ${v1_addr}/${date}${string,repeat,3,x}
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


def test_macros_from_outside_and_leave_to_use_any() -> None:
    assert check(Source("x", "shell ${mine}"), Settings(macros={"mine": "1"})) == []
    assert check(Source("x", "feature ignore_unknown_macro\nshell ${any}"), Settings()) == []


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
