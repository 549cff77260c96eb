"""The parameter table: values, bounds, texts, and the view that follows."""

from __future__ import annotations

import pytest

from varnishpy.log.tags import Tag
from varnishpy.params import Flag, ParamError, Params, ParamTable, PoolParam, TagMask
from varnishpy.params.tag_names import VSL_TAGS


@pytest.fixture
def table() -> ParamTable:
    return ParamTable()


def test_defaults_are_typed(table: ParamTable) -> None:
    view = table.view
    assert view.timeout_idle == 5.0 and isinstance(view.timeout_idle, float)
    assert view.workspace_client == 98304 and isinstance(view.workspace_client, int)
    assert view.http_range_support is True
    assert view.pool_req == PoolParam(10, 100, 10)
    assert view.h2_rxbuf_storage == "Transient"
    assert view.feature.http2 is False and view.feature.validate_headers is True
    assert view.acceptor_sleep_decay == 0.9
    with pytest.raises(AttributeError):
        _ = view.feature.htp2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [spec.name for spec in ParamTable().specs.values()])
def test_the_view_begins_with_the_defaults_of_the_table(name: str, table: ParamTable) -> None:
    fresh, set_by_table = getattr(Params(), name), getattr(table.view, name)
    assert type(fresh) is type(set_by_table)
    bits = table.specs[name].bits
    if not bits:
        assert fresh == set_by_table
    elif not isinstance(fresh, TagMask):
        assert [bit for bit in bits if getattr(fresh, bit)] == [], "bits begin as none; the table sets the default"
        defaults = {bit for bit in bits if getattr(set_by_table, bit)}
        fresh.assign(frozenset(bits))
        assert all(getattr(fresh, bit) for bit in bits)
        fresh.assign(frozenset(defaults))
        assert {bit for bit in bits if getattr(fresh, bit)} == defaults


def test_defaults_survive_a_round_trip(table: ParamTable) -> None:
    other = ParamTable()
    other.load(table.texts())
    assert other.texts() == table.texts()
    assert table.texts(changed=True) == []


@pytest.mark.parametrize("name", [spec.name for spec in ParamTable().specs.values()])
def test_every_row_is_complete_and_its_default_settable(name: str) -> None:
    table = ParamTable()
    spec = table.specs[name]
    assert spec.text and not spec.text[-1].isspace()
    assert len(name) < 30
    if not spec.flags & Flag.NOT_IMPLEMENTED:
        table.set(name, spec.default)
        assert table.text(name) == spec.default
    shown = table.show(name)
    assert shown.startswith(f"{name}\n        ")
    assert all(len(line) <= 79 or line.lstrip().startswith("Value is") for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("thread_pool_min", "1", "Must be at least 5\n"),
        ("thread_pool_max", "50", "Must be at least 100 (thread_pool_min)\n"),
        ("thread_pool_min", "5001", "Must be no more than 5000 (thread_pool_max)\n"),
        ("thread_pool_reserve", "96", "Must be no more than 95 (95% of thread_pool_min)\n"),
        ("gzip_memlevel", "x", "Not a number (x)\n"),
        ("gzip_level", "-1", "Must be no more than 9\n"),
        ("timeout_idle", "5q", "Invalid duration unit (5q)\n"),
        ("timeout_idle", "", "Invalid number ()\n"),
        ("timeout_idle", "2h", "Must be less than or equal to 3600.000\n"),
        ("timeout_idle", "never", "Invalid duration unit (never)\n"),
        ("backend_idle_timeout", "0.5", "Must be greater or equal to 1.000\n"),
        ("http_gzip_support", "maybe", 'use "on" or "off"\n'),
        ("feature", "+foo", "Unknown feature bit (+foo)\n"),
        ("feature", "foo", "Missing '+' or '-' (foo)\n"),
        ("vsl_mask", "+Foo", "Unknown VSL tag (+Foo)\n"),
        ("workspace_client", "1k", "Must be at least 9k\n"),
        (
            "workspace_client",
            "xx",
            "Could not convert to bytes.\nInvalid number\n  Try something like '80k' or '120M'\n",
        ),
        ("vsl_space", "5G", "Must be no more than 4G\n"),
        ("vsl_buffer", "100", "Must be at least 267\n"),
        ("vsl_reclen", "20k", "Must be no more than 16372\n"),
        ("pool_req", "1,2", "Three fields required: min_pool, max_pool and max_age\n"),
        ("pool_req", "5,2,1", "min_pool cannot be larger than max_pool\n"),
        ("vcc_err_unref", "perhaps", 'use "on" or "off"\n'),
    ],
)
def test_refusals_change_nothing_and_say_why(table: ParamTable, name: str, text: str, message: str) -> None:
    before = table.texts()
    with pytest.raises(ParamError) as caught:
        table.set(name, text)
    assert str(caught.value) == f"{message}\n(attempting to set param '{name}' to '{text}')"
    assert caught.value.status == 106
    assert table.texts() == before


