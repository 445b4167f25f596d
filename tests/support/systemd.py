"""`systemd-analyze`, which reads unit files as systemd does."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze`; without it the test fails in CI and is skipped elsewhere."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no systemd-analyze; try: apt-get install -y systemd", pytrace=False)
        pytest.skip("no systemd-analyze")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
