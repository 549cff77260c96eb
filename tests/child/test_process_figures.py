"""What the operating system says of this process, in the three places where it is shown."""

from __future__ import annotations

import os
import re
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


def test_prometheus_text() -> None:
    lines = process_figures.metrics().decode().splitlines()
    for help_, type_, value in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        name = help_.split()[2]
        assert type_.split()[2] == name and re.fullmatch(rf"{name} [0-9.e+]+", value)


def test_the_dump_names_them_all() -> None:
    text = process_figures.dump()
    assert text.startswith("process = {")
    assert all(f"{name} = " in text for name in process_figures.measure().as_json())