def test_unknown_unavailable_and_protected(table: ParamTable) -> None:
    for call in (lambda: table.set("foo", "1"), lambda: table.show("foo"), lambda: table.as_json("foo")):
        with pytest.raises(ParamError) as caught:
            call()
        assert str(caught.value) == 'Unknown parameter "foo".'
    with pytest.raises(ParamError) as caught:
        table.set("accept_filter", "on")
    assert caught.value.status == 300
    table.protect("timeout_idle,vcl_path")
    with pytest.raises(ParamError, match="protected") as caught:
        table.set("timeout_idle", "6")
    assert caught.value.status == 107
    with pytest.raises(ParamError, match="Did you mean to mark vcc_feature"):
        table.protect("vcc_err_unref")
    with pytest.raises(ParamError, match="Unknown parameter bar"):
        table.protect("bar")


def test_bounds_follow_other_parameters(table: ParamTable) -> None:
    table.set("thread_pool_max", "6000")
    table.set("thread_pool_min", "6000")
    with pytest.raises(ParamError):
        table.set("thread_pool_max", "5999")
    table.set("thread_pool_reserve", "5700")
    table.set("vsl_reclen", "10k")
    with pytest.raises(ParamError):
        table.set("vsl_buffer", "10k")
    table.set("vsl_buffer", "300k")
    assert table.specs["vsl_reclen"].maximum == "65535"


def test_load_takes_what_order_would_refuse(table: ParamTable) -> None:
    table.set("thread_pool_min", "10")
    table.set("thread_pool_max", "20")
    child = ParamTable()
    child.load([("thread_pool_max", "20"), ("thread_pool_min", "10")])
    assert (child.view.thread_pool_min, child.view.thread_pool_max) == (10, 20)


def test_timeouts_can_be_never(table: ParamTable) -> None:
    table.set("first_byte_timeout", "never")
    assert table.view.first_byte_timeout == float("inf")
    assert table.text("first_byte_timeout") == "never"
    assert table.as_json("first_byte_timeout")[0]["value"] == "never"


def test_unlimited_and_number_bases(table: ParamTable) -> None:
    table.set("ban_cutoff", "unlimited")
    assert table.text("ban_cutoff") == "unlimited"
    table.set("ban_cutoff", "0x10")
    assert table.view.ban_cutoff == 16
    table.set("http_req_overflow_status", "0")
    table.set("http_req_overflow_status", "400")
    with pytest.raises(ParamError):
        table.set("http_req_overflow_status", "399")


def test_bits_change_one_by_one_and_atomically(table: ParamTable) -> None:
    feature = table.view.feature
    table.set("feature", "+http2,-https_scheme")
    assert feature.http2 and not feature.https_scheme and feature.validate_headers
    assert table.text("feature") == "none,+http2,+validate_headers,+vcl_req_reset"
    with pytest.raises(ParamError):
        table.set("feature", "-http2,+nonsense")
    assert feature.http2
    table.set("feature", "+TRACE")
    assert feature.trace
    table.set("feature", "none")
    assert not feature.http2
    table.set("feature", "all")
    assert table.text("feature") == "all" and feature.h2_compat
    table.set("feature", "default")
    assert table.text("feature") == table.specs["feature"].default


def test_vsl_mask_is_an_array_by_tag_number(table: ParamTable) -> None:
    assert [tag.name for tag in Tag] == VSL_TAGS
    mask = table.view.vsl_mask
    assert isinstance(mask, TagMask)
    array = mask.masked
    assert array[Tag.Debug] and not array[Tag.ReqURL]
    table.set("vsl_mask", "+Debug,-requrl")
    assert not array[Tag.Debug] and array[Tag.ReqURL]
    assert array is table.view.vsl_mask.masked
    table.set("vsl_mask", "all")
    assert not any(array) and table.text("vsl_mask") == "all"
    table.set("vsl_mask", "none")
    assert sum(array) == len(VSL_TAGS) and table.text("vsl_mask") == "none"
    table.reset("vsl_mask")
    assert table.text("vsl_mask").startswith("all,-Debug,-Obj")


