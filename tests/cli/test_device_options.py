"""--threads and --device."""

import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
from ecdc.cli.device_options import settle_threads
settle_threads({})
import os, torch
from ecdc.codec.threads import settle_torch
settle_torch()
print(torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"])
"""


def threads(number, **environment):
    known = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | environment
    command = [sys.executable, "-c", SCRIPT.format(number)]
    return subprocess.run(command, env=known, capture_output=True, text=True, check=True).stdout.split()


def test_the_number_of_threads_and_that_they_sleep_while_they_wait():
    assert threads("3") == ["3", "PASSIVE"]
    assert threads("None", OMP_NUM_THREADS="2", OMP_WAIT_POLICY="ACTIVE") == ["2", "ACTIVE"]


@pytest.mark.parametrize(("number", "named", "wanted"), [(1, "2", "1"), (None, None, "1"), (None, "2", "2")])
def test_numpys_matrix_products_have_as_many_or_one(number, named, wanted):
    """Their threads cannot sleep while they wait, so there is a single one unless a number is given."""
    script = f"import numpy, threadpoolctl\nfrom ecdc.codec.threads import settle\nsettle({number})\n"
    script += "print(*[pool['num_threads'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'blas'])"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"OPENBLAS_NUM_THREADS": named} if named else {}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert set(done.stdout.split()) <= {wanted}, done


def test_threads_of_a_command(ecdc, tone):
    before = torch.get_num_threads()
    try:
        ecdc("encode", tone, "--threads", 1, check=True)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_device_that_is_not_there_is_one_line(ecdc, tone, one_line, command):
    if torch.backends.mps.is_available():
        pytest.skip("it is there")
    source = tone
    if command == "decode":
        ecdc("encode", tone, check=True)
        tone.unlink()
        source = tone.with_suffix(".ecdc")
    assert "--device mps" in one_line(ecdc(command, source, "--device", "mps"))
    assert not (source.with_suffix(".wav" if command == "decode" else ".ecdc")).exists()
