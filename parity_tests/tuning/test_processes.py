"""几个进程合做一次微调：与一个进程相同，停下再续也相同；做不到的方法说得明白。

起一次 ``torchrun`` 要十来秒（三个进程各导入一次 torch），所以比数值的在 full 档。
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.tuning.conftest import WORDS
from parity_tests.tuning.running import FLAGS, resume, tune
from parity_tests.whole_runs.commands import Ended, Place, as_flags
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.runlog import read_metrics

BOUND = 1e-6
METHODS: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {"data": "pairs.jsonl", "quiz_data": "chats.jsonl", "kl_answers": 4},
}


@pytest.fixture(autouse=True)
def pairs(based: Place) -> None:
    """在对话之外，备好 24 对偏好。"""
    rows = [
        {"prompt": f"say {word} {i}", "chosen": word, "rejected": f"{word} {word}"} for i, word in enumerate(WORDS * 4)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def together(place: Place, run: str, verb: str, **changes: Any) -> Ended:
    """由 ``torchrun`` 起两个进程，跑一次微调。"""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    words = as_flags({"run": run, "runs_dir": place.runs, **changes})
    done = subprocess.run(
        [*launcher, "torch_llm", verb, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=400,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="torchrun on POSIX")
@pytest.mark.parametrize("verb", METHODS)
def test_two_processes_tune_differently(based: Place, verb: str) -> None:
    """两个进程走的损失、评估与权重，与一个进程的相差超过 1e-6；两个进程停下、一个进程续完也一样。"""
    flags = {**METHODS[verb], "device": "cpu"}
    done = tune(based, "torch", "alone", verb, **flags)
    assert done.code == 0, done.err
    given = {**FLAGS, **flags}
    for run, stop in (("both", {}), ("halved", {"stop_at": 3})):
        done = together(based, run, verb, **given, **stop)
        assert done.code == 0, done.err
    done = resume(based, "torch", "halved", verb)
    assert done.code == 0, done.err
    wanted, expected = read_metrics(based.runs / "alone"), load_checkpoint(based.runs / "alone")
    for run in ("both", "halved"):
        found = load_checkpoint(based.runs / run)
        for tensor, array in {**expected.model, **expected.optim}.items():
            ours = {**found.model, **found.optim}[tensor]
            np.testing.assert_allclose(ours, array, rtol=0, atol=BOUND, err_msg=f"{run}: {tensor}")
        for key in ("loss", "grad_norm", "val_loss", "val_margin", "exact_match", "policy_kl", "val_loss_pretraining"):
            curves = [
                [one[key] for one in metrics if key in one] for metrics in (read_metrics(based.runs / run), wanted)
            ]
            np.testing.assert_allclose(curves[0][-1:], curves[1][-1:], rtol=0, atol=BOUND, err_msg=f"{run}: {key}")
            assert run != "both" or curves[0] == pytest.approx(curves[1], abs=BOUND)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "lora": ("sft", {"lora_rank": 2}, "it trains a part of the model"),
    "kto": ("dpo", {"data": "pairs.jsonl", "loss": "kto"}, "the whole batch"),
    "reward": ("reward", {"data": "pairs.jsonl", "quiz": None, "answer_tokens": None, "shown": None}, "it adds a head"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_for_one_process_is_started_in_two(based: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """只能是一个进程的方法没有拒绝两个，没有说为什么，或留下了半个运行。"""
    for variable, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(variable, value)
    verb, changes, why = REFUSED[name]
    done = tune(based, "torch", "x", verb, **changes)
    assert done.code == 2
    assert why in done.error[0]
    assert "without torchrun" in done.error[2]
    assert not (based.runs / "x").exists()
