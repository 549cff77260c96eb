"""The tag table, and its agreement with the library of the C programs where that is installed."""

import ctypes

import pytest

from varnishpy.log.tags import _LEGACY_ONLY, FILE_NUMBERS, FROM_FILE, TAGS, Tag, TagFlag, name_of
from varnishpy.params.tag_names import VSL_TAGS


def test_parameters_and_log_number_tags_alike() -> None:
    assert [tag.name for tag in Tag] == VSL_TAGS
    assert [int(tag) for tag in Tag] == list(range(1, len(VSL_TAGS) + 1))


def test_http_tags_stand_in_runs_of_eight() -> None:
    parts = ("Method", "URL", "Protocol", "Status", "Reason", "Header", "Unset", "Lost")
    for kind in ("Req", "Resp", "Bereq", "Beresp", "Obj"):
        first = Tag[kind + "Method"]
        assert [Tag(first + n).name for n in range(8)] == [kind + part for part in parts]


def test_every_tag_has_a_text_and_survives_layout_2() -> None:
    for number, info in TAGS.items():
        assert info.text
        assert FROM_FILE[2][FILE_NUMBERS[2][number]] == number
    assert name_of(200) == "Unknown-200"


def test_layout_1_is_what_libvarnishapi_reads() -> None:
    try:
        library = ctypes.CDLL("libvarnishapi.so.3")
    except OSError:
        pytest.skip("libvarnishapi.so.3 is not installed")
    names = (ctypes.c_char_p * 256).in_dll(library, "VSL_tags")
    flags = (ctypes.c_uint * 256).in_dll(library, "VSL_tagflags")
    theirs = {number: name.decode() for number, name in enumerate(names) if name}
    ours = {FILE_NUMBERS[1][tag]: tag.name for tag in Tag if tag not in (Tag.BackendSSL, Tag.TLS, Tag.ReqTarget)}
    assert theirs == {**ours, **_LEGACY_ONLY}
    for number, name in ours.items():
        info = TAGS[Tag[name]]
        assert flags[number] == int(info.flags), name
        assert FROM_FILE[1][number] == info
    assert TAGS[Tag.H2RxHdr].flags == TagFlag.BINARY
