"""What the operating system says of this process, in the three places where it is shown."""

from __future__ import annotations

import os
import threading

from varnishpy.child import process_figures


def test_the_figures_are_this_process() -> None:
    figures = process_figures.measure()
    assert figures.pid == os.getpid()
    assert figures.threads >= threading.active_count()
    assert 0 < figures.descriptors <= figures.most_descriptors
    assert 1 << 20 < figures.resident < figures.virtual
    assert figures.cpu_user + figures.cpu_system > 0


def test_descriptors_are_counted() -> None:
    before = process_figures.measure().descriptors
    ends = os.pipe()
    try:
        assert process_figures.measure().descriptors == before + 2
    finally:
        for end in ends:
            os.close(end)


def test_metrics_have_the_usual_names() -> None:
    rows = {name: (kind, value) for name, kind, _, value in process_figures.rows()}
    assert rows["process_cpu_seconds"][0] == "counter" and rows["process_resident_memory_bytes"][0] == "gauge"
    assert all(name.startswith("process_") and value > 0 for name, (_, value) in rows.items())


def test_the_dump_names_them_all() -> None:
    text = process_figures.dump()
    assert text.startswith("process = {")
    assert all(f"{name} = " in text for name in process_figures.measure().as_json())
