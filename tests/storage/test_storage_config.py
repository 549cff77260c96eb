from __future__ import annotations

from pathlib import Path

import pytest

from varnishpy.storage.config import StorageConfigError, StorageSet, StorageSpec, list_json, list_text, parse_storage
from varnishpy.storage.file import FileStevedore
from varnishpy.storage.malloc import MallocStevedore


def test_names_and_transient() -> None:
    specs = parse_storage(["malloc,10m", "big=malloc", "default"])
    assert [(spec.ident, spec.method, spec.args) for spec in specs] == [
        ("s0", "malloc", ("10m",)),
        ("big", "malloc", ()),
        ("s1", "default", ()),
        ("Transient", "default", ()),
    ]


def test_without_arguments_there_is_a_default() -> None:
    stevedores = StorageSet(parse_storage([]))
    assert isinstance(stevedores.default, MallocStevedore)
    assert stevedores.default.limit == 100 << 20
    assert isinstance(stevedores.transient, MallocStevedore)
    assert stevedores.transient.limit == 0


def test_transient_may_be_named() -> None:
    stevedores = StorageSet(parse_storage(["Transient=malloc,2M", "malloc"]))
    assert list(stevedores.by_name) == ["s0", "Transient"]
    assert isinstance(stevedores.transient, MallocStevedore)
    assert stevedores.transient.limit == 2 << 20
    assert stevedores.default.ident == "s0"


def test_objects_go_to_each_in_turn_but_never_to_transient() -> None:
    stevedores = StorageSet(parse_storage(["malloc", "malloc"]))
    assert [stevedores.next().ident for _ in range(4)] == ["s0", "s1", "s0", "s1"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["foo"], 'Unknown stevedore method "foo"'),
        (["malloc,10"], '(-smalloc) size "10": too small, did you forget to specify M or G?'),
        (["malloc,1x"], '(-smalloc) size "1x": Unknown BYTES unit of measurement ([KMGTP][B])'),
        (["malloc,-1M"], '(-smalloc) size "-1M": Invalid number'),
        (["malloc,1M,2"], "(-smalloc) too many arguments"),
        (["9a=malloc"], 'invalid -s name "9a"=[...]'),
        (["=malloc"], 'invalid -s name ""=[...]'),
        (["a="], 'Empty named -s argument "a="'),
        (["a=malloc", "a=malloc"], "(-s a=malloc) 'a' is already defined"),
        ([""], ""),
        (["file"], "(-sfile) path is mandatory"),
        (["file,x,1m,4k,random,more"], "(-sfile) too many arguments"),
        (["file,x,1m,zz"], '(-sfile) granularity "zz": Invalid number'),
        (["file,x,1m,4k,foo"], '(-s file) invalid advice: "foo"'),
        (["umem"], 'Unknown stevedore method "umem"'),
    ],
)
def test_what_is_wrong_is_told(texts: list[str], message: str) -> None:
    with pytest.raises(StorageConfigError) as caught:
        for spec in parse_storage(texts):
            spec.make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("{}/f",), "(-sfile) no size specified"),
        (("{}/f", "1k"), '(-sfile) size "1k": too small, did you forget to specify M or G?'),
        (("{}/f", "1000000T"), '(-sfile) size "1000000T": larger than file system'),
        (("{}/no/f", "1m"), '(-sfile) "{}/no/f" does not exist and could not be created'),
        (("/dev/null", "1m"), '(-sfile) "/dev/null" is neither file nor directory'),
    ],
)
def test_files_are_checked_before_a_child_is_started(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    spec = StorageSpec("s0", "file", tuple(arg.replace("{}", str(tmp_path)) for arg in args))
    with pytest.raises(StorageConfigError) as caught:
        spec.check()
    assert str(caught.value) == message.replace("{}", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_file_storage_takes_a_directory_or_a_file(tmp_path: Path) -> None:
    StorageSpec("s0", "file", (str(tmp_path / "f"), "2m")).check()
    assert (tmp_path / "f").exists()
    assert isinstance(StorageSpec("s0", "file", (str(tmp_path), "2m", "", "sequential")).make(), FileStevedore)
    StorageSpec("s0", "file", (str(tmp_path), "2m")).check()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_storage_list() -> None:
    specs = parse_storage(["malloc,1g"])
    assert list_text(specs) == "Storage devices:\n\tstorage.s0 = malloc\n\tstorage.Transient = default\n"
    assert list_json(specs) == [
        {"name": "s0", "storage": "malloc"},
        {"name": "Transient", "storage": "default"},
    ]
