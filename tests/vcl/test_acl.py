"""ACLs: how entries are put in order and folded, what the compiler says of it, and what the log shows."""

from __future__ import annotations

import random

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.vcl.acl import Acl
from varnishpy.vcl.compiler import CompileOptions, VclError, compile_vcl
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.module import entry
from varnishpy.vcl.values import SockAddr

HEAD = "vcl 4.1;\nbackend be none;\n"
USE = "\nsub vcl_recv { if (client.ip ~ l) { return (pass); } }\n"


def compiled(acl: str) -> Acl:
    return entry(Bench(f"{acl}{USE}").vcl.module.names, "acl_l", Acl)


def shown(acl: str) -> list[str]:
    """The texts of the entries that are left, the longest prefix first."""
    return [entry.text for _shift, table in compiled(acl)._tables[4] for entry in table.values()]


def warnings(acl: str) -> str:
    return compile_vcl(f"{HEAD}{acl}{USE}", "test", CompileOptions(filename="input")).warnings


def test_halves_are_joined_and_what_is_inside_is_dropped() -> None:
    acl = 'acl l { "10.1.0.0"/25; "10.1.0.128"/25; "10.1.1.0"/24; "10.1.1.7"; "192.0.2.1"; }'
    assert shown(acl) == ['"192.0.2.1"', '"10.1.0.0"/23 fixed: folded']


def test_negated_entries_are_never_folded() -> None:
    assert len(shown('acl l { ! "10.1.0.0"/25; ! "10.1.0.128"/25; "10.1.0.0"/16; }')) == 3


def test_folding_may_be_switched_off() -> None:
    assert shown('acl l -fold { "10.1.0.0"/25; "10.1.0.128"/25; }') == ['"10.1.0.0"/25', '"10.1.0.128"/25']


def test_what_was_folded_is_reported() -> None:
    text = warnings('acl l { "10.1.0.0"/25; "10.1.0.128"/25; "10.1.0.3"; }')
    assert text.startswith("Message from VCC-compiler:\nACL entry:\n('input' Line 3 Pos 9)\n")
    assert "left of:\n('input' Line 3 Pos 24)\n" in text
    assert "removing the latter and expanding mask of the former by one to /24\n(That was just a warning)\n" in text
    assert "supersedes / removes:\n('input' Line 3 Pos 41)\n" in text


@pytest.mark.parametrize("flag", ["+fold(-report)", "-fold"])
def test_no_report_when_not_wished(flag: str) -> None:
    assert warnings(f'acl l {flag} {{ "10.1.0.0"/25; "10.1.0.128"/25; }}') == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("+nonsense", "Unknown ACL flag. Valid ACL flags are `log`, `fold`, `pedantic` and `table`:\n"),
        ("+ log", "Expected a flag at:\n"),
        ("-fold(report)", "-fold(...) is invalid, use -fold:\n"),
        ("+fold(+other)", "The only ACL fold sub-flag is `report`:\n"),
    ],
)
def test_bad_flags(flags: str, message: str) -> None:
    with pytest.raises(VclError) as caught:
        compile_vcl(f'{HEAD}acl l {flags} {{ "10.1.0.0"/25; }}{USE}', "test")
    assert message in str(caught.value)


def test_a_table_has_its_own_words_for_no_match() -> None:
    bench = Bench(f'acl l +log +table {{ "203.0.113.1"; "203.0.113.9"; }}{USE}')
    bench.recv()
    assert bench.log.texts("VCL_acl") == ["NO MATCH l"]


def test_a_single_network_is_no_table() -> None:
    bench = Bench(f'acl l -fold +log +table {{ "203.0.113.0"/24; "203.0.113.9"; }}{USE}')
    bench.recv()
    assert bench.log.texts("VCL_acl") == ["NO_MATCH l"]


def test_folding_changes_no_answer() -> None:
    """Random lists of networks within one octet, against all addresses there."""
    rng = random.Random(1)
    for _ in range(40):
        entries: dict[tuple[int, int], str] = {}
        for _ in range(rng.randrange(1, 12)):
            negated = rng.randrange(4) == 0
            prefix = 32 if negated else rng.randrange(24, 33)  # what is joined may not meet its own negation
            last = rng.randrange(256) >> (32 - prefix) << (32 - prefix)
            sign = "! " if negated else ""
            entries[last, prefix] = f'{sign}"10.0.0.{last}"/{prefix};'
        body = " ".join(entries.values())
        folded, plain = (compiled(f"acl l {flag} {{ {body} }}") for flag in ("+fold(-report)", "-fold"))
        ctx = Ctx.for_cli(Bench("").vcl)
        for last in range(256):
            address = SockAddr(f"10.0.0.{last}", 0)
            assert folded.match(ctx, address) == plain.match(ctx, address), (body, last)


@pytest.mark.parametrize("entry", ['"192.0.2.0"/24', '"::ffff:192.0.2.0"/120', '"::ffff:192.0.2.4"'])
@pytest.mark.parametrize("client", ["192.0.2.4", "::ffff:192.0.2.4", "::ffff:c000:204"])
def test_mapped_addresses_are_ipv4(entry: str, client: str) -> None:
    acl = compiled(f"acl l {{ {entry}; }}")
    assert acl.match(Ctx.for_cli(Bench("").vcl), SockAddr(client, 80))
    assert not acl.match(Ctx.for_cli(Bench("").vcl), SockAddr("192.0.3.4", 80))


def test_scopes_do_not_count() -> None:
    assert compiled('acl l { "fe80::"/64; }').match(Ctx.for_cli(Bench("").vcl), SockAddr("fe80::1%lo", 80))
