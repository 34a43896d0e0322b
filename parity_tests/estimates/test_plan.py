"""``python -m torch_llm plan``：算式与手算的一致，切开与不切开之间守恒。"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tinygrad_llm.common.cli import main
from tinygrad_llm.common.config import parameter_count, preset
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.plan import ACCELERATORS, Plan, PlanConfig, activation_bytes, plans_of
from torch_llm.__main__ import VERBS


def _one(**settings: Any) -> Plan:
    (found,) = plans_of(PlanConfig(**settings))
    return found


def _values(lines: Any) -> dict[str, float]:
    return {line.name: line.value for line in lines}


def test_memory_of_a_rank_differs_from_the_hand_s() -> None:
    """每个 rank 的权重、梯度、矩与手算的不同，或切开之后加起来不是全部。"""
    size = parameter_count(preset("d12", vocab_size=50304))
    for parallel, devices, tp, shards in (("ddp", 8, 1, 1), ("fsdp", 8, 1, 8), ("tp", 8, 4, 4), ("fsdp+tp", 64, 4, 64)):
        found = _values(_one(preset="d12", devices=(devices,), parallel=parallel, tp=tp).memory)
        for name, each in (("weights", 4), ("gradients", 4), ("moments", 8)):
            assert found[name] == each * size / shards


def test_bytes_moved_differ_from_the_ring_s() -> None:
    """搬的字节不是环形集合通信的。"""
    size = parameter_count(preset("d12", vocab_size=50304))
    shared = {"preset": "d12", "devices": (8,), "batch_tokens": 8 * 16384 * 2}
    assert _values(_one(**shared, parallel="ddp").moved)["gradients"] == 2 * 7 / 8 * 4 * size
    found = _values(_one(**shared, parallel="fsdp").moved)
    assert found["gradients"] == 2 * 7 / 8 * 4 * size  # 两个微批
    assert found["weights gathered"] == 2 * 2 * 7 / 8 * 2 * size  # 两个微批，前向与反向
    found = _values(_one(**shared, parallel="tp", tp=4).moved)
    assert found["activations"] == 8 * 4 * 12 * 2 * 3 / 4 * 2 * 768 * 16384  # 两组，各八个微批
    assert sum(_values(_one(**{**shared, "devices": (1,)}).moved).values()) == 0


def test_one_device_communicates() -> None:
    """一张卡的效率不是 1，时间不是运算量除以峰值与利用率。"""
    found = _one(preset="d12", devices=(1,), tokens=1e9, batch_tokens=1 << 18, mfu=0.5)
    assert found.efficiency == 1
    steps = -(-(10**9) // (1 << 18))
    assert found.total == pytest.approx(found.step * steps)
    assert found.tokens_per_s == pytest.approx((1 << 18) / found.step)
    assert found.step > 6 * 85e6 * (1 << 18) / (ACCELERATORS["h100"].flops * 0.5)


def test_more_devices_are_slower_or_more_efficient() -> None:
    """卡越多效率反而越高，或放得下的越少；跨了机器却没有变慢。"""
    plans = plans_of(PlanConfig(preset="d24"))
    assert [one.devices for one in plans] == [1, 8, 64, 512]
    assert all(a.efficiency >= b.efficiency for a, b in itertools.pairwise(plans))
    assert all(a.peak >= b.peak for a, b in itertools.pairwise(plans))
    assert any("less than one sequence" in note for note in plans[-1].notes)


def test_overflow_is_called_a_fit() -> None:
    """放不下却说放得下，或重算没有省内存。"""
    big = _one(preset="d40", devices=(1,), kind="rtx4090")
    assert not big.fits
    assert any("does not fit" in note for note in big.notes)
    config = preset("d12")
    assert activation_bytes(config, 1, recompute=True)[0] < activation_bytes(config, 1, recompute=False)[0] / 5
    assert activation_bytes(config, 4, recompute=False)[0] < activation_bytes(config, 1, recompute=False)[0]


@pytest.mark.parametrize(
    "wanted", [{"kind": "tpu"}, {"devices": (0,)}, {"mfu": 2.0}, {"tokens": float("nan")}, {"parallel": "magic"}]
)
def test_nonsense_is_planned(wanted: dict[str, Any]) -> None:
    """不合理的设置没有被拒绝。"""
    with pytest.raises(UserError):
        PlanConfig(**wanted)


def test_split_heads_are_planned() -> None:
    """切不开的头也照样算了。"""
    with pytest.raises(UserError, match="cannot split"):
        _one(preset="gpt2", devices=(8,), parallel="tp", tp=8)


def test_command_prints_no_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """命令没有印出算式，或 JSON 与印出来的不同。"""
    answer = tmp_path / "plan.json"
    argv = ["plan", "--preset", "d12", "--devices", "1", "8", "--json", str(answer)]
    assert main("python -m torch_llm", "", VERBS, argv) == 0
    out = capsys.readouterr().out
    found = json.loads(answer.read_bytes())
    assert [one["devices"] for one in found["plans"]] == [1, 8]
    for one in found["plans"]:
        assert all(line["formula"] in out for kind in ("memory", "moved", "times") for line in one[kind].values())
    assert "source:" in out
