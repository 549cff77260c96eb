"""The list of a logexpect worked off against records made by hand."""

import pytest

from varnishpy.log.record import Record
from varnishpy.log.tags import Tag
from varnishpy.vtc.logexpect import Expectation, Kind, Matcher, Outcome


def record(tag: Tag, text: str = "", vxid: int = 1) -> Record:
    return Record(int(tag), vxid, True, False, text.encode() + b"\0")


def expect(
    tag: Tag | str | None, regex: str | None = None, skip: int | None = 0, vxid: int | str | None = None
) -> Expectation:
    tags = frozenset({int(tag)}) if isinstance(tag, Tag) else tag
    return Expectation(Kind.EXPECT, "expect", skip, vxid, tags, regex)


def alternative(tag: Tag) -> Expectation:
    return Expectation(Kind.ALTERNATIVE, "alt", 0, None, frozenset({int(tag)}))


def failing(tag: Tag) -> Expectation:
    return Expectation(Kind.FAIL, "fail", 0, None, frozenset({int(tag)}))


CLEAR = Expectation(Kind.CLEAR, "fail clear")


def judge(expectations: list[Expectation], *records: Record) -> tuple[list[str], bool]:
    matcher = Matcher(expectations, lambda _level, _text: None, False)
    outcomes = []
    for one in records:
        outcomes.append(matcher.take(one).name)
        if outcomes[-1] == Outcome.FAIL.name:
            break
    return outcomes, matcher.done


def test_in_order() -> None:
    spec = [expect(Tag.ReqMethod, "GET"), expect(Tag.ReqURL, "^/$")]
    assert judge(spec, record(Tag.ReqMethod, "GET"), record(Tag.ReqURL, "/")) == (["MATCH", "MATCH"], True)
    assert judge(spec, record(Tag.ReqURL, "/")) == (["FAIL"], False)


@pytest.mark.parametrize(("skip", "last"), [(None, "MATCH"), (2, "MATCH"), (1, "FAIL")])
def test_skipping(skip: int | None, last: str) -> None:
    others = [record(Tag.Debug)] * 2
    outcomes, _ = judge([expect(Tag.ReqURL, None, skip)], *others, record(Tag.ReqURL))
    assert outcomes[-1] == last


def test_same_vxid_and_the_end_of_its_transaction() -> None:
    spec = [expect(Tag.Begin, vxid=7), expect(Tag.ReqURL, skip=None, vxid="=")]
    begin, end = record(Tag.Begin, vxid=7), record(Tag.End, vxid=7)
    assert judge(spec, begin, record(Tag.ReqURL, vxid=8), record(Tag.ReqURL, vxid=7))[1]
    assert judge(spec, begin, end) == (["MATCH", "FAIL"], False)


def test_same_tag() -> None:
    spec = [expect(Tag.VCL_call), expect("=", skip=None)]
    assert judge(spec, record(Tag.VCL_call), record(Tag.Debug), record(Tag.VCL_call))[1]


def test_alternatives_in_any_order() -> None:
    spec = [alternative(Tag.ReqURL), alternative(Tag.ReqMethod), expect(Tag.End)]
    for order in ((Tag.ReqURL, Tag.ReqMethod), (Tag.ReqMethod, Tag.ReqURL)):
        assert judge(spec, *[record(tag) for tag in order], record(Tag.End)) == (["MATCH"] * 3, True)
    assert judge(spec, record(Tag.ReqURL), record(Tag.ReqURL))[0] == ["MATCH", "FAIL"]
    assert judge(spec, record(Tag.ReqURL), record(Tag.End))[0] == ["MATCH", "FAIL"]


def test_what_must_not_come() -> None:
    spec = [failing(Tag.Error), expect(Tag.End, skip=None), CLEAR]
    assert judge(spec, record(Tag.Debug), record(Tag.End)) == (["SKIP", "MATCH"], True)
    assert judge(spec, record(Tag.Error)) == (["FAIL"], False)
    assert not judge(spec[:2], record(Tag.End))[1]


def test_a_regex_without_a_tag_is_ignored() -> None:
    assert judge([expect(None, "never")], record(Tag.Debug, "x"))[1]


def test_the_expectation_that_fails_is_known() -> None:
    wanted = [expect(Tag.ReqMethod), failing(Tag.Error), expect(Tag.ReqURL, skip=None)]
    matcher = Matcher(wanted, lambda _level, _text: None, False)
    matcher.take(record(Tag.ReqMethod))
    assert matcher.take(record(Tag.Error)) is Outcome.FAIL
    assert matcher.failed is wanted[1]
