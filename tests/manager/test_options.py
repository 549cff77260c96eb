from __future__ import annotations

import pytest

from varnishpy.manager.complain import StartupError
from varnishpy.manager.options import parse


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-h", ""], "-h argument is empty"),
        (["-h", "btree"], 'Unknown hash method "btree"'),
        (["-h", "critbit,1"], 'Hash method "critbit" takes no arguments'),
        (["-h", "simple_list,1"], 'Hash method "simple" takes no arguments'),
        (["-j", ""], "-j argument is empty"),
        (["-W", "kqueue"], 'Unknown waiter method "kqueue"'),
        (["-i", "a b"], "Invalid character ' ' for -i"),
        (["-V", "-C"], "Too many arguments for -V"),
        (["-p", "name"], "\t-p lacks '='"),
    ],
)
def test_wrong_command_lines_say_what_is_wrong(words: list[str], text: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(["-b", "none", *words] if words[0] != "-V" else words)
    assert caught.value.text == text
    assert caught.value.usage


def test_buckets_of_the_classic_hash_are_taken() -> None:
    assert parse(["-b", "none", "-h", "classic,1009"]).hash_kind == "classic,1009"
