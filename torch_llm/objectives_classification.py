"""分类：一个头，加权的交叉熵（PyTorch 版）。

流入：带标签的行；流出：损失之和与对了几行。数据见 ``tinygrad_llm/common/tuning/classification.py``。
分界线以下与 ``tinygrad_llm/objectives_classification.py`` 逐字相同，有测试逐行比较。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinygrad_llm.common.engine import Batch

# ---- 以下两份文件逐字相同 ----


class Classification:
    """文字归入几类之一：特征是一个或几个位置的隐状态的平均，其上一个线性的头。

    批次是 ``(x, y)``：y 在取特征的位置上是类别，别处是 -100，所以「最后一个真正的 token」「各个真正的 token 的平均」
    只是 y 写法的不同。要左边的填充也看不见、或要看得见后文时，批次里另有掩码，见 ``common/tuning/labelled_rows.py``。
    头从 0 开始：第一步只有头在动，两个引擎不必约定随机数。

    Args:
        weights: 各类的权重；都是 1 就是普通的平均。
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = tuple(weights)

    def attach(self, model: Any, trained: Any = None) -> dict[str, Any]:
        """添上头 ``classifier``；返回模型的全部参数与它的。``trained`` 是练好的权重与偏置，没有就从 0 开始。"""
        like = model.ln_f.weight
        head = nn.Linear(model.config.n_embd, len(self.weights), dtype=like.dtype, device=like.device)
        with torch.no_grad():
            for p, value in zip((head.weight, head.bias), trained or (None, None), strict=True):
                p.zero_() if value is None else p.copy_(torch.from_numpy(value))
        model.classifier = head
        return dict(model.named_parameters())

    def units(self, batch: Batch) -> float:
        """各行的权重之和：损失因此是加权平均。"""
        return float(sum(self.weights[int(label)] for label in batch[1].max(1)))

    def logits(self, model: Any, x: Tensor, y: Tensor, *sight: Tensor) -> Tensor:
        """各类的分数 ``(B, K)``；``sight`` 是位置的起点与掩码，可以没有。"""
        hidden = model.hidden(x, None, *sight)
        where = (y != -100).to(hidden.dtype)
        pooled = (hidden * where[:, :, None]).sum(1) / where.sum(1)[:, None]
        found: Tensor = model.classifier(pooled)
        return found

    def loss(self, model: Any, x: Tensor, y: Tensor, *sight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """加权的交叉熵之和，与对了的行的权重之和。"""
        logits, labels = self.logits(model, x, y, *sight), y.max(1).values
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)[labels]
        losses = F.cross_entropy(logits, labels, reduction="none")
        right = (logits.argmax(-1) == labels).to(logits.dtype)
        return (losses * weights).sum(), {"accuracy_train": (right * weights).sum()}

    def predict(self, model: Any, x: Tensor, y: Tensor, *sight: Tensor) -> Any:
        """每一行属于各类的对数概率 ``(B, K)``，NumPy 数组；不求导。"""
        model.eval()
        with torch.no_grad():
            return F.log_softmax(self.logits(model, x, y, *sight), dim=-1).cpu().numpy()
