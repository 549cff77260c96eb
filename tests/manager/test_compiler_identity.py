from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from varnishpy.manager.compiler import CompilerSettings, compile_in_subprocess
from varnishpy.params import params

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_who_runs_the_program_is_asked_whether_a_socket_can_be_seen(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    program = f'vcl 4.1; backend b {{ .path = "{locked}/s"; }}'
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{locked}/s")
        for runs_as, seen in ((None, True), ((NOBODY, NOBODY, (NOBODY,)), False)):
            settings = CompilerSettings(("s0", "Transient"), runs_as=runs_as)
            warnings = compile_in_subprocess(program, "<vcl.inline>", "v1", params, settings).warnings
            assert ("Cannot stat: Permission denied" in warnings) is not seen
    assert os.geteuid() == 0
