"""两边各算一遍：同样的权重、同样的 token，得到一对对可以比较的数组。

流入：配置、那边的模型与我们的权重；流出：``(名字, 哪个引擎, 我们的, 那边的)``。用它的是测试与账本。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

import tinygrad_llm as tg
from parity_tests.transformers.exact import Float64
from parity_tests.transformers.families import from_theirs
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.weights.names import Family
from tinygrad_llm.gpt import GPT as OurGPT  # noqa: N811
from tinygrad_llm.ops.op import Array
from torch_llm.gpt import GPT as TorchGPT  # noqa: N811

MODELS: dict[Any, Any] = {tg: OurGPT, torch: TorchGPT}


def our_model(m: Any, config: GPTConfig, weights: Mapping[str, Array]) -> Any:
    """我们的 GPT，float64，装着 ``weights``。"""
    model = MODELS[m](config).double().eval()
    model.load_state_dict({name: m.tensor(value) for name, value in weights.items()})
    return model


def batch(config: GPTConfig, seed: int) -> tuple[Array, Array]:
    """随机的 token 与目标，``(2, T)``；目标约五分之一不计。"""
    rng = np.random.default_rng(seed)
    shape = (2, int(rng.integers(2, config.context + 1)))
    ids = rng.integers(0, config.vocab_size, shape)
    return ids, np.where(rng.random(shape) < 0.8, rng.integers(0, config.vocab_size, shape), -100)


def pairs(
    config: GPTConfig, family: Family, theirs: Any, weights: Mapping[str, Array], seed: int
) -> Iterator[tuple[str, Any, Any, Any]]:
    """logits、损失与每个参数的梯度，两个引擎各一份。"""
    ids, targets = batch(config, seed)
    with Float64():
        logits = theirs(input_ids=torch.tensor(ids)).logits
    flat, wanted = logits.reshape(-1, config.vocab_size), torch.tensor(targets).reshape(-1)
    loss = torch.nn.functional.cross_entropy(flat, wanted, ignore_index=-100, reduction="sum")
    theirs.zero_grad()
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
    expected = from_theirs(gradients, config, family)
    for m in MODELS:
        ours = our_model(m, config, weights)
        own = ours.loss(m.tensor(ids), m.tensor(targets))
        own.backward()
        yield "logits", m, ours(m.tensor(ids)), logits
        yield "loss", m, own, loss
        for name, p in ours.named_parameters():
            yield f"gradient of {name}", m, p.grad, expected[name]
