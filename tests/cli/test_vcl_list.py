"""The table of vcl.list, in the words of varnishd's."""

from __future__ import annotations

from varnishpy.cli.vcl_list import VclRow, list_text


def row(name: str, busy: int | None, target: str | None = None, users: int = 0) -> VclRow:
    state = "auto" if target is None else "label"
    return VclRow(status="available", state=state, temperature="warm", busy=busy, name=name, target=target, users=users)


def test_the_table() -> None:
    rows = [row("boot", 12, users=2), row("one", 3, users=1), row("l1", 0, "boot"), row("l2", 0, "boot", 1)]
    assert list_text([*rows, row("l3", 0, "one", 3)]).splitlines() == [
        "available   auto    warm   12   boot   <-   (2 labels)",
        "available   auto    warm    3   one    <-   (1 label)",
        "available   label   warm    0   l1     ->   boot",
        "available   label   warm    0   l2     ->   boot (1 return(vcl))",
        "available   label   warm    0   l3     ->   one (3 return(vcl)'s)",
    ]
    assert list_text([]) == ""


def test_without_a_child_nobody_knows_who_is_busy() -> None:
    assert list_text([row("boot", None)]) == "available   auto   warm   -   boot\n"
    assert "busy" not in row("boot", None).as_json()
    assert row("boot", 0, users=2).as_json()["labels"] == 2
    assert row("l", 0, "boot", 2).as_json()["label"] == {"name": "boot", "refs": 2}
    assert row("l", 0, "boot").as_json()["label"] == {"name": "boot"}
