"""Grouping, the query language, selection and print."""

import io
from collections.abc import Iterator

import pytest

from varnishpy.log.cursor import FILE_IDS, Chunk, FileCursor, LogError
from varnishpy.log.grouping import Grouper, Transaction
from varnishpy.log.printing import print_group
from varnishpy.log.query import QueryError, nth_field, parse_query, parse_user_query
from varnishpy.log.record import Record, encode
from varnishpy.log.selection import Selection, SelectionError, TagPatternError, match_tags
from varnishpy.log.tags import Tag


def rec(vxid: int, tag: Tag, text: str, side: str = "c") -> Record:
    return Record(int(tag), vxid, side == "c", side == "b", text.encode("latin-1") + b"\0")


def batch(vxid: int, *items: tuple[Tag, str], side: str = "c") -> Chunk:
    return Chunk([rec(vxid, tag, text, side) for tag, text in items], True)


def session() -> list[Chunk]:
    """A session with a miss that has a fetch and an ESI include, and a restarted request, in the order of the log."""
    return [
        batch(2, (Tag.Begin, "bereq 1001 fetch"), (Tag.BerespStatus, "503"), (Tag.End, ""), side="b"),
        batch(1003, (Tag.Begin, "req 1001 esi 1"), (Tag.ReqURL, "/esi"), (Tag.End, "")),
        batch(1001, (Tag.Begin, "req 1000 rxreq"), (Tag.ReqURL, "/top"), (Tag.Link, "bereq 2 fetch"),
              (Tag.Link, "req 1003 esi 1"), (Tag.RespStatus, "200"), (Tag.End, "")),
        batch(1004, (Tag.Begin, "req 1000 rxreq"), (Tag.ReqURL, "/again"), (Tag.Link, "req 1005 restart"),
              (Tag.End, "")),
        batch(1005, (Tag.Begin, "req 1004 restart"), (Tag.ReqURL, "/restarted"), (Tag.End, "")),
        batch(1000, (Tag.Begin, "sess 0 HTTP/1"), (Tag.Link, "req 1001 rxreq"), (Tag.Link, "req 1004 rxreq"),
              (Tag.SessClose, "REM_CLOSE 1.0"), (Tag.End, "")),
    ]  # fmt: skip


def groups(mode: str, chunks: list[Chunk]) -> list[list[Transaction]]:
    grouper = Grouper(mode)
    return [group for chunk in chunks for group in grouper.feed(chunk)]


def shape(found: list[list[Transaction]]) -> list[list[tuple[int, int]]]:
    return [[(t.vxid, t.level) for t in group] for group in found]


def test_grouping_by_vxid() -> None:
    assert shape(groups("vxid", session())) == [
        [(2, 1)],
        [(1003, 1)],
        [(1001, 1)],
        [(1004, 1)],
        [(1005, 1)],
        [(1000, 1)],
    ]


def test_grouping_by_request() -> None:
    assert shape(groups("request", session())) == [[(1001, 1), (2, 2), (1003, 2)], [(1004, 1), (1005, 1)]]


def test_grouping_by_session() -> None:
    assert shape(groups("session", session())) == [[(1000, 1), (1001, 2), (1004, 2), (2, 3), (1003, 3), (1005, 2)]]


def test_grouping_raw_has_every_record_alone() -> None:
    found = groups("raw", [*session(), Chunk([rec(0, Tag.CLI, "Rd ping", "-")], False)])
    assert all(len(group) == 1 and group[0].level == 0 and len(group[0].records) == 1 for group in found)
    assert len(found) == sum(len(chunk.records) for chunk in session()) + 1


def test_records_without_id_belong_to_no_group() -> None:
    assert groups("vxid", [Chunk([rec(0, Tag.CLI, "Rd ping", "-")], False)]) == []


