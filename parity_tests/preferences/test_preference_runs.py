"""由偏好微调的整次运行：两个引擎相同，停下再续与不停相同，检查点别处用得上，坏的设置与数据说得明白。

流入：没有训练过的出发点与几十对偏好；流出：日志、权重、消息。
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.preferences.base import make_base
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.cli import parse
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.runlog import read_metrics, read_samples
from tinygrad_llm.common.session import load_weights
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.tuning.preference_config import (
    DpoConfig,
    RewardConfig,
    TorchDpoConfig,
    TorchRewardConfig,
)
from tinygrad_llm.preferences import dpo as numpy_dpo
from tinygrad_llm.preferences import reward as numpy_reward
from torch_llm.preferences import dpo as torch_dpo
from torch_llm.preferences import reward as torch_reward

DPO: dict[str, Callable[[Any], None]] = {"numpy": numpy_dpo, "torch": torch_dpo}
REWARD: dict[str, Callable[[Any], None]] = {"numpy": numpy_reward, "torch": torch_reward}
KINDS = ("dpo", "ipo", "kto", "orpo", "reward")
LINEAR = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
STARTS = {"dpo": math.log(2), "ipo": (1 / (2 * 0.5)) ** 2, "kto": 0.5, "reward": math.log(2)}


@pytest.fixture
def common(tmp_path: Path) -> dict[str, Any]:
    """出发点、数据与六步的设置。"""
    make_base(tmp_path / "base")
    items = [item for item in storyworld.preferences(lang="en").take(200) if len(item.prompt) < 70][:24]
    rows = [{"prompt": item.prompt, "chosen": item.chosen[:20], "rejected": item.rejected[:30]} for item in items]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "runs_dir": str(tmp_path), "from_run": "base", "data": str(path), "steps": 6, "batch_size": 4, "workers": 1,
        "dtype": "float64", "eval_every": 3, "sample_every": 0, "save_every": 3, "warmup_steps": 0, "lr": 0.01,
        "overflow": "crop", "watch": "none", "device": "cpu",
    }  # fmt: skip


def configured(kind: str, common: dict[str, Any], **changed: Any) -> Any:
    """这种方法的设置。"""
    if kind == "reward":
        return TorchRewardConfig(**{**common, **changed})
    return TorchDpoConfig(**{**common, "loss": kind, "kl_answers": 4, "answer_tokens": 6, **changed})


def trainers(kind: str) -> dict[str, Callable[[Any], None]]:
    """两个引擎的入口。"""
    return REWARD if kind == "reward" else DPO


def resumed(run: Any) -> Any:
    """接着这次运行走完：别的设置沿用它的 ``config.toml``，与命令行上的 ``--resume`` 相同。"""
    return replace(load_toml(run.folder / "config.toml", type(run)), resume=True)


def weights(folder: Path) -> dict[str, Any]:
    """末一个检查点里的权重。"""
    return dict(load_checkpoint(folder).model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_the_other_engine_differs(kind: str, common: dict[str, Any]) -> None:
    """同样的设置在两个引擎上跑完：每个数字与权重相同；从该有的损失开始，训练的对上差变大。"""
    runs = {name: configured(kind, common, run=name) for name in DPO}
    for name, run in runs.items():
        trainers(kind)[name](run)
    ours, theirs = (read_metrics(run.folder) for run in runs.values())
    assert [len(record) for record in ours] == [len(record) for record in theirs]
    own = {"tokens_per_s", "mfu", "elapsed_s", "eval_s", "memory_bytes"}
    for one, other in zip(ours, theirs, strict=True):
        shown = one.keys() - own
        assert shown == other.keys() - own
        assert {name: one[name] for name in shown} == pytest.approx({name: other[name] for name in shown}, rel=1e-8)
    found, other_found = (weights(run.folder) for run in runs.values())
    assert all(np.allclose(found[name], other_found[name], atol=1e-9) for name in found)
    if kind in STARTS:
        assert ours[0]["val_loss"] == pytest.approx(STARTS[kind], abs=1e-12)
    margins = [record["val_margin"] for record in ours if "val_margin" in record]
    assert kind == "orpo" or margins[-1] > margins[0]  # ORPO 六步里主要还在学好的回答本身


@pytest.mark.parametrize("kind", ["dpo", pytest.param("reward", marks=pytest.mark.full)])
def test_a_small_adapter_learns_something_else(kind: str, common: dict[str, Any]) -> None:
    """只学 LoRA 的支路（奖励模型加上头）：两个引擎相同，检查点里只有它们，DPO 仍从 ln 2 开始，续训逐位相同。"""
    runs = {name: configured(kind, common, run=name, lora_rank=2) for name in DPO}
    for name, run in runs.items():
        trainers(kind)[name](run)
    ours, theirs = (weights(run.folder) for run in runs.values())
    assert {name.rpartition(".")[2] for name in ours if "reward_head" not in name} == {"lora_A", "lora_B"}
    assert ("reward_head.weight" in ours) == (kind == "reward")
    assert all(np.allclose(ours[name], theirs[name], atol=1e-9) for name in ours)
    assert read_metrics(runs["torch"].folder)[0]["val_loss"] == pytest.approx(math.log(2), abs=1e-12)
    stopped = replace(runs["torch"], run="stopped", stop_at=3)
    trainers(kind)["torch"](stopped)
    trainers(kind)["torch"](resumed(stopped))
    halves = weights(stopped.folder)
    assert all(np.array_equal(theirs[name], halves[name]) for name in theirs)
    config, whole = load_weights(runs["torch"].folder)
    base = weights(Path(common["runs_dir"]) / "base")
    changed = {name for name in base if not np.array_equal(base[name], whole.model[name])}
    assert changed == {f"h.{i}.{layer}.weight" for i in range(config.n_layer) for layer in LINEAR}


@pytest.mark.parametrize("kind", ["dpo", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("kto", "reward"))])
@pytest.mark.parametrize("second", DPO)
def test_a_stopped_run_goes_on_differently(kind: str, second: str, common: dict[str, Any]) -> None:
    """做到第 3 步停下，由同一个引擎续完逐位相同，由另一个续完相同到舍入；参考取自出发点，不是停下时的权重。"""
    straight = configured(kind, common, run="straight")
    stopped = replace(straight, run="stopped", stop_at=3)
    trainers(kind)["torch"](straight)
    trainers(kind)["torch"](stopped)
    trainers(kind)[second](resumed(stopped))
    whole, halves = weights(straight.folder), weights(stopped.folder)
    same = np.array_equal if second == "torch" else lambda a, b: np.allclose(a, b, atol=1e-9)
    assert all(same(whole[name], halves[name]) for name in whole)


def test_the_policy_moves_away_from_itself(common: dict[str, Any]) -> None:
    """策略自己写的回答上的 KL：训练之前为 0，大步学过之后不是；配置关掉就不量。"""
    run = configured("dpo", common, lr=0.05, kl_answers=8)
    torch_dpo(run)
    found = [record for record in read_metrics(run.folder) if "policy_kl" in record]
    assert found[0]["policy_kl"] == pytest.approx(0, abs=1e-10)
    assert found[-1]["policy_kl"] > 0.01
    assert found[-1]["policy_kl_n"] == 2  # 留作评估的只有两对
    torch_dpo(configured("orpo", common, run="quiet", kl_answers=0))
    assert not any("policy_kl" in record for record in read_metrics(Path(common["runs_dir"]) / "quiet"))


def test_the_data_may_change_before_a_resume(common: dict[str, Any]) -> None:
    """续训时一对偏好的好坏对调了：不接着走。"""
    run = configured("dpo", common, stop_at=3)
    torch_dpo(run)
    path = Path(common["data"])
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(first)
    row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    path.write_text("\n".join([json.dumps(row), *rest]), encoding="utf-8")
    with pytest.raises(DataError, match="changed"):
        torch_dpo(resumed(run))


def test_a_tuned_run_is_not_a_run(common: dict[str, Any]) -> None:
    """由偏好练成的与奖励模型的检查点，都装得成一个完整的语言模型；奖励的头在检查点里。"""
    for kind in ("dpo", "reward"):
        run = configured(kind, common, run=kind)
        trainers(kind)["torch"](run)
        config, checkpoint = load_weights(run.folder)
        assert len(checkpoint.model) == len(weights(Path(common["runs_dir"]) / "base"))
        assert config.vocab_size == checkpoint.model["wte.weight"].shape[0]
    assert weights(run.folder)["reward_head.weight"].any()


def test_questions_are_not_asked(common: dict[str, Any], tmp_path: Path) -> None:
    """给了题，评估里就有精确匹配与题数，样本里就有问与答。"""
    path = tmp_path / "quiz.jsonl"
    path.write_text('{"instruction": "Say yes.", "output": "yes"}\n' * 3, encoding="utf-8")
    run = configured("dpo", common, quiz_data=str(path), quiz=2, answer_tokens=4, steps=2)
    torch_dpo(run)
    found = [record for record in read_metrics(run.folder) if "exact_match" in record]
    assert [record["exact_match_n"] for record in found] == [2] * len(found)
    assert len(found) >= 2
    assert "Say yes." in read_samples(run.folder)[-1][1]


def test_a_loss_has_the_defaults_of_another() -> None:
    """没有点名时，走的不是一轮，学习率与 β 不是这种损失的；点了名的被改掉了。"""
    words = ["--from", "base", "--data", "pairs.jsonl"]
    for kind, lr in ((DpoConfig, 1e-5), (TorchDpoConfig, 1e-5), (RewardConfig, 2e-4), (TorchRewardConfig, 2e-4)):
        found = parse(kind, words, "dpo")
        assert (found.epochs, found.lr) == (1.0, lr)
        found = parse(kind, [*words, "--lora-rank", "4", "--steps", "7"], "dpo")
        assert (found.epochs, found.steps) == (0.0, 7)
        assert found.lr == pytest.approx(10 * lr)
        assert parse(kind, [*words, "--lora-rank", "4", "--lr", "0.1"], "dpo").lr == 0.1
    betas = {loss: parse(DpoConfig, [*words, "--loss", loss], "dpo").beta_or_default for loss in KINDS[:4]}
    assert betas == {"dpo": 0.1, "ipo": 0.5, "kto": 0.1, "orpo": 0.1}
    assert parse(DpoConfig, [*words, "--loss", "ipo", "--beta", "0.2"], "dpo").beta_or_default == 0.2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 0.0}, "--beta must be"),
        ({"loss": "ppo"}, "--loss must be one of"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "belongs to --loss dpo"),
        ({"desirable_weight": 2.0}, "belongs to --loss kto"),
        ({"loss": "kto", "accumulate": 2}, "--accumulate 1"),
        ({"reasons": ("slow",)}, "--reasons must be among"),
        ({"dry_run": True}, "--dry-run knows only"),
        ({"compile": True}, "--compile knows only"),
        ({"parallel": "tp"}, "--parallel knows only"),
        ({"parallel": "ddp"}, "needs at least 2 processes"),
        ({"data": ""}, "--data is missing"),
        ({"data": "storyworld:stories:5"}, "cannot read"),
        ({"data": "nowhere.jsonl"}, "no such data file"),
    ],
)
def test_a_wrong_setting_is_not_refused(changed: dict[str, Any], message: str, common: dict[str, Any]) -> None:
    """不对的设置与数据，一句话说明白。"""
    with pytest.raises(UserError, match=message):
        torch_dpo(TorchDpoConfig(**{**common, **changed}))
