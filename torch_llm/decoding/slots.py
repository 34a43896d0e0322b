"""成批的解码：各槽的新 token 排成一列算过各层，只有注意力按组分开。

流入：各槽的新 token；流出：各槽下一个的 logits。记账与分组在 ``common/decoding/slots.py``，缓存在 ``cache.py``；
谁进哪个槽，见 ``common/decoding/scheduler.py``。各层的线性层与归一化就是模型自己的模块，换成量化的也照样走。
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tinygrad_llm.common.decoding.slots import Group, Ledger, Plan, Rows
from torch_llm.decoding.cache import Int8Cache, PlainCache, SlotCache, plain_caches
from torch_llm.decoding.one import OneToken
from torch_llm.decoding.one_integer import OneInteger
from torch_llm.decoding.products import Products
from torch_llm.gpt import GPT, MLP, Attention, rope_table

__all__ = ["TorchSlots"]


class TorchSlots:
    """PyTorch 上的 ``BatchDecoder``。

    Args:
        model: 模型；用它的时候处于 ``eval`` 状态。
        slots: 同时写几个序列。
        context: 每个槽的上限；缺省是模型的上下文。
        kv_cache: ``"plain"`` 与激活同类型；``"int8"`` 占四分之一的内存，有误差。
        packed: 见 ``Products``。

    Attributes:
        slots: 有几个槽。
        context: 每个槽最多装几个 token。
    """

    def __init__(
        self, model: GPT, slots: int = 1, context: int | None = None, kv_cache: Literal["plain", "int8"] = "plain",
        packed: bool = False,
    ) -> None:  # fmt: skip
        config, like = model.config, model.ln_f.weight
        self.model, self._ledger = model, Ledger(config, slots, context)
        self.slots, self.context, self._like = slots, self._ledger.context, like
        self._multiply = Products(model, packed=packed)
        shape = (slots, config.kv_heads, self.context, config.head_size)
        whole: Tensor | None = None
        if kv_cache == "int8":
            self._layers: list[SlotCache] = [Int8Cache(shape, like) for _ in range(config.n_layer)]
        else:
            self._layers, whole = plain_caches(config.n_layer, shape, like)
        self._rope: tuple[Tensor, Tensor] | None = None
        if config.position == "rope":
            cos, sin = rope_table(config, 0, self.context, like)
            self._rope = torch.cat((cos, cos), -1)[:, None], torch.cat((-sin, sin), -1)[:, None]  # (S, 1, D)
        self._one: OneToken | OneInteger | None = None
        if whole is not None and OneInteger.fits(model):
            self._one = OneInteger(model, whole, self._rope)
        elif OneToken.fits(model, self._layers):
            plain = [layer for layer in self._layers if isinstance(layer, PlainCache)]
            self._one = OneToken(model, plain, None if self._rope is None else (cos, sin))

    def length(self, slot: int) -> int:
        """槽里有几个 token。"""
        return self._ledger.lengths[slot]

    def truncate(self, slot: int, length: int) -> None:
        """只留槽里的前 ``length`` 个 token。"""
        self._ledger.truncate(slot, length)

    def share(self, source: int, target: int, length: int) -> None:
        """把 ``source`` 的前 ``length`` 个 token 的缓存复制给 ``target``。"""
        self._ledger.share(source, target, length)
        if source != target:
            for layer in self._layers:
                layer.share(source, target, length)

    @torch.inference_mode()
    def feed(self, rows: Rows) -> NDArray[Any]:
        """各槽接着喂进新 token；返回各行最后一个位置的 logits ``(n, V)``。

        Raises:
            ContextError: 有一行超出了上下文。
        """
        plan = self._ledger.plan(rows)
        x = self._features(plan)
        return as_numpy(self._logits(x if len(x) == len(rows) == 1 else x[self._tensor(plan.last)]))

    @torch.inference_mode()
    def feed_all(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed`` 相同，但返回每行全部新位置的 logits ``(T, V)``。"""
        plan = self._ledger.plan(rows)
        logits = as_numpy(self._logits(self._features(plan)))
        return [logits[span] for span in plan.spans]

    @torch.inference_mode()
    def features(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed_all`` 相同，但返回输出层之前的特征 ``(T, C)``：文字的向量由它而来。"""
        plan = self._ledger.plan(rows)
        found = as_numpy(self._features(plan))
        return [found[span] for span in plan.spans]

    def _logits(self, x: Tensor) -> Tensor:
        return self._multiply(self.model, x)

    def _features(self, plan: Plan) -> Tensor:
        """输出层之前的特征 ``(N, C)``；缓存与账都已写好。"""
        model = self.model
        if model.training:  # 逐个模块切换要一两毫秒，不能每步都来
            model.eval()
        if self._one is not None and len(plan.ids) == 1:
            token, slot, position, begin = (int(one[0]) for one in (plan.ids, plan.slots, plan.positions, plan.begins))
            features = self._one.features(token, slot, position, begin, plan.groups[0].lo)
            self._ledger.commit(plan)
            return features[None]
        x, rope = model.wte(self._tensor(plan.ids)), None
        if self._rope is None:
            x = x + model.wpe(self._tensor(plan.positions - plan.begins))
        else:
            positions = self._tensor(plan.positions)
            rope = self._rope[0][positions], self._rope[1][positions]
        masks = [self._mask(group) for group in plan.groups]
        step = _Step(plan, masks, rope, *self._places(plan), self._multiply)
        block: Any
        for block, layer in zip(model.h, self._layers, strict=True):
            x = x + attend(block.attn, layer, block.ln_1(x), step)
            x = x + feed_forward(block.mlp, block.ln_2(x), step.multiply)
        self._ledger.commit(plan)
        features = model.ln_f(x)
        return features  # type: ignore[no-any-return]

    def _places(self, plan: Plan) -> tuple[Tensor | int, Tensor | int]:
        if len(plan.ids) == 1:
            return int(plan.slots[0]), int(plan.positions[0])
        return self._tensor(plan.slots), self._tensor(plan.positions)

    def _mask(self, group: Group) -> Tensor | None:
        """看不见处为 ``-inf`` 的加数 ``(rows, 1, width, S)``；一步只造一次，各层共用。"""
        if group.visible is None:
            return None
        visible = self._tensor(group.visible)[:, None]
        return torch.zeros(visible.shape, dtype=self._like.dtype, device=self._like.device).masked_fill_(
            ~visible, -torch.inf
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._like.device)


class _Step:
    """一次前向里各层共用的东西：分组与掩码、旋转的角度、写到哪里。"""

    __slots__ = ("masks", "multiply", "plan", "positions", "rope", "slots")

    def __init__(
        self, plan: Plan, masks: list[Tensor | None], rope: tuple[Tensor, Tensor] | None,
        slots: Tensor | int, positions: Tensor | int, multiply: Products,
    ) -> None:  # fmt: skip
        self.multiply = multiply
        self.plan, self.masks, self.rope, self.slots, self.positions = plan, masks, rope, slots, positions


def attend(attn: Attention, layer: SlotCache, x: Tensor, step: _Step) -> Tensor:
    """一层的注意力 ``(N, C) → (N, C)``：新的 k、v 写进缓存，各组的 q 与各自的缓存相比。"""
    heads, shared = attn.n_head, attn.n_kv_head
    qkv = step.multiply(attn.c_attn, x).view(len(x), heads + 2 * shared, attn.head_dim)
    qk, v = qkv[:, : heads + shared], qkv[:, heads + shared :]
    if attn.qk_norm:
        qk = torch.cat((attn.q_norm(qk[:, :heads]), attn.k_norm(qk[:, heads:])), 1)
    if step.rope is not None:
        cos, sin = step.rope
        qk = qk * cos + qk.roll(attn.head_dim // 2, -1) * sin  # 前后两半互换，符号在 sin 里
    layer.write(step.slots, step.positions, qk[:, heads:], v)
    q = qk[:, :heads]
    outs = [
        (attend_one if group.width == 1 else attend_long)(q[group.tokens], *layer.read(group), group, mask)
        for group, mask in zip(step.plan.groups, step.masks, strict=True)
    ]
    return step.multiply(attn.c_proj, outs[0] if len(outs) == 1 else torch.cat(outs))


def feed_forward(mlp: Any, x: Tensor, multiply: Products) -> Tensor:
    """一层的前馈网络，与 ``MLP.forward`` 同义；换成了别的模块（例如量化的）就由它自己来算。"""
    if type(mlp) is not MLP:
        y: Tensor = mlp(x)
        return y
    up = multiply(mlp.c_fc, x)
    if mlp.kind == "swiglu":
        return multiply(mlp.c_proj, F.silu(multiply(mlp.c_gate, x)) * up)
    return multiply(mlp.c_proj, F.gelu(up, approximate="tanh" if mlp.kind == "gelu_tanh" else "none"))


def attend_one(q: Tensor, k: Tensor, v: Tensor, group: Group, mask: Tensor | None) -> Tensor:
    """每个槽一个新 token ``(n, H, D) → (n, H·D)``；共用 K/V 头的查询并成一组的几行，K/V 不必复制（GQA）。"""
    count, heads, width = q.shape
    if not group.is_full:
        members = torch.from_numpy(group.members).to(q.device)
        q = q.new_zeros(group.rows, heads, width).index_copy_(0, members, q)
    y = F.scaled_dot_product_attention(q.reshape(group.rows, k.shape[1], -1, width), k, v, mask)
    if not group.is_full:
        y = y[members]
    return y.reshape(count, heads * width)


def attend_long(q: Tensor, k: Tensor, v: Tensor, group: Group, mask: Tensor | None) -> Tensor:
    """一个槽的一段 token ``(T, H, D) → (T, H·D)``；共用的 K/V 头以步长 0 展开，不复制。"""
    length, heads, width = q.shape
    shared = k.shape[1]
    q = q.view(length, shared, -1, width).permute(1, 2, 0, 3)  # (Hkv, G, T, D)
    k, v = (held[0][:, None].expand(-1, heads // shared, -1, -1) for held in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=group.is_causal)
    return y.permute(2, 0, 1, 3).reshape(length, heads * width)


def as_numpy(logits: Tensor) -> NDArray[Any]:
    """搬回 CPU；bfloat16 与 float16 先变成 float32，NumPy 没有前者。"""
    exact = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    found: NDArray[Any] = exact.cpu().numpy()
    return found
