"""One measurement of one scenario at one server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tools.benching.fair import percentiles
from tools.benching.peers import Launch
from tools.benching.scenarios import Scenario

MEMORY_OBJECTS = 20_000


class LoadFailed(Exception):
    """No good answer came at all; the text is what the client said."""


@dataclass(frozen=True)
class Measured:
    """The figures of one run. ``value``: requests a second, or what the scenario's unit says."""

    value: float
    cpu_us: float = 0.0  # CPU of the server's whole process tree for each good answer, in microseconds
    failed: int = 0
    percentiles: dict[str, float] = field(default_factory=dict)  # milliseconds
    spread: float | None = None  # of the answers per connection: the largest distance from the mean, as a share of it


def measure(scenario: Scenario, launch: Launch, seconds: float, directory: Path) -> Measured:
    """Drive a server that runs. :raises LoadFailed: it gave no good answer"""
    if scenario.tool == "fair":
        return _fair(scenario, launch, seconds)
    return _h2load(scenario, launch, seconds, directory)


def memory(launch: Launch) -> Measured:
    """Octets of the server's own for each cached object of 1 KB, `MEMORY_OBJECTS` of them."""
    port = launch.port("h1")
    subprocess.run(fair_command(port, "/warm/{}", 10, 60, 1000), check=True, stdout=subprocess.DEVNULL)
    before = launch.private()
    subprocess.run(fair_command(port, "/miss/{}", 10, 300, MEMORY_OBJECTS), check=True, stdout=subprocess.DEVNULL)
    return Measured((launch.private() - before) / MEMORY_OBJECTS)


def _sampled(launch: Launch, command: list[str]) -> tuple[str, float]:
    """Run a client, sampling the server's memory meanwhile: what it printed, CPU seconds the server took."""
    before, _ = launch.usage()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.2):
            launch.usage()

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        out, _ = run.communicate()
    finally:
        over.set()
        sampler.join()
    return out, launch.usage()[0] - before


def fair_command(port: int, path: str, connections: int, seconds: float, count: int | None = None) -> list[str]:
    """The words that run `fair` as a program."""
    words = [port, path, connections, seconds, *([] if count is None else [count])]
    return [sys.executable, str(Path(__file__).with_name("fair.py")), *map(str, words)]


def _fair(scenario: Scenario, launch: Launch, seconds: float) -> Measured:
    port = launch.port(scenario.protocol)
    out, cpu = _sampled(launch, fair_command(port, scenario.path, scenario.connections, seconds))
    try:
        got = json.loads(out)
    except ValueError:
        raise LoadFailed(f"the fair client failed:\n{out}") from None
    good = got["good"]
    if not good:
        raise LoadFailed(f"no good answer, {got['failed']} bad ones")
    mean = good / len(got["answers"])
    spread = max(abs(count - mean) for count in got["answers"]) / mean
    times = {name: got[name] for name in ("p50", "p99", "p99_9", "max")}
    return Measured(good / got["seconds"], cpu / good * 1e6, got["failed"], times, spread)


def h2load_command(scenario: Scenario, port: int, seconds: float, log: Path) -> list[str]:
    """The words of the h2load run of a scenario."""
    words = ["h2load", "-D", f"{round(seconds * 1000)}ms", "-c", str(scenario.connections), "-m", str(scenario.streams)]
    words.append(f"--log-file={log}")
    if scenario.protocol == "h1":
        words.append("--h1")
    for header in scenario.headers:
        words += ["-H", header]
    if scenario.path == "/1m" and scenario.protocol != "h1":
        words += ["-w", "24", "-W", "26"]  # windows of 16 and 64 MB: the server is measured, not the window
    scheme = "https" if scenario.protocol == "tls" else "http"
    return [*words, f"{scheme}://127.0.0.1:{port}{scenario.path}"]


def parse_h2load(text: str, rows: str) -> tuple[int, int, float, dict[str, float]]:
    """Good and failed answers, seconds, latencies, of h2load's output and its log file. :raises LoadFailed: unusable"""
    took = re.search(r"finished in ([0-9.]+)(ms|us|s),", text)
    good = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    failed = re.search(r"(\d+) failed, (\d+) errored", text)
    if took is None or good is None or failed is None or not int(good[1]):
        said = [line for line in text.splitlines() if line.startswith(("requests:", "status codes:"))]
        raise LoadFailed(f"h2load: {'; '.join(said) or text}")
    latencies = [int(words[2]) / 1e6 for words in map(str.split, rows.splitlines()) if words[1] == "200"]
    bad = int(failed[1]) + sum(int(good[n]) for n in (2, 3, 4))
    seconds = float(took[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[took[2]]
    return int(good[1]), bad, seconds, percentiles(latencies)


def _h2load(scenario: Scenario, launch: Launch, seconds: float, directory: Path) -> Measured:
    log = directory / "h2load.log"
    log.write_text("")
    out, cpu = _sampled(launch, h2load_command(scenario, launch.port(scenario.protocol), seconds, log))
    good, bad, took, times = parse_h2load(out, log.read_text())
    return Measured(good / took, cpu / good * 1e6, bad, times)