def test_an_unfinished_transaction_times_out() -> None:
    now = 0.0
    grouper = Grouper("vxid", timeout=120, clock=lambda: now)
    assert list(grouper.feed(batch(5, (Tag.Begin, "req 4 rxreq")))) == []
    now = 121.0
    (group,) = grouper.feed(batch(6, (Tag.Begin, "req 4 rxreq"), (Tag.ReqURL, "/")))
    assert [(r.name, r.text) for r in group[0].records] == [
        ("Begin", "req 4 rxreq"),
        ("VSL", "timeout"),
        ("End", "synth"),
    ]


def test_too_many_open_transactions_close_the_oldest() -> None:
    grouper = Grouper("vxid", limit=2)
    out = [g for vxid in (1, 2, 3) for g in grouper.feed(batch(vxid, (Tag.Begin, "req 9 rxreq")))]
    assert [(g[0].vxid, g[0].records[1].text) for g in out] == [(1, "store overflow")]
    assert sorted(g[0].vxid for g in grouper.flush()) == [2, 3]  # no more than two are held


def test_flush_closes_what_is_open_and_a_child_without_parent_gets_one() -> None:
    grouper = Grouper("request")
    assert list(grouper.feed(batch(7, (Tag.Begin, "bereq 6 fetch"), (Tag.End, ""), side="b"))) == []
    assert list(grouper.flush()) == []  # the parent is of unknown kind: no request group
    (again,) = grouper.feed(batch(7, (Tag.Begin, "req 0 rxreq"), (Tag.End, "")))
    assert [r.name for r in again[0].records] == ["Begin", "End"]  # it is forgotten, not begun a second time


@pytest.mark.parametrize(
    ("records", "remark"),
    [
        ([(Tag.Begin, "sess 0 HTTP/1"), (Tag.Begin, "sess 0 HTTP/1")], 'duplicate begin (9:Begin "sess 0 HTTP/1")'),
        ([(Tag.Begin, "sess 9 HTTP/1")], 'link to self (9:Begin "sess 9 HTTP/1")'),
        ([(Tag.Begin, "sess 0 HTTP/1"), (Tag.Link, "req 0 rxreq")], 'illegal link vxid (9:Link "req 0 rxreq")'),
        ([(Tag.Begin, "sess 0 HTTP/1"), (Tag.Link, "req 9 rxreq")], 'link to self (9:Link "req 9 rxreq")'),
        ([(Tag.Begin, "sess 0 HTTP/1"), (Tag.Link, "rubbish")], 'parse error (9:Link "rubbish")'),
    ],
)
def test_what_does_not_fit_is_remarked_on(records: list[tuple[Tag, str]], remark: str) -> None:
    (group,) = groups("session", [batch(9, *records, (Tag.End, ""))])
    assert [r.text for r in group[0].records if r.tag == Tag.VSL] == [remark]


