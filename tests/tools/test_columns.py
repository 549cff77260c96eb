"""Tables for terminals of any width."""

from __future__ import annotations

import pytest

from varnishpy.tools.columns import Heading, folded, shorten, table
from varnishpy.tools.keys import first_key

TASKS = [Heading("AGE", right=True), Heading("KIND"), Heading("CLIENT", spare=1), Heading("REQUEST", text=True)]
URL = "GET /some/long/path?" + "x" * 200
ROWS = [("3296.123", "HTTP/1 request", "192.0.2.123", URL), ("0.001", "fetch", "2001:db8:1234:5678::1", "GET /")]


@pytest.mark.parametrize("width", [400, 120, 80, 70, 60, 45])
def test_the_text_gives_way_and_numbers_stay(width: int) -> None:
    lines = table(TASKS, ROWS, width)
    assert all(len(line) <= width for line in lines) and len(lines) == 3
    assert "3296.123  HTTP/1 request" in lines[1] and "   0.001  fetch" in lines[2]
    assert "GET /some" in lines[1] and lines[2].endswith("GET /")
    assert ("CLIENT" in lines[0]) == (width > 60), "the spare column goes before the text has less than twelve letters"
    assert lines[1].endswith("…") == (width < 300)


def test_the_most_spare_goes_first() -> None:
    headings = [Heading("NAME", text=True), *(Heading(name, right=True, spare=n) for n, name in enumerate("ABC", 1))]
    rows = [("MAIN.shm_records", "38651234", "12418.25", "12418.25")]
    heads = [table(headings, rows, width)[0].split() for width in (60, 45, 36, 25)]
    assert heads == [["NAME", "A", "B", "C"], ["NAME", "A", "B", "C"], ["NAME", "A", "B"], ["NAME", "A"]]
    assert "38651234" in table(headings, rows, 25)[1]


def test_nothing_to_show() -> None:
    assert table(TASKS, [], 70) == ["AGE  KIND  CLIENT  REQUEST"]


def test_words() -> None:
    assert folded(["one", "two", "three"], 9) == "one   two\nthree"
    assert (shorten("abcdef", 6), shorten("abcdef", 5), shorten("abcdef", 1)) == ("abcdef", "abcd…", "…")


def test_keys_come_one_by_one() -> None:
    typed = b"v\x1b[A\x1bOB\x1b[1;5Cq \x1b"
    found = []
    while typed:
        name, typed = first_key(typed)
        found.append(name)
    assert found == ["v", "up", "down", "", "q", "pagedown", ""]
