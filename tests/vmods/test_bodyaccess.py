"""VMOD bodyaccess."""

from __future__ import annotations

import pytest

from tests.builders import make_body
from tests.vcl.vcl_bench import Bench

FUNCTIONS = {
    "rematch_req_body": 'set req.http.out = bodyaccess.rematch_req_body("bc");',
    "len_req_body": "set req.http.out = bodyaccess.len_req_body();",
    "hash_req_body": "bodyaccess.hash_req_body();",
    "log_req_body": 'bodyaccess.log_req_body("P ", 2);',
}


def run(method: str, body: str, stored: tuple[bytes, ...] | None = (b"ab", b"", b"cde")) -> tuple[Bench, object]:
    bench = Bench(f"import bodyaccess; sub vcl_{method} {{ {body} }}")
    req = bench.request()
    if stored is not None:
        req.body_oc = make_body(*(memoryview(piece) for piece in stored))
    bench.run(method, req)
    return bench, req


@pytest.mark.parametrize(
    ("function", "result"), [("rematch_req_body", "1"), ("len_req_body", "5")]
)  # the match is across pieces
def test_answers(function: str, result: str) -> None:
    assert run("recv", FUNCTIONS[function])[1].http.get("out") == result  # type: ignore[attr-defined]


def test_hash() -> None:
    bench, req = run("hash", FUNCTIONS["hash_req_body"])
    assert bench.log.texts("Hash")[0] == "abcde"
    assert req.hash_parts[0] == "abcde"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("length", "records"), [(2, ["P ab", "P cd", "P e"]), (0, ["P ab", "P cde"])])
def test_log(length: int, records: list[str]) -> None:
    bench, _req = run("recv", f'bodyaccess.log_req_body("P ", {length});')
    assert bench.log.texts("Debug") == records


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_a_kept_body(function: str) -> None:
    bench, req = run("hash" if function == "hash_req_body" else "recv", FUNCTIONS[function], None)
    assert bench.log.texts("VCL_Error") == ["Unbuffered req.body"]
    assert req.http.get("out") in (None, "-1")  # type: ignore[attr-defined]


@pytest.mark.parametrize("function", ["rematch_req_body", "len_req_body", "hash_req_body"])
def test_in_the_wrong_place(function: str) -> None:
    bench, req = run("miss", FUNCTIONS[function])
    place = "hash" if function == "hash_req_body" else "recv"
    assert bench.log.texts("VCL_Error") == [f"bodyaccess.{function}() can only be used in vcl_{place}"]
    assert req.http.get("out") in (None, "-1")  # type: ignore[attr-defined]


def test_on_the_backend_side() -> None:
    bench = Bench("import bodyaccess; sub vcl_backend_fetch { bodyaccess.log_req_body(); }")
    assert bench.run("backend_fetch", bench.fetch()) == "fetch"
    assert bench.log.texts("VCL_Error") == ["bodyaccess.log_req_body() can only be used in client subroutines"]
