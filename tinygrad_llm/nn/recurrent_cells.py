"""循环网络的一步：普通 RNN、LSTM 与 GRU 的单元。

流入：这一步的输入与上一步的状态；流出：新的状态。沿时间展开的层在 ``recurrent.py``，用的是同样的步函数。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_llm.creation import empty, zeros
from tinygrad_llm.nn import init
from tinygrad_llm.nn.basics import linear
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor

State = tuple[Tensor, ...]
"""``(h,)``，LSTM 是 ``(h, c)``。"""
Step = Callable[[Tensor, State, tuple[Any, ...]], State]
"""``(输入的投影, 状态, (w_hh, b_hh, w_hr))`` → 新的状态。"""


def tanh_step(projected: Tensor, state: State, weights: tuple[Any, ...]) -> State:
    """``h' = tanh(W x + U h)``。"""
    return ((projected + linear(state[0], *weights[:2])).tanh(),)


def relu_step(projected: Tensor, state: State, weights: tuple[Any, ...]) -> State:
    """``h' = max(W x + U h, 0)``。"""
    return ((projected + linear(state[0], *weights[:2])).relu(),)


def lstm_step(projected: Tensor, state: State, weights: tuple[Any, ...]) -> State:
    """LSTM（Hochreiter 与 Schmidhuber，1997）：四个门依次是输入、遗忘、候选、输出。

    ``c' = f ⊙ c + i ⊙ g``，``h' = o ⊙ tanh(c')``；有 ``w_hr`` 时 ``h'`` 再投影一次。
    """
    i, f, g, o = (projected + linear(state[0], *weights[:2])).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if weights[2] is None else linear(h, weights[2])), c


def gru_step(projected: Tensor, state: State, weights: tuple[Any, ...]) -> State:
    """GRU（Cho 等，2014）：门依次是重置、更新、候选；``h' = (1 - z) ⊙ n + z ⊙ h``。"""
    width = state[0].array.shape[-1]
    hidden = linear(state[0], *weights[:2])
    r, z = (projected[..., : 2 * width] + hidden[..., : 2 * width]).sigmoid().chunk(2, -1)
    n = (projected[..., 2 * width :] + r * hidden[..., 2 * width :]).tanh()
    return ((state[0] - n) * z + n,)


STEPS: dict[str, tuple[Step, int]] = {
    "RNN_TANH": (tanh_step, 1),
    "RNN_RELU": (relu_step, 1),
    "LSTM": (lstm_step, 4),
    "GRU": (gru_step, 3),
}
"""名字 → 步函数与门数。"""


def reset_uniform(module: Module, hidden_size: int) -> None:
    """全部参数取 ``U(-1/√H, 1/√H)``，与 torch 相同。"""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class _Cell(Module):
    """一个单元。

    Args:
        input_size: 输入的宽度 I。
        hidden_size: 状态的宽度 H。
        bias: 是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight_ih: ``(门数·H, I)``。
        weight_hh: ``(门数·H, H)``。
        bias_ih: ``(门数·H,)`` 或 ``None``。
        bias_hh: ``(门数·H,)`` 或 ``None``。
    """

    mode = ""
    states = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = STEPS[self.mode][1] * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``U(-1/√H, 1/√H)``。"""
        reset_uniform(self, self.hidden_size)

    def _advance(self, input: Tensor, state: Any) -> State:
        """一步；没有批次轴就补上再去掉。"""
        name = type(self).__name__
        given: State = () if state is None else tuple(state) if self.states > 1 else (state,)
        if any(x.array.ndim not in (1, 2) for x in (input, *given)):
            raise ValueError(f"{name}: expected 1D or 2D input and state, got {input.array.shape}")
        single = input.array.ndim == 1
        x = input.unsqueeze(0) if single else input
        if not given:
            given = (zeros(x.array.shape[0], self.hidden_size, dtype=x.dtype),) * self.states
        elif single:
            given = tuple(h.unsqueeze(0) for h in given)
        expected = (x.array.shape[0], self.hidden_size)
        if x.array.shape[1] != self.input_size or any(h.array.shape != expected for h in given):
            shapes = [h.array.shape for h in given]
            raise RuntimeError(f"{name}: input {x.array.shape} and state {shapes} do not fit {self.extra_repr()}")
        weights = (self.weight_hh, self.bias_hh, None)
        found = STEPS[self.mode][0](linear(x, self.weight_ih, self.bias_ih), given, weights)
        return tuple(h.squeeze(0) for h in found) if single else found

    def extra_repr(self) -> str:
        """打印宽度。"""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else f", bias={self.bias}")


class RNNCell(_Cell):
    """普通 RNN 的单元，参数同 ``torch.nn.RNNCell``。"""

    mode = "RNN_TANH"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """``x (N, I)``、``h (N, H)`` → ``h' (N, H)``。

        Raises:
            ValueError: 轴数不对。
            RuntimeError: 形状不合，或未知的 ``nonlinearity``。
        """
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        self.mode = f"RNN_{self.nonlinearity.upper()}"
        return self._advance(input, hx)[0]

    def extra_repr(self) -> str:
        """打印宽度与非线性。"""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(_Cell):
    """GRU 的单元，参数同 ``torch.nn.GRUCell``。"""

    mode = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """``x (N, I)``、``h (N, H)`` → ``h' (N, H)``。

        Raises:
            ValueError: 轴数不对。
            RuntimeError: 形状不合。
        """
        return self._advance(input, hx)[0]


class LSTMCell(_Cell):
    """LSTM 的单元，参数同 ``torch.nn.LSTMCell``。"""

    mode, states = "LSTM", 2

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """``x (N, I)``、``(h, c)`` → ``(h', c')``。

        Raises:
            ValueError: 轴数不对。
            RuntimeError: 形状不合。
        """
        h, c = self._advance(input, hx)
        return h, c
