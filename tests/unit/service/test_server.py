"""What the serving process does about its own memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import re
from pathlib import Path
import torch
from service.server import forget_the_start

def resident():
    return int(re.search(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def answer():
    return float(torch.nn.GRU(4, 8)(torch.ones(3, 2, 4))[0].sum())

torch.manual_seed(1)
expected, before = answer(), resident()
forget_the_start()
after = resident()
torch.manual_seed(1)
print(before, after, answer() == expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mappings are read as Linux tells them")
def test_code_of_the_start_is_let_go_of_and_still_there_when_wanted() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    before, after, same = done.stdout.split()
    assert int(after) < 0.6 * int(before)
    assert same == "True"
