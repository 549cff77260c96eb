"""Results as JUnit XML, which CI systems read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import PurePath

from .job import Verdict
from .runner import Finished

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


def _clean(text: str) -> str:
    """Without characters XML cannot hold."""
    return _FORBIDDEN.sub("?", text)


def build(finished: list[Finished]) -> ET.Element:
    count = {verdict: sum(1 for done in finished if done.outcome.verdict is verdict) for verdict in Verdict}
    suite = ET.Element(
        "testsuite",
        name="vtc",
        tests=str(len(finished)),
        failures=str(count[Verdict.FAILED]),
        errors=str(count[Verdict.ERROR]),
        skipped=str(count[Verdict.SKIPPED]),
        time=f"{sum(done.duration for done in finished):.3f}",
    )
    for done in finished:
        path = PurePath(done.source.name)
        case = ET.SubElement(
            suite,
            "testcase",
            classname=".".join(path.parent.parts) or "vtc",
            name=path.name,
            file=str(path),
            time=f"{done.duration:.3f}",
        )
        reason = _clean(done.outcome.reason)
        log = _clean(done.log.decode("latin-1"))
        match done.outcome.verdict:
            case Verdict.SKIPPED:
                ET.SubElement(case, "skipped", message=reason)
            case Verdict.FAILED | Verdict.ERROR:
                kind = "failure" if done.outcome.verdict is Verdict.FAILED else "error"
                place = f"{path}:{done.outcome.line}: " if done.outcome.line else ""
                ET.SubElement(case, kind, message=place + reason).text = log
            case Verdict.PASSED:
                pass
    return suite


def write(name: str, finished: list[Finished]) -> None:
    root = ET.Element("testsuites")
    root.append(build(finished))
    ET.ElementTree(root).write(name, encoding="utf-8", xml_declaration=True)
