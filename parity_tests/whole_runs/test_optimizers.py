"""``--optimizer``：三种更新公式在两个引擎上走出同一条路；分段、分进程的一步就是优化器自己的 ``step``。"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import Rule, state_shapes, update_rules
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

MODEL = GPTConfig(vocab_size=40, context=12, n_layer=2, n_head=2, n_embd=16)
SETTINGS = TrainConfig(batch_size=6, accumulate=2, dtype="float64", lr=1e-2, weight_decay=0.1, grad_clip=0.5)
RULES: tuple[Rule, ...] = ("adamw", "muon", "sgd")
_LIMIT = {"adamw": 1e-11, "muon": 0.02, "sgd": 1e-12}
"""两次训练的状态至多差多少，以数组里最大的数为单位。Muon 的正交化在 bfloat16 里做（8 位有效数字），加法的次序不同，
就可能舍入到另一边；AdamW 里接近 0 的梯度除以接近 0 的分母，把末位的差别放大了。"""
_CURVE = {"adamw": 1e-12, "muon": 1e-5, "sgd": 1e-12}


def _batch(step: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(step)
    x, y = rng.integers(MODEL.vocab_size, size=(2, SETTINGS.batch_size, MODEL.context))
    y[rng.random(y.shape) < 0.2] = -100
    return x, y


def _apart(found: Any, expected: Any) -> float:
    """最大的差，以数组里最大的数为单位。"""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300))


def _numpy(rule: Rule, workers: int = 1) -> NumpyEngine:
    return NumpyEngine(MODEL, replace(SETTINGS, optimizer=rule, workers=workers))


def _train(engine: Any, steps: int = 5) -> tuple[list[float], dict[str, Any]]:
    curve = [engine.train_step(step, _batch(step), 1e-2 / (step + 1)).loss for step in range(steps)]
    weights, states, updates = engine.export()
    assert updates == steps
    return curve, {name: np.array(array) for name, array in {**weights, **states}.items()}


@pytest.mark.parametrize("rule", RULES)
def test_workers_divide_the_update_otherwise(rule: Rule) -> None:
    """几个进程分着更新，有一段没有人管、管了两遍，或有一个矩阵没有人管。"""
    with closing(_numpy(rule)) as one, closing(_numpy(rule, 2)) as two:
        (curve, states), (other, others) = _train(one), _train(two)
    np.testing.assert_allclose(other, curve, rtol=_CURVE[rule])
    for name, array in states.items():
        assert _apart(others[name], array) < _LIMIT[rule], name


@pytest.mark.parametrize("rule", RULES)
def test_update_is_not_the_optimizer_s_own_step(rule: Rule) -> None:
    """平坦内存上的更新与优化器的 ``step`` 不同：衰减、裁剪、动量或步数有一样没对上。"""
    with closing(_numpy(rule)) as flat, closing(_numpy(rule)) as plain:
        _train(flat, 3)
        for step in range(3):
            x, y = _batch(step)
            plain.model.zero_grad()
            (plain.model.loss(tg.from_numpy(x), tg.from_numpy(y)) / int((y != -100).sum())).backward()
            tg.nn.utils.clip_grad_norm_(plain.model.parameters(), SETTINGS.grad_clip)
            for optimizer in plain.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = 1e-2 / (step + 1)
                optimizer.step()
        for (name, p), (_, q) in zip(flat.model.named_parameters(), plain.model.named_parameters(), strict=True):
            assert _apart(p.array, q.array) < _LIMIT[rule], name


@pytest.mark.parametrize("rule", RULES)
def test_engines_part(rule: Rule) -> None:
    """两个引擎用同一个优化器走出不同的路，或状态的名字、形状不同。"""
    torch_engine = TorchEngine(MODEL, TorchConfig.of(replace(SETTINGS, optimizer=rule), "cpu"))
    with closing(_numpy(rule)) as numpy_engine:
        (curve, states), (other, others) = _train(numpy_engine), _train(torch_engine)
    assert {n: a.shape for n, a in states.items()} == {n: a.shape for n, a in others.items()}
    assert set(state_shapes(parameter_shapes(MODEL), rule)) == set(states) - set(parameter_shapes(MODEL))
    np.testing.assert_allclose(other, curve, rtol=_CURVE[rule])
    for name, array in states.items():
        assert _apart(others[name], array) < _LIMIT[rule], name


@pytest.mark.parametrize("rule", RULES)
def test_handed_over_state_is_forgotten(rule: Rule) -> None:
    """一个引擎接着另一个的参数与状态走，第一步就走偏：状态没有装回去。"""
    with closing(_numpy(rule)) as straight, closing(_numpy(rule)) as resumed:
        _train(straight, 3)
        taken = TorchEngine(MODEL, TorchConfig.of(replace(SETTINGS, optimizer=rule), "cpu"))
        weights, states, updates = straight.export()
        taken.restore(
            {n: np.array(a) for n, a in weights.items()}, {n: np.array(a) for n, a in states.items()}, updates
        )
        resumed.restore(*taken.export())
        for one in (straight, taken, resumed):
            one.train_step(3, _batch(3), 5e-3)
        (expected, _, _), (back, _, count), (gone, _, _) = straight.export(), resumed.export(), taken.export()
        assert count == 4
        for name, array in expected.items():
            assert np.array_equal(back[name], array), name
            assert _apart(gone[name], array) < _LIMIT[rule], name


def test_muon_takes_embeddings_or_vectors() -> None:
    """Muon 管了嵌入、输出层或向量，或漏了层里的矩阵。"""
    rules = update_rules(parameter_shapes(replace(MODEL, tie_head=False)), "muon")
    assert {name.rsplit(".", 1)[0] for name, rule in rules.items() if rule == "muon"} == {
        f"h.{i}.{part}" for i in range(2) for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert {rules[name] for name in ("wte.weight", "wpe.weight", "lm_head.weight", "ln_f.weight")} == {"adamw"}
