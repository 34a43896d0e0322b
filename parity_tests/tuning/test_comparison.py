"""几种学法相比：各格是普通的运行，停下接着走，表里的数对得上日志。"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from parity_tests.tuning.running import tune
from parity_tests.whole_runs.commands import Place
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.forgetting import Forgetting
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.tuning.compare import Measured
from tinygrad_llm.common.tuning.compare_report import summary
from tinygrad_llm.common.tuning.config import LORA_RATE
from tinygrad_llm.common.tuning.ways import SftCompareConfig, arms


def test_a_way_differs_from_its_own_run(based: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """比较里的一格，停在半路再接着走，与单独练的那一次不同；或表里的数不是日志里的；或再跑一次又练了一遍。"""
    flags = {"ways": "lora:2", "run": "versus", "sample_every": 0, "save_every": 3}
    done = tune(based, "torch", "versus", "sft-compare", **flags)
    assert done.code == 0, done.err
    assert tune(based, "torch", "alone", lora_rank=2, lr=LORA_RATE, sample_every=0).code == 0
    run = based.runs / "versus" / "lora-2-seed0"
    (run / "report.html").unlink()
    shutil.rmtree(run / "checkpoints" / "step_000006")
    (run / "latest").write_text("step_000003\n")
    done = tune(based, "torch", "versus", "sft-compare", **flags)
    assert done.code == 0, done.err
    ours, alone = load_checkpoint(run), load_checkpoint(based.runs / "alone")
    assert all(np.array_equal(ours.model[name], array) for name, array in alone.model.items())
    (row,) = json.loads((based.runs / "versus" / "compare.json").read_bytes())["ways"]
    metrics = read_metrics(run)
    assert row["exact_match"]["value"] == [one["exact_match"] for one in metrics if "exact_match" in one][-1]
    assert row["trained"] == sum(array.size for array in ours.model.values())
    assert row["memory_bytes"] == max(one["memory_bytes"] for one in metrics if "memory_bytes" in one)
    assert row["forgotten"]["pretraining"][0] == metrics[0]["val_bits_per_byte_pretraining"]
    assert "lora:2" in done.out
    monkeypatch.setattr("subprocess.Popen", None)  # 练完的不再练，也就不起进程
    done = tune(based, "torch", "versus", "sft-compare", **flags)
    assert done.code == 0, done.err
    done = tune(based, "torch", "versus", "sft-compare", **flags, lr=0.5)
    assert done.code == 2
    assert "other settings: lr" in done.err


def test_a_broken_way_goes_unreported(based: Place) -> None:
    """一格没有练完，命令却说成功，或没有说为什么。"""
    done = tune(based, "torch", "versus", "sft-compare", ways="last:9")
    assert done.code == 2
    assert "the model has" in done.err


@pytest.mark.parametrize(
    ("ways", "said"),
    [(("lora:0",), "lora:0"), (("full", "full"), "twice"), ((), "some of full"), (("last:x",), "last:x")],
)
def test_a_senseless_way_is_accepted(ways: tuple[str, ...], said: str) -> None:
    """写错的学法、写了两遍的学法没有被拒绝。"""
    with pytest.raises(UserError, match=said):
        SftCompareConfig(from_run="base", data="x.jsonl", ways=ways)


def test_ways_do_not_share_seeds_and_data(tmp_path: Path) -> None:
    """各种学法的种子、步数或数据不同；LoRA 的学习率没有另外定。"""
    config = SftCompareConfig(from_run="b", data="x", runs_dir=str(tmp_path), ways=("full", "lora:4"), seeds=2, lr=0.1)
    slow = arms(dataclasses.replace(config, lora_steps=7))
    assert [one.settings.steps for one in slow] == [config.steps, 7] * 2
    found = arms(config)
    assert [(one.way.name, one.seed) for one in found] == [("full", 0), ("lora:4", 0), ("full", 1), ("lora:4", 1)]
    assert [one.settings.lr for one in found] == [0.1, LORA_RATE] * 2
    assert {one.settings.steps for one in found} == {config.steps}
    assert len({one.settings.folder for one in found}) == 4


def test_difference_is_not_paired() -> None:
    """与基准之差没有逐题相减：两边错在同样的题上，区间却还是那么宽。"""
    hard = np.arange(100) < 40
    old = {"old": Forgetting(1.0, 2.0, 1.0, 0.5)}

    def cell(way: str, right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Measured:
        return Measured(way, 0, right, 0.0, (1.0, 0.5), old, 10, 100, 1, 0.1, 1.0, 40)

    full, same = summary([cell("full", ~hard), cell("lora:1", ~hard)])
    assert same["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert full["exact_match"]["value"] == 0.6
    assert same["share"] == 0.1
