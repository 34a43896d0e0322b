"""几个种子合起来比较，与钻奖励空子的演示：写得出页面，做完的不重做，结论站得住。

流入：几步的小运行（quick 档），照缺省走完的演示（full 档）；流出：页面、数字与终端上的几行。
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from parity_tests.reinforcement.common import beginner, settings
from tinygrad_llm import rl
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.rl.curves import Outcome, described, pooled
from tinygrad_llm.common.rl.hacking import WAYS, HackingConfig
from tinygrad_llm.common.rl.seeds import SeedsConfig
from tinygrad_llm.common.runlog import read_metrics


def test_the_seeds_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """两个种子没有各训练一次、合起来比较；再跑一次又重做；换了设置却照旧接着走。"""
    beginner(tmp_path)
    one = settings(tmp_path, "numpy", run="pair", steps=2)
    config = SeedsConfig(**{field.name: getattr(one, field.name) for field in fields(one)}, seeds=2)
    rl.seeds(config)
    assert "all seeds: pass@1: " in capsys.readouterr().out
    told = json.loads((tmp_path / "pair" / "pass_at_k.json").read_text(encoding="utf-8"))
    assert list(told["curves"]) == ["全部种子", "seed 0", "seed 1"]
    logs = [read_metrics(tmp_path / f"pair-seed{seed}") for seed in range(2)]
    assert logs[0][1]["entropy"] != logs[1][1]["entropy"]
    rl.seeds(config)
    assert [read_metrics(tmp_path / f"pair-seed{seed}") for seed in range(2)] == logs
    with pytest.raises(UserError, match="other settings: lr"):
        rl.seeds(replace(config, lr=5e-4))


def test_pooled_seeds_lose_their_pairs() -> None:
    """合起来之后，每个种子的每道题不再前后配成一对：差的平均与 p 值不对。"""
    import numpy as np

    ones = [Outcome(np.array([0, 1]), np.array([2, 1]), 2), Outcome(np.array([0, 0]), np.array([1, 2]), 2)]
    every = pooled(ones)
    assert (every.before.tolist(), every.after.tolist()) == ([0, 1, 0, 0], [2, 1, 1, 2])
    assert described(every)[0].startswith("pass@1: 12.5% -> 75.0% (+62.5%")
    assert described(every)[0].endswith("p = 0.25, n = 4)")  # 三个不为 0 的差，都是正的：2 · (1/2)³


def test_the_demonstration_writes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """演示没有写出曲线、三种做法的成绩与末尾的回答；再跑一次又重做。"""
    config = HackingConfig(runs_dir=str(tmp_path), base_steps=2, steps=2, workers=1)
    rl.hacking(config)
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in WAYS)
    page = (tmp_path / "hacking" / "hacking.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 4
    told = json.loads((tmp_path / "hacking" / "hacking.json").read_text(encoding="utf-8"))
    assert list(told) == list(WAYS)
    before = (tmp_path / "hacking" / "verified" / "metrics.jsonl").stat().st_mtime_ns
    rl.hacking(config)
    assert (tmp_path / "hacking" / "verified" / "metrics.jsonl").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="beginner"):
        rl.hacking(replace(config, base_steps=4))


@pytest.mark.full
def test_the_proxy_is_not_exploited_or_not_remedied(tmp_path: Path) -> None:
    """有空子的奖励升了，答对的却没有显著地降；或者两种补救之下，答对的没有升。"""
    from torch_llm.rl import hacking

    hacking(HackingConfig(runs_dir=str(tmp_path), workers=1))
    told: dict[str, Any] = json.loads((tmp_path / "hacking" / "hacking.json").read_text(encoding="utf-8"))
    proxy = told["proxy"]
    assert proxy["curve"][-1]["val_contains"] > proxy["curve"][0]["val_contains"] + 0.1
    assert proxy["exam"]["difference_interval"][1] < 0
    for name in ("proxy+kl", "verified"):
        assert told[name]["exam"]["difference_interval"][0] > 0, name
