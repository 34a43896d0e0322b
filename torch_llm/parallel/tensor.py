"""张量并行：一层的两个大矩阵按头、按中间宽度切给几个进程，各算一部分，再把结果加起来。

流入：一个普通的 ``GPT`` 与网格的一行；流出：同一个模型，每层的矩阵只有自己的一部分，每层求和两次（Shoeybi 等，2019）。
模型的正文一个字不改：矩阵换成 ``DTensor``，头数改成这个进程的头数，别的照旧。下一站：``shards.py``。

嵌入不切，每个进程都有整张；输出层与损失按 token 分：一行里的每个进程只算自己那几行 logits。
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional as F

from torch_llm.functional import token_loss
from torch_llm.gpt import GPT, Attention

ROWS, COLUMNS = ("attn.c_attn", "mlp.c_fc", "mlp.c_gate"), ("attn.c_proj", "mlp.c_proj")
"""按输出切的（权重的行）与按输入切的（权重的列）：前者各算各的头，后者的结果要加起来。"""


def split_matrices(model: GPT, lanes: DeviceMesh, lane: int) -> None:
    """把模型的各层切给网格的一行；就地改。

    ``c_attn`` 的行先要排成「每个进程的 q、k、v 各在一处」，见 ``shards.head_order``；那是装权重时的事。

    Args:
        model: 还没有权重的模型（可以在 ``meta`` 设备上）。
        lanes: 一行里的几个进程。
        lane: 这个进程算第几部分。
    """
    group, count = lanes.get_group(), lanes.size()
    config = model.config
    for block in model.h:
        plan: dict[str, Any] = {name: ColwiseParallel() for name in ROWS if _has(block, name)}
        plan |= {name: RowwiseParallel() for name in COLUMNS}
        parallelize_module(block, lanes, plan, src_data_rank=None)
        attention: Any = block.attn
        attention.n_head, attention.n_kv_head = config.n_head // count, config.kv_heads // count
        if config.qk_norm:
            for norm in (attention.q_norm, attention.k_norm):
                norm.forward = partial(_norm_of_my_heads, norm, group)
        if config.dropout:
            attention.forward = partial(_with_own_masks, attention.forward, attention, lane)
    # KV 缓存按配置造：它只装这个进程的头
    model.config = replace(
        config, n_head=config.n_head // count, n_kv_head=config.kv_heads // count, head_dim=config.head_size
    )
    model.loss = partial(_loss_of_my_rows, model, group)  # type: ignore[method-assign]


def _has(block: nn.Module, name: str) -> bool:
    child, _, rest = name.partition(".")
    return hasattr(getattr(block, child), rest)


def _norm_of_my_heads(norm: nn.RMSNorm, group: dist.ProcessGroup, x: Tensor) -> Tensor:
    """各进程的头共用一个缩放：它的梯度要把各进程的加起来。"""
    weight: Tensor = _SumGradient.apply(norm.weight, group)  # type: ignore[no-untyped-call]
    return F.rms_norm(x, norm.normalized_shape, weight, norm.eps)


def _with_own_masks(forward: Any, attention: Attention, lane: int, *inputs: Any) -> Tensor:
    """注意力的 dropout：各进程的头要各有各的掩码，而之后的随机数又要处处相同。

    先从共同的随机数列里取一个种子，用「种子 + 第几部分」做完注意力，再回到原来的列；反传时重算也走同样的路。
    """
    if not attention.training:
        return forward(*inputs)  # type: ignore[no-any-return]
    device = inputs[0].device
    seed = int(torch.randint(1 << 62, ())) + lane
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return forward(*inputs)  # type: ignore[no-any-return]


def _loss_of_my_rows(
    model: GPT, group: dist.ProcessGroup, ids: Tensor, targets: Tensor, begins: Tensor | None = None
) -> Tensor:
    """``GPT.loss`` 的另一种算法：特征人人都有，输出层的行分给几个进程，损失加起来。"""
    x, weight = model.hidden(ids, begins=begins).flatten(0, 1), model.head_weight()
    if torch.is_grad_enabled():
        x, weight = _SumGradient.apply(x, group), _SumGradient.apply(weight, group)  # type: ignore[no-untyped-call]
    mine = _my_rows(len(x), group)
    total: Tensor = _Sum.apply(token_loss(x[mine], weight, targets.flatten()[mine]), group)  # type: ignore[no-untyped-call]
    return total


def _my_rows(count: int, group: dist.ProcessGroup) -> slice:
    """``count`` 行里归这个进程的一段；各段至多差一行。"""
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    return slice(count * rank // size, count * (rank + 1) // size)


class _SumGradient(torch.autograd.Function):
    """``y = x``；反传时把各进程的梯度加起来：大家用的是同一个 x，各用了一部分。"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        g = g.contiguous().clone()
        dist.all_reduce(g, group=ctx.group)
        return g, None


class _Sum(torch.autograd.Function):
    """``y = Σ x``，对各进程求和；反传时每个进程得到同一个梯度。"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        y = x.clone()
        dist.all_reduce(y, group=group)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None
