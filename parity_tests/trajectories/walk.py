"""两个引擎并排训练同一个小 GPT，各走各的，每一步之后比较损失、每个参数与优化器的每个状态。

流入：模型配置、优化器的名字、步数；流出：每一步最大的相对差，与它出在哪个数组上。
相对差以数组为单位：最大的绝对差除以那个数组里最大的数。逐个元素的相对差没有意义：梯度恰好抵消的元素只剩舍入误差。
整个数组都恰好抵消的（注意力还看不出前后之别时 q 的缩放）比同类数组小一百万倍以上，以同类里最大的数的百万分之一计。
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

import tinygrad_llm as tg
from parity_tests.contract.cases import weights
from parity_tests.tolerances import as_array
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.update_rules import decay_groups, is_layer_matrix
from tinygrad_llm.gpt import GPT as OurGPT  # noqa: N811
from tinygrad_llm.ops.op import Array
from torch_llm.gpt import GPT as TorchGPT  # noqa: N811

MODELS: dict[Any, Any] = {tg: OurGPT, torch: TorchGPT}
BOUND = 1e-8
"""一百步之内处处不得超过的相对差。"""
CLIP = 1.0
FLOOR = 1e-6
_SHARE_VALID = 0.8


class Gap(NamedTuple):
    """某一步之后最大的一处差。

    Attributes:
        step: 第几步，从 1 起。
        what: 哪个数组，如 ``"exp_avg of h.0.attn.c_attn.weight"``。
        error: 相对差。
    """

    step: int
    what: str
    error: float


@dataclasses.dataclass(frozen=True)
class Side:
    """一个引擎的这一边。

    Attributes:
        m: ``tinygrad_llm`` 或 ``torch``。
        model: 模型，float64。
        optimizers: 管着全部参数的各个优化器。
    """

    m: Any
    model: Any
    optimizers: list[Any]

    def step(self, ids: Array, targets: Array) -> float:
        """前向、反向、裁剪、更新；返回更新之前的损失。"""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.model.loss(self.m.tensor(ids), self.m.tensor(targets)) / int((targets != IGNORE_INDEX).sum())
        loss.backward()
        self.m.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for optimizer in self.optimizers:
            optimizer.step()
        return float(loss.item())

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """每个参数，与优化器给它留下的每个状态。"""
        for name, p in self.model.named_parameters():
            yield name, as_array(p)
            for optimizer in self.optimizers:
                for key, value in sorted(optimizer.state.get(p, {}).items()):
                    if value is not None:
                        yield f"{key} of {name}", np.asarray(as_array(value), dtype=np.float64)


Make = Callable[[Any, dict[str, Any]], list[Any]]


def _adamw(**options: Any) -> Make:
    return lambda optim, named: [optim.AdamW(decay_groups(named.values(), 0.1), lr=3e-3, **options)]


def _sgd(**options: Any) -> Make:
    return lambda optim, named: [optim.SGD(decay_groups(named.values(), 0.1), lr=0.01, **options)]


def _muon(**options: Any) -> Make:
    def make(optim: Any, named: dict[str, Any]) -> list[Any]:
        matrices = [p for name, p in named.items() if is_layer_matrix(name, tuple(p.shape))]
        rest = [p for name, p in named.items() if not is_layer_matrix(name, tuple(p.shape))]
        return [optim.Muon(matrices, lr=3e-3, **options), optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.95))]

    return make


RULES: dict[str, Make] = {
    "AdamW": _adamw(betas=(0.9, 0.95)),
    "AdamW amsgrad": _adamw(amsgrad=True),
    "SGD": _sgd(),
    "SGD momentum": _sgd(momentum=0.9, dampening=0.1),
    "SGD Nesterov": _sgd(momentum=0.9, nesterov=True),
    "Muon": _muon(adjust_lr_fn="match_rms_adamw"),
    "Muon without Nesterov": _muon(nesterov=False),
}
"""优化器的名字 → 造出管全部参数的各个优化器；Muon 只管各层里的矩阵，其余归 AdamW。"""


def sides(config: GPTConfig, make: Make, ours: Make | None = None) -> list[Side]:
    """同一组权重上的两边：``tinygrad_llm`` 在前。

    Args:
        config: 模型配置。
        make: 造优化器。
        ours: ``tinygrad_llm`` 一边另用的造法；只有故意放错时才给。

    Returns:
        两边。
    """
    found = []
    for m, kind in MODELS.items():
        model = kind(config).double()
        model.load_state_dict({name: m.tensor(value) for name, value in weights(config, "float64").items()})
        chosen = ours if ours is not None and m is tg else make
        found.append(Side(m, model, chosen(m.optim, dict(model.named_parameters()))))
    return found


def batches(config: GPTConfig, steps: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """一批批可学的数据：下一个 token 由这一个定出；约五分之一的目标不计，但至少留一个。"""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = rng.integers(0, config.vocab_size, (2, int(rng.integers(2, config.context + 1))))
        targets = np.where(rng.random(ids.shape) < _SHARE_VALID, (3 * ids + 1) % config.vocab_size, IGNORE_INDEX)
        targets[0, 0] = (3 * ids[0, 0] + 1) % config.vocab_size
        yield ids, targets


def walk(pair: Iterable[Side], config: GPTConfig, steps: int, seed: int) -> Iterator[Gap]:
    """一步一步地走，每走一步给出最大的一处差。

    Args:
        pair: 两边；后一边是基准。
        config: 模型配置。
        steps: 走几步。
        seed: 数据的种子。

    Yields:
        这一步的损失、参数与状态中最大的一处差。

    Raises:
        AssertionError: 两边的数组名字或形状不同。
    """
    ours, theirs = pair
    for step, (ids, targets) in enumerate(batches(config, steps, seed), 1):
        losses = [np.array(side.step(ids, targets)) for side in (ours, theirs)]
        found = [{"loss": loss, **dict(side.arrays())} for side, loss in zip((ours, theirs), losses, strict=True)]
        yield max(_gaps(step, *found), key=lambda gap: gap.error)


def _gaps(step: int, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> Iterator[Gap]:
    assert list(ours) == list(theirs), f"step {step}: the engines keep different arrays"
    largest: dict[str, float] = {}
    for what, expected in theirs.items():
        largest[_kind(what)] = max(largest.get(_kind(what), 0.0), float(np.abs(expected).max(initial=0.0)))
    for what, expected in theirs.items():
        assert ours[what].shape == expected.shape, f"step {step}: {what}"
        yield Gap(step, what, apart(ours[what], expected, FLOOR * largest[_kind(what)]))


def _kind(what: str) -> str:
    """``"exp_avg of …"`` 是一类，各个参数是一类，损失自成一类。"""
    return what.partition(" of ")[0] if " of " in what else "loss" if what == "loss" else "parameter"


def apart(ours: Array, theirs: Array, floor: float = 0.0) -> float:
    """最大的绝对差除以 ``theirs`` 里最大的数，后者至少算作 ``floor``；有 NaN 或该为 0 处不为 0 时是无穷。"""
    error, scale = (float(x.max(initial=0.0)) for x in (np.abs(ours - theirs), np.abs(theirs)))
    if error == 0.0:
        return 0.0
    scale = max(scale, floor)
    return error / scale if scale > 0 and np.isfinite(error) else float("inf")
