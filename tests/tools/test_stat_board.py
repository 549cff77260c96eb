"""The arithmetic and the moves behind the live view of counters."""

from __future__ import annotations

import pytest

from varnishpy.shm.counters import Point
from varnishpy.tools.stat_board import Average, Board
from varnishpy.tools.stat_filter import Filter


def points(values: list[int], kind: str = "counter", level: str = "info") -> list[Point]:
    words = memoryview(bytearray(8 * len(values))).cast("Q")
    for place, value in enumerate(values):
        words[place] = value
    return [
        Point(f"MAIN.c{place}", kind, level, "integer", "one line", "more", place, words, place)
        for place in range(len(values))
    ]


def board_of(rows: list[Point], *globs: str) -> Board:
    chosen = Filter()
    for glob in globs:
        chosen.add("I", glob)
    board = Board(chosen)
    board.follow(rows)
    return board


def shown(board: Board) -> list[str]:
    board.choose()
    return [row.point.name for row in board.rows]


def test_an_average_moves_by_its_part_of_the_window() -> None:
    average = Average(2)
    seen = []
    for value in (4.0, 0.0, 4.0, 4.0):
        average.add(value)
        seen.append(average.value)
    assert seen == [4.0, 2.0, 3.0, 3.5]


def test_rates_of_counters_and_levels_of_gauges() -> None:
    for kind, change, averages in (("counter", 3.0, 3.0), ("gauge", 3.0, 7.0)):
        rows = points([4], kind)
        board = board_of(rows)
        board.sample({"MAIN.uptime": 5}, 100.0, False)
        board.choose()
        (row,) = board.rows
        assert row.change is None
        rows[0]._words[0] = 10
        board.sample({"MAIN.uptime": 5}, 102.0, False)
        assert (row.current, row.change, row.average) == (10, change, 2.0 if kind == "counter" else 0.0)
        assert [each.value for each in row.averages] == [averages] * 3
        board.sample({"MAIN.uptime": 5}, 103.0, True)
        assert row.change == 0.0 and {each.samples for each in row.averages} == {1}


def test_what_was_never_seen_is_hidden_and_what_was_stays() -> None:
    rows = points([0, 1, 0])
    board = board_of(rows)
    board.sample({}, 1.0, False)
    assert shown(board) == ["MAIN.c1"]
    rows[1]._words[1] = 0
    board.sample({}, 2.0, False)
    assert shown(board) == ["MAIN.c1"]
    board.unseen = True
    assert shown(board) == ["MAIN.c0", "MAIN.c1", "MAIN.c2"]
    assert board.rows[board.at].point.name == "MAIN.c1"  # chosen before, and still


def test_filters_raise_the_level_to_what_they_ask_for() -> None:
    rows = points([1, 1], level="debug")
    assert board_of(rows).level == 0
    assert board_of(rows, "MAIN.c1").level == 2


@pytest.mark.parametrize(
    ("at", "top", "expected"),
    [(0, 0, (0, 0)), (12, 0, (12, 8)), (3, 8, (3, 3)), (99, 99, (19, 19)), (-5, -5, (0, 0)), (19, 0, (19, 15))],
)
def test_the_chosen_row_is_on_the_screen(at: int, top: int, expected: tuple[int, int]) -> None:
    board = board_of(points([1] * 20))
    board.sample({}, 1.0, False)
    board.choose()
    board.at, board.top = at, top
    board.settle(5)
    assert (board.at, board.top) == expected


def test_hit_ratios() -> None:
    board = board_of(points([1]))
    board.restart({"MAIN.cache_hit": 10, "MAIN.cache_miss": 10})
    board.sample({"MAIN.cache_hit": 13, "MAIN.cache_miss": 11}, 1.0, False)
    assert [each.value for each in board.hit_ratios] == [0.75] * 3
    board.sample({"MAIN.cache_hit": 13, "MAIN.cache_miss": 11}, 2.0, False)
    assert [each.value for each in board.hit_ratios] == [0.375] * 3