GROUP = [
    Transaction(1, 1001, 0, "req", "rxreq", [
        rec(1001, Tag.ReqURL, "/foo"), rec(1001, Tag.ReqHeader, "Host: example.com"), rec(1001, Tag.RespStatus, "304"),
        rec(1001, Tag.Timestamp, "Process: 1700000000.5 0.9 0.1"), rec(1001, Tag.VCL_Log, 'say "two words" end'),
        rec(1001, Tag.Hit, "5 1e1 -2.5"),
    ]),
    Transaction(2, 2, 1001, "bereq", "fetch", [rec(2, Tag.BerespStatus, "503", "b"), rec(2, Tag.FetchError, "", "b")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ('ReqURL eq "/foo"', True),
        ("ReqURL eq /foo", None),
        ("ReqURL eq '/fo'", False),
        ("ReqURL ne '/fo'", True),
        ("ReqURL ~ '^/f'", True),
        ("ReqURL !~ '^/f'", False),
        ("ReqHeader:host", True),
        ("ReqHeader:HOST eq example.com", True),
        ("not ReqHeader:cookie", True),
        ("RespStatus == 304", True),
        ("RespStatus >= 304.0", True),
        ("RespStatus != 304", False),
        ("*Status > 500", True),
        ("Req*,BerespStatus == 503", True),
        ("Timestamp:Process[2] > 0.8", True),
        ("Timestamp:Process[2] > 1", False),
        ("Timestamp:Process[4] > 0", False),
        ("VCL_Log[2] eq 'two words'", True),
        ("Hit[2] == 10", True),
        ("Hit[3] < -2", False),
        ("Hit[3] == -2", True),
        ("RespStatus == 0x130", True),
        ("FetchError", True),
        ("FetchError == 0", False),
        ("vxid == 2", True),
        ("vxid > 2000", False),
        ("{1}BerespStatus", False),
        ("{2}BerespStatus", True),
        ("{2+}ReqURL", False),
        ("{2-}ReqURL", True),
        ("BerespStatus >= 500 and not ReqURL ~ bar", True),
        ("ReqMethod or RespStatus and FetchError", True),
        ("(ReqMethod or RespStatus) and BogoHeader", False),
        ("# a comment\n\nReqMethod\nRespStatus", True),
        ("RespStatus \\\n== \\\n304", True),
    ],
)
def test_queries(query: str, answer: bool | None) -> None:
    if answer is None:
        with pytest.raises(QueryError):
            parse_query(query)
    else:
        assert parse_query(query)(GROUP) is answer


def test_queries_in_other_scripts_than_latin() -> None:
    """The log has UTF-8; what is wrong is told as it was written."""
    record = Record(int(Tag.ReqHeader), 3, True, False, "City: Zürich €".encode())
    group = [Transaction(1, 3, 2, "req", "rxreq", [record])]
    for query in ("ReqHeader:City eq 'Zürich €'", "ReqHeader ~ 'Z.*€$'"):
        assert parse_user_query(query)(group)
    with pytest.raises(QueryError, match='"€"'):
        parse_user_query('ReqHeader ~ "€" x')


def test_caseless_queries() -> None:
    assert parse_query("ReqURL eq '/FOO'", caseless=True)(GROUP)
    assert parse_query("ReqURL ~ FOO", caseless=True)(GROUP)
    assert not parse_query("ReqURL ~ FOO")(GROUP)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ReqURL ~", "Expected regular expression got '' (Pos 9)\nReqURL ~\n--------\n\n"),
        ("foo", "Tag name matches zero tags (Pos 1)\nfoo\n###\n\n"),
        ("(ReqURL", "Expected ')' got end of input (Pos 8)\n(ReqURL\n-------\n\n"),
        ('ReqURL eq "abc', 'Unterminated string (Pos 15)\nReqURL eq "abc\n----------####\n\n'),
        ("Resp == 2", "Tag name is ambiguous (Pos 1)\nResp == 2\n####-----\n\n"),
        ("{x}ReqURL", "Syntax error in level limit (Pos 2)\n{x}ReqURL\n-#-------\n\n"),
        ("vxid", "Expected vxid operator got '' (Pos 5)\nvxid\n----\n\n"),
        ("a $", "Syntax error (Pos 3)\na $\n--#\n\n"),
        ("ReqURL:host[2] eq a b", "Expected EOI got 'b' (Pos 21)\nReqURL:host[2] eq a b\n--------------------#\n\n"),
        ("", "No query (Pos 1)\n\n\n\n"),
        ("# nothing", "No query (Pos 10)\n# nothing\n---------\n\n"),
        ("ReqURL[0] eq a", "Expected positive integer (Pos 8)\nReqURL[0] eq a\n-------#------\n\n"),
    ],
)
def test_query_errors_point_at_the_place(query: str, message: str) -> None:
    with pytest.raises(QueryError) as error:
        parse_query(query)
    assert str(error.value) == message


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(QueryError, match="nested"):
        parse_query("(" * 5000 + "ReqURL" + ")" * 5000)


@pytest.mark.parametrize(
    ("text", "n", "field"),
    [
        ("a b  c", 2, "b"),
        ("a b", 3, None),
        ('x "y z" w', 2, "y z"),
        ('x "y z" w', 3, "w"),
        ('"open', 1, None),
        ("", 1, None),
    ],
)
def test_fields(text: str, n: int, field: str | None) -> None:
    assert nth_field(text, n) == field


