"""权重经 NumPy 从一个引擎搬到另一个：搬完之后，logits、损失、每个梯度与三步优化都相同。

流入：程序里的模型类；流出：第一处不同。初始权重本身是否相同由 ``test_programs.py`` 管，这里两边的种子故意不同。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.programs.engines import first_difference, load


def _llama(program: Any) -> tuple[Any, int]:
    return program.Transformer(program.ModelArgs()), 37


def _mini(program: Any) -> tuple[Any, int]:
    config = program.GPT.get_default_config()
    config.merge_from_dict({"vocab_size": 19, "block_size": 8, "embd_pdrop": 0, "resid_pdrop": 0, "attn_pdrop": 0})
    return program.GPT(config), 19


MODELS: dict[str, Callable[[Any], tuple[Any, int]]] = {"llama": _llama, "mini": _mini}


def _train(m: Any, model: Any, vocab: int) -> dict[str, Any]:
    """三步 AdamW；两个模型的 ``forward`` 返回值不同，都从 logits 算损失。"""
    rng = np.random.default_rng(1)
    optimizer = m.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    found: dict[str, Any] = {"losses": [], "grads": []}
    for _ in range(3):
        ids = m.tensor(rng.integers(0, vocab, (3, 9)))
        out = model(ids[:, :-1])
        logits = out[0] if isinstance(out, tuple) else out
        loss = m.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        found["grads"].append({name: p.grad.clone() for name, p in model.named_parameters()})
        optimizer.step()
        found["losses"].append(loss.item())
    return {**found, "weights": model.state_dict()}


@pytest.fixture
def _in_float64() -> Iterator[None]:
    """连旋转位置的表也用 float64 算：单精度的 cos 两边相差一个 ulp。"""
    for m in (tg, torch):
        m.set_default_dtype(m.float64)
    yield
    for m in (tg, torch):
        m.set_default_dtype(m.float32)


def _built(m: Any, name: str, seed: int) -> tuple[Any, int]:
    m.manual_seed(seed)
    return MODELS[name](load(name, m))


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.parametrize("direction", ["from torch", "to torch"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_carried_through_numpy_train_alike(name: str, direction: str) -> None:
    """搬过来的模型与原来的不是同一个：漏了一个名字，或 dtype、排布变了。"""
    models = {m: _built(m, name, seed) for m, seed in ((tg, 3), (torch, 4))}
    source, target = (torch, tg) if direction == "from torch" else (tg, torch)
    arrays = {key: value.detach().cpu().numpy().copy() for key, value in models[source][0].state_dict().items()}
    models[target][0].load_state_dict({key: target.from_numpy(array) for key, array in arrays.items()})
    results = {m: _train(m, *found) for m, found in models.items()}
    for key, theirs in results[torch].items():
        difference = first_difference(results[tg][key], theirs, 1e-9, key)
        assert difference is None, difference