def test_aliases(table: ParamTable) -> None:
    assert table.view.vcc_feature.err_unref
    table.set("vcc_err_unref", "off")
    assert not table.view.vcc_feature.err_unref
    assert table.show("vcc_err_unref").startswith("vcc_feature\n")
    assert "vcc_err_unref" not in table.show()


def test_remarks_about_when_a_change_takes_effect(table: ParamTable) -> None:
    assert table.set("listen_depth", "11", running=True) == "\nChange will take effect when child is restarted"
    assert table.set("listen_depth", "12") == ""
    assert table.set("timeout_idle", "6", running=True) == ""


def test_minus_one_is_unlimited(table: ParamTable) -> None:
    table.set("nuke_limit", "-1")
    assert table.text("nuke_limit") == "unlimited"


@pytest.mark.parametrize("name", ["cc_command", "cc_warnings", "critbit_cooloff", "tls_cleanup_batch"])
def test_what_nothing_here_reads_is_kept_and_says_so(table: ParamTable, name: str) -> None:
    assert "nothing here reads it" in table.set(name, "100")
    assert table.text(name).startswith("100")
    assert "nothing here reads it" in " ".join(table.show(name).split())


def test_short_form(table: ParamTable) -> None:
    lines = table.show().split("\n")
    assert "timeout_idle                  5.000 [seconds] (default)" in lines
    assert "accept_filter                 -" in lines
    assert "gzip_level                    6 (default)" in lines
    assert lines[:-1] == sorted(lines[:-1])
    table.set("timeout_idle", "6")
    assert table.show(changed=True) == "timeout_idle                  6.000 [seconds]\n"
    table.reset("timeout_idle")
    assert table.show(changed=True) == ""


def test_long_form(table: ParamTable) -> None:
    table.set("workspace_client", "10.5k")
    assert table.show("workspace_client") == (
        "workspace_client\n"
        "        Value is: 10.50k [bytes]\n"
        "        Default is: 96k\n"
        "        Minimum is: 9k\n"
        "\n"
        "        Workspace of a client request.\n"
        "\n"
        "        NB: A change shows only as sessions, requests or threads are\n"
        "        replaced by new ones.\n"
        "\n"
    )
    shown = table.show("debug")
    assert "\n           vtc_mode            Run for the test language\n" in shown
    assert table.show(long=True).count("Value is: ") == len(table.specs) - 1
    assert table.show("accept_filter").startswith("accept_filter\n        Not available\n")


def test_json(table: ParamTable) -> None:
    (entry,) = table.as_json("timeout_idle")
    assert entry == {
        "name": "timeout_idle",
        "implemented": True,
        "value": 5.0,
        "units": "seconds",
        "default": "5.000",
        "minimum": "0.000",
        "maximum": "3600.000",
        "description": table.specs["timeout_idle"].text,
        "flags": [],
    }
    assert table.as_json("pool_req")[0]["value"] == {"min_pool": 10, "max_pool": 100, "max_age": 10.0}
    assert table.as_json("accept_filter") == [{"name": "accept_filter", "implemented": False}]
    assert table.as_json("thread_pools")[0]["flags"] == ["delayed_effect", "experimental"]
    assert len(table.as_json()) == len(table.specs)
    table.set("gzip_level", "1")
    assert [entry["name"] for entry in table.as_json(changed=True)] == ["gzip_level"]


def test_listeners_hear_each_change(table: ParamTable) -> None:
    heard: list[str] = []
    table.add_listener(heard.append)
    table.set("timeout_idle", "6")
    table.load([("gzip_level", "1"), ("vcc_feature", "none")])
    table.remove_listener(heard.append)
    table.set("timeout_idle", "7")
    assert heard == ["timeout_idle", "gzip_level", "vcc_feature"]


def test_default_of_the_installation(table: ParamTable) -> None:
    table.set_default("vcl_path", "/opt/vcl")
    assert table.view.vcl_path == "/opt/vcl"
    table.set("vcl_path", "/else")
    table.set_default("vcl_path", "/third")
    assert table.view.vcl_path == "/else"
    table.reset("vcl_path")
    assert table.view.vcl_path == "/third"
