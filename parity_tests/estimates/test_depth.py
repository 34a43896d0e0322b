"""``--depth`` 与 ``--tier``：一个旋钮定出的设置，点名的 flag 仍然算数。"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, Place
from tinygrad_llm.common import tiers
from tinygrad_llm.common.cli import parse
from tinygrad_llm.common.config import parameter_count, preset
from tinygrad_llm.common.depth import depth_config, depth_lines, settings_for_depth
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tiers import TIERS, micro_batches, settings_for_tier
from tinygrad_llm.common.toml import dump_toml, load_toml
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig


def _values(depth: int, **given: Any) -> dict[str, Any]:
    return {one.name: one.value for one in settings_for_depth(depth, given)}


def test_depth_twelve_is_not_gpt2_small() -> None:
    """12 层的宽度、头数不是 GPT-2 small 的，或参数差得太远。"""
    config = depth_config(12)
    assert (config.n_layer, config.n_embd, config.n_head, config.context) == (12, 768, 12, 1024)
    gpt2 = preset("gpt2", vocab_size=1024, context=1)
    assert parameter_count(config) == pytest.approx(parameter_count(gpt2), rel=0.01)


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 24, 40])
def test_formulas_by_hand_give_other_numbers(depth: int) -> None:
    """定出的步数、批、学习率、衰减与照论文的算式手算的不同。"""
    found = _values(depth)
    layers = parameter_count(depth_config(depth)) - 1024 * 64 * depth - 64 * depth  # 不数嵌入与末尾的归一化
    assert found["N"] == layers
    compute = 6 * layers * 20 * layers
    batch = found["batch_size"] * found["context"]
    assert math.log2(batch / (0.2920 * compute**0.3271)) == pytest.approx(0, abs=0.5 + 1e-9)
    assert 20 * layers <= found["steps"] * batch < 20 * layers + batch
    expected = 0.3118 * compute**-0.125 * math.sqrt(batch / (0.2920 * compute**0.3271))
    assert found["lr"] == pytest.approx(expected, rel=5e-3)
    timescale = 1 / (found["lr"] * found["weight_decay"] * found["steps"])
    assert timescale == pytest.approx(1.08 * (found["D"] / layers) ** -0.527, rel=1e-2)
    TrainConfig(**{name: value for name, value in found.items() if name not in ("N", "D")})


def test_given_flags_do_not_propagate() -> None:
    """点名了批大小或上下文，后面的算式没有跟着变。"""
    plain, halved = _values(4), _values(4, batch_size=32)
    assert halved["batch_size"] == 32
    assert halved["steps"] == pytest.approx(plain["steps"] * plain["batch_size"] / 32, rel=1e-3)
    assert halved["lr"] == pytest.approx(plain["lr"] / math.sqrt(plain["batch_size"] / 32), rel=1e-2)
    assert _values(4, context=128)["batch_size"] == 2 * plain["batch_size"]
    assert _values(4, n_embd=128)["N"] < plain["N"]


@pytest.mark.parametrize("kind", [TrainConfig, TorchConfig])
def test_flag_loses_against_the_dial(kind: type[TrainConfig], tmp_path: Path) -> None:
    """命令行或配置文件点名的，被旋钮改掉了；或旋钮没有起作用。"""
    found = parse(kind, ["--depth", "3", "--lr=0.002", "--steps", "50"], "x")
    assert (found.preset, found.lr, found.steps, found.depth) == ("d3", 0.002, 50, 3)
    assert found.batch_size == _values(3)["batch_size"]
    file = tmp_path / "c.toml"
    file.write_text("depth = 3\nbatch_size = 8\n", encoding="utf-8")
    found = parse(kind, ["--config", str(file), "--accumulate", "4"], "x")
    assert (found.batch_size, found.accumulate, found.preset) == (8, 4, "d3")
    assert parse(kind, ["--depth", "3", "--preset", "toy"], "x").preset == "toy"
    with pytest.raises(UserError, match="--depth"):
        parse(kind, ["--depth", "0"], "x")


def test_saved_configuration_is_dialled_again(tmp_path: Path) -> None:
    """写进运行文件夹的配置再读回来，变了。"""
    before = parse(TrainConfig, ["--depth", "2", "--context", "64"], "x")
    file = tmp_path / "config.toml"
    file.write_text(dump_toml(before), encoding="utf-8")
    assert load_toml(file, TrainConfig) == parse(TrainConfig, ["--config", str(file)], "x") == before


def test_formulas_are_printed_without_numbers() -> None:
    """印出来的算式没有代入数，或没有说明哪一项是点名的。"""
    config = parse(TrainConfig, ["--depth", "4", "--lr", "0.001", "--n-embd", "128", "--n-head", "2"], "x")
    lines = depth_lines(4, vars(config))
    assert any("--lr" in line and "0.001" in line and "given" in line for line in lines)
    assert sum("given" in line for line in lines) == 1
    assert any("--steps" in line and f"{config.steps}" in line for line in lines)
    assert config.dials == lines
    assert TrainConfig().dials == []


@pytest.mark.parametrize("engine", ENGINES)
def test_dial_does_not_train(engine: str, place: Place) -> None:
    """``--depth`` 的运行跑不起来、续不上，或能中途换深度。"""
    flags = {"preset": None, "n_layer": None, "n_embd": None, "n_head": None, "batch_size": None, "lr": None}
    ended = place.train(engine, "a", depth=1, steps=4, stop_at=2, workers=1, **flags)
    assert ended.code == 0, ended.err
    assert "--weight-decay" in ended.out
    assert place.resume(engine, "a", depth=2).code == 2
    assert place.resume(engine, "a", stop_at=4).code == 0
    assert len(place.curve("a")) == 4


@pytest.mark.parametrize("name", TIERS)
def test_tier_breaks_its_own_limit(name: str) -> None:
    """档位定出的设置不合法、微批超过了它许可的 token，或点名的被改掉。"""
    tier = TIERS[name]
    made = settings_for_tier(name, {})
    config = TorchConfig(**made, tier=name)  # type: ignore[arg-type]
    micro = config.batch_size // config.accumulate * (config.context or 0)
    assert micro <= tier.tokens * tier.devices
    assert config.depth == tier.depth
    assert all(line in "\n".join(config.dials) for line in (f"--tier {name}", f"--depth {tier.depth}"))
    assert "precision" not in settings_for_tier(name, {"precision": "float32"})
    assert "depth" not in settings_for_tier(name, {"preset": "toy"})
    assert settings_for_tier(name, {"depth": 1})["preset"] == "d1"


def test_micro_batch_is_not_the_largest_that_fits() -> None:
    """切得比必要的更碎，或不是约数。"""
    tier = TIERS["cpu"]
    assert [micro_batches(rows, 1024, tier) for rows in (1, 8, 12, 16, 64)] == [1, 1, 2, 2, 8]
    assert micro_batches(2, 1 << 20, tier) == 2


@pytest.mark.parametrize(
    ("cards", "system", "machine", "expected"),
    [
        (["NVIDIA H100 80GB HBM3"] * 8, "Linux", "x86_64", "8xh100"),
        (["NVIDIA GeForce RTX 4090"], "Linux", "x86_64", "gpu"),
        ([], "Darwin", "arm64", "laptop"),
        ([], "Linux", "x86_64", "cpu"),
    ],
)
def test_auto_picks_another_tier(
    cards: list[str], system: str, machine: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--tier auto`` 认错了机器，或没有说选了哪一档。"""
    monkeypatch.setattr(tiers, "nvidia_cards", lambda: cards)
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert tiers.pick_tier("auto") == expected
    assert f"--tier {expected}" in tiers.advice()
    assert f"--tier {expected} (picked" in parse(TorchConfig, ["--tier", "auto"], "x").dials[0]


def test_unknown_tier_ends_in_a_traceback(place: Place) -> None:
    """没有的档位没有报成用户的错。"""
    ended = place.train("torch", "a", tier="tpu")
    assert (ended.code, place.runs.exists()) == (2, False)
    assert "--tier" in ended.err
