"""Run a piece of vcl_recv that uses VMODs, or evaluate one expression in it."""

from __future__ import annotations

from tests.vcl.vcl_bench import Bench


def run(imports: str, body: str, **headers: str) -> Bench:
    bench = Bench("".join(f"import {name};" for name in imports.split()) + f"sub vcl_recv {{ {body} }}")
    bench.last = bench.recv(**headers)  # type: ignore[attr-defined]
    return bench


def out(imports: str, expression: str, before: str = "", **headers: str) -> str | None:
    bench = run(imports, f"{before} set req.http.out = {expression};", **headers)
    assert bench.action in ("hash", "pass"), bench.log.texts("VCL_Error")
    return bench.last.http.get("out")  # type: ignore[attr-defined, no-any-return]
