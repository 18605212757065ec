"""Two processes with half the batch each are one process with all of it."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from ecdc.train.codec import loop
from safetensors.torch import load_file

SCRIPT = """
import json, sys
from pathlib import Path
from ecdc.train.codec import loop
from ecdc.train.codec.recipe import Recipe
loop.LOG_EVERY, loop.draw_curves = 1, lambda output: None
loop.train(Recipe.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), report=lambda line: None)
"""


def test_two_processes_follow_the_curve_of_one(recipe, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe = dataclasses.replace(recipe, steps=4)
    loop.train(recipe, packed, tmp_path / "one", report=lambda line: None)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", tmp_path / "script.py"]
    given = [json.dumps(recipe.to_dict()), packed, tmp_path / "two"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *given], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        if name.startswith(("codec.", "codebooks.")):
            assert torch.allclose(value, two[name], atol=2e-3), name
    curves = [
        [
            json.loads(line)["valid"]["mean/3/mel"]
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            if "valid" in line
        ]
        for name in ("one", "two")
    ]
    assert curves[0] == pytest.approx(curves[1], abs=2e-3)
