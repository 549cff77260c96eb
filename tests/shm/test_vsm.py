"""Segments and their index, written and read."""

import gc
import os
import sys
import time
from pathlib import Path

import pytest

from varnishpy.shm.counters import CounterReader
from varnishpy.shm.process import ManagerShm
from varnishpy.shm.reader import SetReader, VsmError
from varnishpy.shm.writer import CHILD_SET, CLUSTER_SIZE, INDEX, MANAGER_SET, SetWriter, ShmError
from varnishpy.stats.publisher import Publisher
from varnishpy.stats.segments import Registry
from varnishpy.stats.statdoc import HIDDEN, READY
from varnishpy.stats.tables import VBE


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / MANAGER_SET).mkdir()
    return tmp_path


def lines(directory: Path) -> list[str]:
    return (directory / INDEX).read_text().splitlines()


def test_the_index_tells_of_each_segment(workdir: Path) -> None:
    directory = workdir / MANAGER_SET
    writer = SetWriter(directory, share=False)
    (head,) = lines(directory)
    assert head.startswith(f"# {os.getpid()} ") and abs(int(head.split()[2]) - time.time()) < 60
    segment = writer.allocate("Stat", 20, "VBE.boot default")
    assert lines(directory)[1:] == [f"+ {segment.file} 0 24 Stat VBE.boot_default"]
    assert bytes(segment.view) == bytes(24)
    assert (directory / segment.file).stat().st_mode & 0o777 == 0o640
    segment.free()
    segment.free()
    assert lines(directory)[-1] == f"- {segment.file} 0 24 Stat VBE.boot_default"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_small_segments_share_files_and_descriptors(workdir: Path) -> None:
    """A thousand backends are a thousand segments; neither writer nor reader may need a descriptor for each."""
    directory = workdir / MANAGER_SET
    writer = SetWriter(directory, cooldown=1000)
    gc.collect()
    before = descriptors()
    segments = [writer.allocate("Stat", 240, f"VBE.boot.b{number}") for number in range(1000)]
    for number, segment in enumerate(segments):
        assert segment.offset and bytes(segment.view) == bytes(240)
        segment.view[:8] = number.to_bytes(8, "little")
    large = writer.allocate("Log", 1 << 20, "Log")
    assert large.offset == 0
    reader = SetReader(workdir)
    reader.refresh()
    mapped = {entry.ident: reader.map(entry) for entry in reader.find("Stat")}
    assert [int.from_bytes(mapped[f"VBE.boot.b{number}"][:8], "little") for number in range(1000)] == list(range(1000))
    files = {segment.file for segment in segments}
    assert len(files) == -(-1000 // ((CLUSTER_SIZE - 16) // 240))
    assert descriptors() - before <= 2 * len(files) + 1
    told = lines(directory)
    for file in files:  # a reader learns of the file before it learns of what is in it
        first = next(place for place, line in enumerate(told) if f" {file} " in line)
        assert told[first] == f"+ {file} 0 {CLUSTER_SIZE}"
    for segment in segments:
        segment.free()
    reader.refresh()
    assert reader.find("Stat") == [] and [entry.file for entry in reader.find("Log")] == [large.file]
    writer.sweep(everything=True)
    assert {path.name for path in directory.iterdir()} == {INDEX, large.file, segments[-1].file}  # that has room left


def test_what_was_freed_in_a_cluster_is_not_given_out_again(workdir: Path) -> None:
    writer = SetWriter(workdir / MANAGER_SET)
    keep = writer.allocate("Stat", 64, "keep")
    places = set()
    for number in range(2000):
        segment = writer.allocate("Stat", 64, f"x{number}")
        places.add((segment.file, segment.offset))
        segment.free()
    assert len(places) == 2000 and (keep.file, keep.offset) not in places
    writer.sweep(everything=True)
    assert len({segment.file for segment in writer.segments()}) == 1
    assert len(list((workdir / MANAGER_SET).iterdir())) == 3  # the index, keep's file and the one with room


def test_a_removed_segment_cools_off(workdir: Path) -> None:
    writer = SetWriter(workdir / MANAGER_SET, cooldown=1000, share=False)
    segment = writer.allocate("Stat", 8, "x")
    segment.free()
    writer.sweep()
    assert (workdir / MANAGER_SET / segment.file).exists()
    writer.sweep(everything=True)
    assert not (workdir / MANAGER_SET / segment.file).exists()


def test_many_removals_rewrite_the_index(workdir: Path) -> None:
    directory = workdir / MANAGER_SET
    writer = SetWriter(directory, share=False)
    keep = writer.allocate("Stat", 8, "keep")
    reader = SetReader(workdir)
    reader.refresh()
    inode = (directory / INDEX).stat().st_ino
    for number in range(30):
        writer.allocate("Stat", 8, f"x{number}").free()
        reader.refresh()
        assert [entry.ident for entry in reader.find("Stat")] == ["keep"]
    assert (directory / INDEX).stat().st_ino != inode
    assert len(lines(directory)) < 30
    assert keep.line("+").strip() in lines(directory)


def test_close_leaves_nothing(workdir: Path) -> None:
    writer = SetWriter(workdir / MANAGER_SET)
    writer.allocate("Stat", 8, "x")
    writer.allocate("Stat", 8, "y").free()
    writer.close()
    assert list((workdir / MANAGER_SET).iterdir()) == []


def test_memory_that_cannot_be_had_is_an_error_with_a_name(workdir: Path) -> None:
    writer = SetWriter(workdir / MANAGER_SET)
    with pytest.raises(ShmError, match=r"cannot make shared memory of .* octets"):
        writer.allocate("Log", 1 << 62, "Log")
    assert [p.name for p in (workdir / MANAGER_SET).iterdir()] == [INDEX]


def test_a_reader_maps_what_a_writer_writes(workdir: Path) -> None:
    writer = SetWriter(workdir / MANAGER_SET)
    segment = writer.add_text("Arg", "-T", "127.0.0.1 6082\n")
    reader = SetReader(workdir)
    reader.attach(0)
    assert reader.manager_running and not reader.child_running
    assert reader.read_text("Arg", "-T") == "127.0.0.1 6082\n"
    assert reader.read_text("Arg", "-S") is None
    (entry,) = reader.find("Arg")
    memory = reader.map(entry)
    with pytest.raises(TypeError):
        memory[0] = 0
    segment.view[0:1] = b"9"
    assert bytes(memory[:9]) == b"927.0.0.1"
    assert reader.valid(entry)
    segment.free()
    reader.refresh()
    assert not reader.valid(entry)
    assert bytes(memory[:9]) == b"927.0.0.1"


def test_nobody_there(tmp_path: Path) -> None:
    dots: list[str] = []
    with pytest.raises(VsmError, match="Could not get hold of varnishd"):
        SetReader(tmp_path).attach(0, dots.append)
    (tmp_path / MANAGER_SET).mkdir()
    (tmp_path / MANAGER_SET / INDEX).write_text("# 999999999 1\n")
    with pytest.raises(VsmError), SetReader(tmp_path):
        pass


def test_a_damaged_index_is_survived(workdir: Path) -> None:
    (workdir / MANAGER_SET / INDEX).write_text(
        f"# {os.getpid()} 1\n+ bad\n+ f x y Stat z\n- nothing 0 8 Stat q\n\xff\n+ _.x 0 8 Stat gone\n",
        encoding="latin-1",
    )
    reader = SetReader(workdir)
    reader.refresh()
    (entry,) = reader.find("Stat")
    with pytest.raises(OSError):
        reader.map(entry)
    counters = CounterReader(reader)
    counters.refresh()
    assert counters.points() == []


def test_segments_in_a_cluster_are_found_at_their_offset(workdir: Path) -> None:
    directory = workdir / MANAGER_SET
    (directory / "_.cluster").write_bytes(b"." * 16 + b"hello\0\0\0" + bytes(4072))
    (directory / INDEX).write_text(f"# {os.getpid()} 1\n+ _.cluster 0 4096\n+ _.cluster 16 8 Arg -x\n")
    reader = SetReader(workdir)
    reader.refresh()
    assert reader.read_text("Arg", "-x") == "hello"


def test_counters_are_followed_across_a_restart_of_the_child(workdir: Path) -> None:
    def child() -> tuple[Publisher, Registry]:
        registry = Registry()
        registry.new(VBE, "boot.a").inc("req", 5)
        publisher = Publisher(registry, SetWriter(workdir / CHILD_SET))
        publisher.start(thread=False)
        return publisher, registry

    (workdir / CHILD_SET).mkdir()
    manager = SetWriter(workdir / MANAGER_SET)
    child()
    counters = CounterReader(SetReader(workdir))
    assert counters.refresh()
    values = {point.name: point for point in counters.points()}
    assert values["VBE.boot.a.req"].value == 5
    old = (workdir / CHILD_SET).rename(workdir / "old")
    (workdir / CHILD_SET).mkdir()
    _, registry = child()
    registry.new(VBE, "boot.b").dec("conn")
    assert counters.refresh()
    values = {point.name: point for point in counters.points()}
    assert "VBE.boot.b.req" in values
    assert values["VBE.boot.b.conn"].value == 0
    assert old.exists()
    manager.close()


def test_counters_their_writer_hides_are_not_shown(workdir: Path) -> None:
    """varnishd hides the backends of a VCL that has gone cold without taking them out of the index."""
    registry = Registry()
    for name in ("a", "b"):
        registry.new(VBE, f"boot.{name}")
    SetWriter(workdir / MANAGER_SET)
    (workdir / CHILD_SET).mkdir()
    Publisher(registry, SetWriter(workdir / CHILD_SET)).start(thread=False)
    reader = SetReader(workdir)
    counters = CounterReader(reader)
    assert counters.refresh()
    (entry,) = reader.find("Stat", "VBE.boot.a")
    for ready, shown in ((HIDDEN, {"b"}), (READY, {"a", "b"})):
        with (entry.directory / entry.file).open("r+b") as file:
            file.seek(entry.offset)
            file.write(ready.to_bytes(4, sys.byteorder))
        assert counters.refresh()
        assert not counters.refresh()
        assert {point.name.split(".")[2] for point in counters.points()} == shown


def test_the_manager_publishes_arguments_and_counters_and_cleans_up(tmp_path: Path) -> None:
    manager = ManagerShm(tmp_path, "name")
    manager.set_arg("-T", "127.0.0.1 1\n")
    manager.set_arg("-T", "127.0.0.1 2\n")
    manager.mgt.inc("child_start")
    manager.publisher.flush()
    reader = SetReader(tmp_path)
    reader.refresh()
    assert reader.read_text("Arg", "-T") == "127.0.0.1 2\n"
    assert reader.read_text("Arg", "-i") == "name"
    counters = CounterReader(reader)
    counters.refresh()
    assert {p.name: p.value for p in counters.points()}["MGT.child_start"] == 1
    directory = manager.new_child()
    (directory / "left").write_text("x")
    manager.child_gone(keep=True)
    assert (directory / "left").exists()
    manager.child_gone()
    assert not directory.exists()
    manager.close()
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_cannot_be_written_is_brought_up_to_date_later(workdir: Path) -> None:
    """Removing fails for nobody; adding fails and leaves nothing."""
    directory = workdir / MANAGER_SET
    writer = SetWriter(directory, share=False)
    keep, drop = writer.allocate("Stat", 8, "keep"), writer.allocate("Stat", 8, "drop")
    directory.rename(workdir / "away")
    drop.free()
    with pytest.raises(ShmError):
        writer.allocate("Stat", 8, "never")
    writer.sweep()
    (workdir / "away").rename(directory)
    late = writer.allocate("Stat", 8, "late")
    assert [line.split()[-1] for line in lines(directory)[1:]] == ["keep", "late"]
    assert writer.segments() == [keep, late]
    assert {path.name for path in directory.iterdir()} == {INDEX, keep.file, drop.file, late.file}


def test_the_index_is_mended_by_the_next_sweep(workdir: Path) -> None:
    directory = workdir / MANAGER_SET
    writer = SetWriter(directory, share=False)
    drop = writer.allocate("Stat", 8, "drop")
    directory.rename(workdir / "away")
    drop.free()
    (workdir / "away").rename(directory)
    assert len(lines(directory)) == 2
    writer.sweep()
    assert len(lines(directory)) == 1


def test_counters_without_memory_count_and_are_published_later(workdir: Path) -> None:
    directory = workdir / MANAGER_SET
    registry = Registry()
    publisher = Publisher(registry, SetWriter(directory))
    publisher.start(thread=False)
    directory.rename(workdir / "away")
    segment, gone = registry.new(VBE, "boot.late"), registry.new(VBE, "boot.gone")
    segment.inc("req", 3)
    publisher.flush()
    gone.destroy()
    (workdir / "away").rename(directory)
    publisher.flush()
    counters = CounterReader(SetReader(workdir))
    counters.refresh()
    values = {point.name: point.value for point in counters.points()}
    assert values["VBE.boot.late.req"] == 3
    assert "VBE.boot.gone.req" not in values
    assert len(publisher.failures) == 2
