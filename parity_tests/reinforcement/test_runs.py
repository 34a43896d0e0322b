"""整次强化学习：两个引擎一致，停下再续逐位相同，检查点别处照用，奖励升得起来。

流入：几步的小运行；流出：检查点与日志的差。
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.reinforcement.common import beginner, continued, gap, settings, trained
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.session import load_trained

METHODS: dict[str, dict[str, Any]] = {
    "reinforce": {"group": 1},
    "ppo": {"minibatches": 2, "updates": 1, "batch_size": 4},
    "grpo": {"minibatches": 1, "updates": 2},
    "grpo-simple": {},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """有一个初学者的文件夹。"""
    folder = tmp_path_factory.mktemp("runs")
    beginner(folder)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_the_two_engines_walk_apart(runs: Path, method: str) -> None:
    """同样的出发点走四步，两个引擎写出的回答、损失或末尾的权重不同。"""
    ours, theirs = (
        trained(settings(runs, engine, method=method, run=f"{engine}-{method}", **METHODS[method]))
        for engine in ("numpy", "torch")
    )
    assert gap(ours.model, theirs.model) < 1e-9
    logs = [read_metrics(runs / f"{engine}-{method}") for engine in ("numpy", "torch")]
    names = {"loss", "reward", "true_reward", "kl", "entropy", "length", "advantage_std", "stopped", "pass_at_1"}
    names |= {"clip_fraction"} if method in ("ppo", "grpo") else set()
    names |= {"value_loss"} if method == "ppo" else set()
    for one, other in zip(*logs, strict=True):
        assert names & one.keys() == names & other.keys()
        for name in names & one.keys():
            assert one[name] == pytest.approx(other[name], abs=1e-9), name
    assert names <= {name for record in logs[0] for name in record}
    assert any(record.get("reward") for record in logs[0])  # 全错的话，什么也没有比较
    assert any(record["grad_norm"] > 1e-3 for record in logs[0] if "grad_norm" in record)


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_differs_from_a_straight_one(runs: Path, engine: str, method: str) -> None:
    """在第二步停下再续，末尾的权重、优化器的状态与一次走完的不是逐位相同。"""
    config = settings(runs, engine, method=method, run=f"stopped-{engine}-{method}", **METHODS[method])
    trained(replace(config, stop_at=2))
    resumed = continued(config)
    straight = trained(replace(config, run=f"straight-{engine}-{method}"))
    for kind in ("model", "optim"):
        one, other = getattr(resumed, kind), getattr(straight, kind)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_other_engine_cannot_take_over(runs: Path) -> None:
    """NumPy 走两步，torch 接着走完，与一直用 NumPy 的不同。"""
    config = settings(runs, "numpy", run="handover")
    trained(replace(config, stop_at=2))
    taken = continued(settings(runs, "torch", run="handover"))
    assert gap(taken.model, trained(settings(runs, "numpy", run="stayed")).model) < 1e-9


def test_a_run_with_a_value_head_cannot_be_loaded(runs: Path, tmp_path: Path) -> None:
    """PPO 的检查点多一个价值头，别的动词载不进来；或少了出发点就载不进来。"""
    kept = trained(settings(runs, "numpy", run="critic", method="ppo", updates=1))
    assert np.abs(kept.model["value_head.weight"]).max() > 0
    shutil.copytree(runs / "critic", tmp_path / "moved" / "critic")
    _, _, loaded = load_trained(tmp_path / "moved" / "critic")
    assert "value_head.weight" not in loaded.model
    np.testing.assert_array_equal(loaded.model["wte.weight"], kept.model["wte.weight"])


def test_another_base_is_taken_for_the_reference(runs: Path, tmp_path: Path) -> None:
    """出发点换了权重，续训时却没有发现：参考模型不再是原来的。"""
    beginner(tmp_path, steps=4)
    config = settings(tmp_path, "numpy", run="orphan")
    trained(replace(config, stop_at=2))
    shutil.rmtree(tmp_path / "base")
    beginner(tmp_path, steps=6)
    with pytest.raises(CheckpointError, match="has changed"):
        continued(config)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"from_run": ""}, "--from is missing"),
        ({"method": "reinforce", "updates": 2}, "on-policy"),
        ({"method": "grpo", "updates": 2, "steps": 5}, "multiple of the 2 updates"),
        ({"group": 3}, "does not divide"),
        ({"method": "grpo", "group": 1}, "at least 2"),
        ({"lam": 0.5}, "--lam means nothing with --method grpo"),
        ({"method": "ppo", "scale": "none"}, "--scale means nothing with --method ppo"),
        ({"corpus": "x"}, "--corpus means nothing"),
        ({"temperature": 0.0}, "--temperature must be"),
        ({"method": "dpo"}, "--method must be one of"),
        ({"dropout": 0.1}, "--dropout must be 0"),
        ({"task": "sums"}, "no such task"),
        ({"template": "xml"}, "unknown chat template"),
    ],
)
def test_a_wrong_setting_is_not_named(runs: Path, changed: dict[str, Any], said: str) -> None:
    """弄错的设置没有被点名。"""
    with pytest.raises(UserError, match=said):
        trained(settings(runs, "numpy", run="wrong", **changed))
    assert not (runs / "wrong").exists()


def test_the_report_lacks_the_curves(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """一次运行的末尾没有写报告、pass@k 的网页与数字，或没有说出前后的成绩。"""
    from tinygrad_llm.rl import main

    config = settings(runs, "numpy", run="told")
    main(config)
    said = capsys.readouterr().out
    assert "pass@1: " in said
    told = json.loads((runs / "told" / "pass_at_k.json").read_text(encoding="utf-8"))
    assert [row["k"] for row in told["curves"][""]] == [1, 2]
    page = (runs / "told" / "pass_at_k.html").read_text(encoding="utf-8")
    assert "训练前" in page
    assert "pass@k" in page
    report = (runs / "told" / "report.html").read_text(encoding="utf-8")
    for name in ("reward", "kl", "entropy", "clip_fraction", "length", "advantage_std"):
        assert f">{name}<" in report, name


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_the_price_is_not_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """离出发点多远、忘了多少，没有写进日志、终端、网页与 JSON；出发时的 KL 不是 0，旧文本的数与别处量的不同。"""
    (tmp_path / "old.txt").write_text("Mia found a red ball near the river.\n" * 40, encoding="utf-8")
    watch = f"old={tmp_path / 'old.txt'}"
    config = settings(runs, engine, run=f"price-{engine}", watch=watch, val_fraction=0.25, lr=1e-2)
    __import__("tinygrad_llm.rl" if engine == "numpy" else "torch_llm.rl", fromlist=["main"]).main(config)
    said, folder = capsys.readouterr().out, runs / config.run
    exams = [record for record in read_metrics(folder) if "policy_kl" in record]
    assert exams[0]["policy_kl"] == exams[0]["policy_kl_se"] == 0
    assert exams[-1]["policy_kl"] > 1e-3
    assert exams[-1]["policy_kl_n"] == 8
    told = json.loads((folder / "pass_at_k.json").read_text(encoding="utf-8"))["drift"][""]
    old = told["bits_per_byte"]["old"]
    assert told["kl"] == exams[-1]["policy_kl"]
    assert (old["before"], old["after"]) == tuple(exams[i]["val_bits_per_byte_old"] for i in (0, -1))
    assert old["before"] != old["after"]
    assert "KL to the reference: " in said
    assert f"forgetting: old data {old['before']:.4f} to {old['after']:.4f} bits/byte" in said
    page = (folder / "pass_at_k.html").read_text(encoding="utf-8")
    assert f"{old['after']:.4f}" in page
    assert "policy_kl" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.full
@pytest.mark.parametrize("method", ["reinforce", "ppo", "grpo", "grpo-simple"])
def test_the_reward_does_not_rise(tmp_path: Path, method: str) -> None:
    """几十步之后，留出的题上的 pass@1 没有比出发时高（配对检验 p < 0.05）。"""
    from tinygrad_llm.common.rl.curves import pass_rows
    from torch_llm.rl import run_rl

    beginner(tmp_path, steps=300, dtype="float32", n_layer=2, n_embd=64)
    config = settings(
        tmp_path, "torch", method=method, dtype="float32", batch_size=64, group=8, steps=80, lr=1e-3, warmup_steps=4,
        eval_problems=64, eval_samples=8,
    )  # fmt: skip
    row = pass_rows(run_rl(config))[0]
    assert row["after"] > row["before"]
    assert row["p"] < 0.05
