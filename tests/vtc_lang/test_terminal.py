"""What programs draw ends up where a user would see it."""

import pytest

from varnishpy.vtc.terminal import Terminal


def make(lines: int = 5, columns: int = 20) -> tuple[Terminal, list[bytes]]:
    answers: list[bytes] = []
    return Terminal(lines, columns, answers.append), answers


def shown(terminal: Terminal) -> list[str]:
    return [terminal.text(row).rstrip() for row in range(terminal.lines)]


@pytest.mark.parametrize(
    ("data", "rows", "cursor"),
    [
        (b"ab\r\ncd", ["ab", "cd", "", "", ""], (1, 2)),
        (b"\x1b[3;5Hx\x1b[A\x1b[2Dy", ["", "   y", "    x", "", ""], (1, 4)),
        (b"abc\x1b[1;1H\x1b[K", ["", "", "", "", ""], (0, 0)),
        (b"abcdef\x1b[1;3H\x1b[1K", ["   def", "", "", "", ""], (0, 2)),
        (b"a\r\nb\r\nc\r\nd\r\ne\r\nf", ["b", "c", "d", "e", "f"], (4, 1)),
        (b"x" * 20 + b"y", ["x" * 20, "y", "", "", ""], (1, 1)),
        (b"abc\x1b[1;1H\x1b[2P", ["c", "", "", "", ""], (0, 0)),
        (b"abc\x1b[1;2H\x1b[2@", ["a  bc", "", "", "", ""], (0, 1)),
        (b"1\r\n2\r\n3\x1b[2;1H\x1b[L", ["1", "", "2", "3", ""], (1, 0)),
        (b"1\r\n2\r\n3\x1b[2;1H\x1b[M", ["1", "3", "", "", ""], (1, 0)),
        (b"1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n", ["1", "3", "4", "", "5"], (3, 0)),
        (b"a\tb", ["a       b", "", "", "", ""], (0, 9)),
        (b"\x1b(0lqk\x1b(B", ["???", "", "", "", ""], (0, 3)),
        (b"\xe2\x82\xac!", ["?!", "", "", "", ""], (0, 2)),
        (b"\x1b]0;title\x07x\x1bPjunk\x1b\\y", ["xy", "", "", "", ""], (0, 2)),
        (b"\x1b[31;1mred\x1b[0m", ["red", "", "", "", ""], (0, 3)),
        (b"z\x1b[3b", ["zzzz", "", "", "", ""], (0, 4)),
        (b"\x1b7\x1b[3;3Hx\x1b8y", ["y", "", "  x", "", ""], (0, 1)),
        (b"\x1b[H\x1bMtop", ["top", "", "", "", ""], (0, 3)),
    ],
)
def test_screen(data: bytes, rows: list[str], cursor: tuple[int, int]) -> None:
    whole, _ = make()
    whole.feed(data)
    assert shown(whole) == rows
    assert (whole.row, whole.column) == cursor
    piecemeal, _ = make()
    for at in range(len(data)):
        piecemeal.feed(data[at : at + 1])
    assert shown(piecemeal) == rows


def test_questions_are_answered() -> None:
    terminal, answers = make()
    terminal.feed(b"\x1b[2;3H\x1b[6n\x1b[5n\x1b[c")
    assert answers == [b"\x1b[2;3R", b"\x1b[0n", b"\x1b[?1;2c"]


def test_resizing_keeps_what_fits() -> None:
    terminal, _ = make()
    terminal.feed(b"hello\r\nworld")
    terminal.resize(3, 3)
    assert shown(terminal) == ["hel", "wor", ""]
