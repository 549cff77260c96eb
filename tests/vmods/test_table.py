"""VMODs table and kvstore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vcl.vcl_bench import Bench
from tests.waiting import wait_for
from varnishpy.base import clock
from varnishpy.log.memory import captured
from varnishpy.log.tags import Tag
from varnishpy.vcl.loader import VclLoadError

CSV = '# old to new\n/a,/b\n"/c,d", "/e", extra\n\n/a,/z\n/only\n'


def table(path: Path, expression: str, options: str = "") -> Bench:
    init = f'new t = table.table("{path}"{options});'
    return Bench(f"import table; sub vcl_init {{ {init} }} sub vcl_recv {{ set req.http.out = {expression}; }}")


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('t.lookup("/a")', "/z"),
        ('t.lookup("/c,d") + t.lookup("/c,d", column = 2)', "/eextra"),
        ('t.lookup("/x", "none") + t.lookup("/only", "empty") + t.lookup("/a", "far", 2)', "noneemptyfar"),
        ('t.lookup(req.http.none) + "-"', "-"),
        ('t.contains("/only") + t.contains("/x") + t.contains(req.http.none) + t.size()', "truefalsefalse3"),
    ],
)
def test_csv(tmp_path: Path, expression: str, result: str) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    assert table(tmp_path / "rows.csv", f'"" + {expression}').recv().http.get("out") == result


def test_json_and_another_delimiter(tmp_path: Path) -> None:
    rows = {"a": "x", "b": [1, "zwölf"], "c": {"d": True}}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    bench = table(tmp_path / "rows.json", 't.lookup("a") + t.lookup("b") + t.lookup("b", column = 2) + t.lookup("c")')
    assert bench.recv().http.get("out") == 'x1zw\xc3\xb6lf{"d":true}'
    (tmp_path / "rows.txt").write_text("a;b\n")
    assert table(tmp_path / "rows.txt", 't.lookup("a")', ', ";"').recv().http.get("out") == "b"


@pytest.mark.parametrize(
    ("name", "text"), [("none.csv", None), ("bad.json", "{"), ("list.json", "[1]"), ("bin.csv", "")]
)
def test_what_cannot_be_read_fails_the_program(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode() or b"\xff\xfe")
    with pytest.raises(VclLoadError, match=f"table t: {tmp_path / name}: "):
        table(tmp_path / name, "t.size()")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,1\n")
    bench = table(path, 't.lookup("a")', ", check = 0s")
    assert bench.recv().http.get("out") == "1"
    path.write_text("a,22\n")
    wait_for(lambda: bench.recv().http.get("out") == "22", "the new rows")
    with captured() as memory:
        (tmp_path / "fresh").write_bytes(b"\xff")
        (tmp_path / "fresh").replace(path)
        bench.recv()
        memory.wait_for(int(Tag.Error))
    assert bench.recv().http.get("out") == "22"


def test_no_look_before_its_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,1\n")
    bench = table(path, 't.lookup("a")', ", check = 1000s")
    path.write_text("a,22\n")
    assert bench.recv().http.get("out") == "1"


def store(body: str, path: Path | None = None) -> Bench:
    init = "new kv = kvstore.init();"
    return Bench(f'import kvstore; sub vcl_init {{ {init} kv.set("a", "1"); }} sub vcl_recv {{ {body} }}')


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ('set req.http.out = kv.get("a") + kv.get("x", "none") + kv.get(req.http.none) + "-";', "1none-"),
        ('kv.delete("a"); kv.delete("x"); set req.http.out = kv.get("a", "gone");', "gone"),
        ('set req.http.out = "" + kv.counter("n", 2) + kv.counter("n", 3) + kv.counter("a", -1);', "250"),
        ('kv.set("a", req.http.none); set req.http.out = kv.get("a", "x") + "-";', "-"),
        ('set req.http.out = kv.init_file("/nonexistent", ",") + kv.compact();', "-1"),
    ],
)
def test_kvstore(body: str, result: str) -> None:
    assert store(body).recv().http.get("out") == result


def test_values_end_with_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "mono", lambda: now[0])
    bench = store('set req.http.out = "" + kv.counter("n", 1, 10s) + kv.compact();')
    assert [bench.recv().http.get("out") for _ in range(2)] == ["10", "20"]
    now[0] += 10
    assert bench.recv().http.get("out") == "10"
    now[0] += 10
    bench.vcl.discard()
    other = store('kv.set("t", "x", 5s); set req.http.out = kv.compact();')
    other.recv()
    now[0] += 6
    assert other.recv().http.get("out") == "0"  # set anew before


def test_a_counter_needs_a_number() -> None:
    bench = store('kv.set("a", "x"); set req.http.out = kv.counter("a", 1);')
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == ["kvstore kv.counter(): a is no number"]


def test_a_store_is_filled_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("k;v\nl\n")
    bench = store(
        f'set req.http.n = kv.init_file("{tmp_path}/rows.csv", ";"); set req.http.out = kv.get("k") + kv.get("a");'
    )
    req = bench.recv()
    assert (req.http.get("n"), req.http.get("out")) == ("2", "v")
