"""按梯度找攻击时，引擎要做的两件事：对一串 token 求梯度，逐行算目标的损失。

流入：id 与目标；流出：数组。怎样用它们来找在 ``tinygrad_llm/common/safety/search.py``，两个引擎共用。
分界线以下与 ``tinygrad_llm/attack.py`` 逐字相同，有测试逐行比较。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_llm.gpt import GPT
from torch_llm.losses import sequence_logprobs

# ---- 以下两份文件逐字相同 ----


class Attackable:
    """可以按梯度攻击的模型；``common/safety/search.py`` 的 ``Attackable``。

    Args:
        model: 模型；用它的时候处于 ``eval`` 状态。
    """

    def __init__(self, model: GPT) -> None:
        self.model = model
        self.vocab_size = model.config.vocab_size

    def gradient(self, ids: NDArray[np.int64], targets: NDArray[np.int64], positions: slice) -> NDArray[np.float64]:
        """把某个位置的 token 换成 v，目标的损失大约变多少：``∂L/∂onehot[t, v] = ∂L/∂e[t] · W[v]``。

        词嵌入 ``e = onehot · W`` 对 onehot 是线性的，所以只要嵌入的梯度再乘一次词表，不必真的造出 onehot。

        Args:
            ids: ``(T,)``。
            targets: ``(T,)``，-100 处不计。
            positions: 求哪些位置的。

        Returns:
            ``(n, V)``。
        """
        self.model.eval()
        seen: list[Tensor] = []
        hook = self.model.wte.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            loss = -sequence_logprobs(self.model(self._tensor(ids[None])), self._tensor(targets[None])).sum()
            (grad,) = torch.autograd.grad(loss, seen[:1])  # 只求嵌入的，参数的梯度一个也不动
        finally:
            hook.remove()
        slope = grad[0, positions] @ self.model.wte.weight.detach().T
        found: NDArray[np.float64] = slope.to(torch.float64).cpu().numpy()
        return found

    def losses(self, ids: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """各行的目标的损失，纳特。

        Args:
            ids: ``(B, T)``。
            targets: ``(B, T)``，-100 处不计。

        Returns:
            ``(B,)``。
        """
        self.model.eval()
        with torch.no_grad():
            total = -sequence_logprobs(self.model(self._tensor(ids)), self._tensor(targets))
        found: NDArray[np.float64] = total.to(torch.float64).cpu().numpy()
        return found

    def _tensor(self, array: NDArray[np.int64]) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.wte.weight.device)