def test_tag_globs() -> None:
    assert match_tags("requrl") == {Tag.ReqURL}
    assert match_tags("SessO") == {Tag.SessOpen}
    assert match_tags("*Acct") == {Tag.ReqAcct, Tag.PipeAcct, Tag.BereqAcct, Tag.VfpAcct, Tag.VdpAcct}
    for pattern, kind in (("nope", "zero"), ("Req", "ambiguous"), ("*e*", "syntax"), ("", "zero")):
        with pytest.raises(TagPatternError) as error:
            match_tags(pattern)
        assert error.value.kind == kind


def chosen(*options: tuple[str, str], **flags: bool) -> list[str]:
    selection = Selection()
    for name, value in flags.items():
        setattr(selection, name, value)
    for letter, text in options:
        selection.option(letter, text)
    return [r.name for t in GROUP for r in t.records if selection.matches(r)]


def test_selection() -> None:
    everything = [r.name for t in GROUP for r in t.records]
    assert chosen() == everything
    assert chosen(("i", "ReqURL,*Status")) == ["ReqURL", "RespStatus", "BerespStatus"]
    assert chosen(("x", "*Status")) == [name for name in everything if not name.endswith("Status")]
    assert chosen(("I", "ReqHeader:^Host")) == ["ReqHeader"]
    assert chosen(("I", "^3")) == ["RespStatus"]
    assert chosen(("X", "ReqHeader:^Host")) == [name for name in everything if name != "ReqHeader"]
    assert chosen(("I", "reqheader:^HOST"), caseless=True) == ["ReqHeader"]
    assert chosen(backend=True) == ["BerespStatus", "FetchError"]
    with pytest.raises(SelectionError, match='-i: "foo" matches zero tags'):
        Selection().option("i", "foo")
    with pytest.raises(SelectionError, match="Regex error"):
        Selection().option("I", "ReqURL:((")


def test_print_of_a_group() -> None:
    out = io.StringIO()
    (group,) = groups("request", session()[:3])
    print_group(group, Selection(), out)
    assert out.getvalue() == (
        "*   << Request  >> 1001      \n-   Begin          req 1000 rxreq\n-   ReqURL         /top\n"
        "-   Link           bereq 2 fetch\n-   Link           req 1003 esi 1\n-   RespStatus     200\n"
        "-   End            \n"
        "**  << BeReq    >> 2         \n--  Begin          bereq 1001 fetch\n"
        "--  BerespStatus   503\n--  End            \n"
        "**  << Request  >> 1003      \n--  Begin          req 1001 esi 1\n"
        "--  ReqURL         /esi\n--  End            \n\n"
    )


def test_print_quotes_what_is_unsafe_and_shows_octets_in_hexadecimal() -> None:
    out = io.StringIO()
    records = [rec(1, Tag.Debug, 'a"\x01\xe9'), Record(int(Tag.H2RxHdr), 1, True, False, b"\x00\xff")]
    print_group([Transaction(0, 1, 0, "raw", "unknown", [r]) for r in records], Selection(), out)
    assert out.getvalue() == ('         1 Debug          c "a"%01%e9%00"\n         1 H2RxHdr        c [00ff]\n')


@pytest.fixture(params=[1, 2])
def file_bytes(request: pytest.FixtureRequest) -> Iterator[tuple[int, bytes]]:
    layout: int = request.param
    data = b"".join(encode(r, layout) for chunk in session() for r in chunk.records)
    yield layout, FILE_IDS[layout] + data


def test_files_are_read_back(file_bytes: tuple[int, bytes]) -> None:
    layout, data = file_bytes
    cursor = FileCursor(io.BytesIO(data))
    chunks = []
    while (chunk := cursor.next()) is not None:
        chunks.append(chunk)
    assert cursor.layout == layout
    assert [r for c in chunks for r in c.records] == [r for c in session() for r in c.records]
    cut = FileCursor(io.BytesIO(data[:-4]))
    left = list(iter(cut.next, None))
    assert [r for c in left for r in c.records] == [r for c in chunks[:-1] for r in c.records]
    with pytest.raises(LogError):
        FileCursor(io.BytesIO(b"GIF89a"))
