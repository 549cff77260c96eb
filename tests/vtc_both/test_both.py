"""Our scripts hold both implementations to the same: here Debian's varnishd runs them (``tests/vtc`` itself runs ours).

One runner for all of them: what it starts up once, and its workers, serve every script.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "vtc"
PATIENCE = 400.0
# half of a C daemon's start is the optimising of its VCL, which no script looks at
FAST_VCL = "cc_command=exec gcc -O0 -fpic -shared -o %o %s"
# scripts that may be about what only varnishpy, or a later Varnish than Debian's, has
MOST_SKIPPED = 0.125


@pytest.mark.timeout(PATIENCE + 20)
def test_scripts_pass_on_debians_varnishd(program: Callable[[str], str], tmp_path: Path) -> None:
    daemon = program("/usr/sbin/varnishd")
    program("gcc")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "varnishpy", "test", "-D", f"varnishd={daemon}", "-p", FAST_VCL]
    options = ["-j2", "-k", "-q", "--no-progress", "--junit", str(report), str(SCRIPTS)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert report.exists(), done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case.get("name") for case in cases if case.find("skipped") is not None]
    assert not bad, f"scripts that fail on {daemon}: {', '.join(map(str, bad))}\n{done.stdout[-20000:]}"
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cases) == len(list(SCRIPTS.rglob("*.vtc")))
    assert len(skipped) <= MOST_SKIPPED * len(cases), f"too few scripts can run on {daemon}; skipped: {skipped}"
