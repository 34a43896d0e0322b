"""自适应 softmax：常见的词直接分类，少见的词先分到簇，再在簇里分（Grave 等，2017）。

流入：特征与类别；流出：每个样本的对数概率与平均损失。词表很大时，绝大多数样本只算一张小表。
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.creation import zeros
from tinygrad_llm.joining import cat
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.containers import ModuleList, Sequential
from tinygrad_llm.nn.layers import Linear
from tinygrad_llm.nn.module import Module
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


class ASMoutput(NamedTuple):
    """``AdaptiveLogSoftmaxWithLoss`` 的结果。

    Attributes:
        output: 各样本目标类别的对数概率，``(N,)``。
        loss: 它们的均值取负。
    """

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """自适应 softmax 与负对数似然。

    Args:
        in_features: 输入宽度。
        n_classes: 类别数；类别按出现次数从多到少编号。
        cutoffs: 各簇的起点，递增；第一个之前的类别直接分。
        div_value: 每往后一簇，宽度再除以它。
        head_bias: 头一层是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        head: 直接分的类别，再加上每簇一个。
        tail: 每簇两层：先变窄，再分类。

    Raises:
        ValueError: ``cutoffs`` 为空、不递增或越界。
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        edges = [*cutoffs, n_classes]
        if not cutoffs or edges[0] <= 0 or any(int(a) != a or a >= b for a, b in pairwise(edges)):
            raise ValueError(f"cutoffs must be increasing integers between 1 and {n_classes - 1}, got {cutoffs}")
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, edges
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = edges[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            narrow, size = int(in_features // div_value ** (i + 1)), edges[i + 1] - edges[i]
            widths = ((in_features, narrow), (narrow, size))
            self.tail.append(Sequential(*[Linear(a, b, bias=False, device=device, dtype=dtype) for a, b in widths]))

    def reset_parameters(self) -> None:
        """重新初始化每一层。"""
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """``(N, in)``、``(N,)``，或 ``(in,)`` 与标量。

        Raises:
            RuntimeError: 形状不合，或类别越界。
        """
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or input_.array.shape[:-1] != target_.array.shape:
            raise RuntimeError(f"input {input_.array.shape} does not fit target {target_.array.shape}")
        rows, labels = input_.reshape(-1, self.in_features), target_.array.reshape(-1)
        if ((labels < 0) | (labels >= self.n_classes)).any():
            raise RuntimeError(f"target values should be in [0, {self.n_classes}), got {labels.min()} … {labels.max()}")
        cluster = np.searchsorted(self.cutoffs, labels, side="right")  # 0 是直接分的，其余是第几簇
        entry = np.where(cluster == 0, labels, self.shortlist_size + cluster - 1)
        head = F.log_softmax(self.head(rows), 1).gather(1, Tensor.wrap(entry[:, None])).squeeze(1)
        output: Tensor = head + self._within(rows, labels, cluster)
        return ASMoutput(output.reshape(target_.array.shape), (-output).mean())

    def _within(self, rows: Tensor, labels: Array, cluster: Array) -> Tensor:
        """簇内的对数概率，``(N,)``；直接分的为 0。"""
        result = zeros(len(labels), dtype=rows.dtype)
        for i in range(1, self.n_clusters + 1):
            members = np.flatnonzero(cluster == i)
            if members.size:
                log_p = F.log_softmax(self.tail[i - 1](rows[members]), 1)
                local = Tensor.wrap(labels[members, None] - self.cutoffs[i - 1])
                result[members] = log_p.gather(1, local).squeeze(1)
        return result

    def log_prob(self, input: Tensor) -> Tensor:
        """全部类别的对数概率，``(N, in) → (N, n_classes)``。"""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            place = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), 1) + head[:, place : place + 1])
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """最可能的类别，``(N, in) → (N,)``；头一层已分出的样本不再看簇。"""
        best: Array = self.head(input).array.argmax(1)
        rare = np.flatnonzero(best >= self.shortlist_size)
        if rare.size:
            best[rare] = self.log_prob(input[rare]).array.argmax(1)
        return Tensor.wrap(best)
