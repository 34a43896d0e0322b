"""循环网络：沿时间展开的 RNN、LSTM 与 GRU，可以多层、双向。

流入：``(T, N, I)`` 或排紧的序列，与初始状态；流出：每一步的输出与最后的状态。
一步的公式在 ``recurrent_cells.py``，沿时间展开在 ``unrolling.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.creation import empty, zeros
from tinygrad_llm.joining import cat, stack
from tinygrad_llm.nn.basics import linear
from tinygrad_llm.nn.dropouts import dropout as drop
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.recurrent_cells import STEPS, State, reset_uniform
from tinygrad_llm.nn.unrolling import sweep, sweep_back
from tinygrad_llm.nn.utils.rnn import PackedSequence
from tinygrad_llm.tensor import Tensor


class RNNBase(Module):
    """三种循环网络共有的部分。

    Args:
        mode: ``"RNN_TANH"``、``"RNN_RELU"``、``"LSTM"`` 或 ``"GRU"``。
        input_size: 输入的宽度 I。
        hidden_size: 状态的宽度 H。
        num_layers: 层数；上一层的输出是下一层的输入。
        bias: 是否有偏置。
        batch_first: 批次轴在最前。
        dropout: 层与层之间 dropout 的概率。
        bidirectional: 是否再从末尾往回走一遍，两个方向的输出接起来。
        proj_size: LSTM 的输出投影到多宽，0 表示不投影。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight_ih_l0: 第 0 层 ``(门数·H, I)``；其余各层与反方向（``_reverse``）类推。
        weight_hh_l0: 第 0 层 ``(门数·H, H)``。
        bias_ih_l0: 第 0 层 ``(门数·H,)``。
        bias_hh_l0: 第 0 层 ``(门数·H,)``。
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_settings(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        rows, width = STEPS[mode][1] * hidden_size, proj_size or hidden_size
        directions = ("", "_reverse") if bidirectional else ("",)
        self._all_weights: list[list[str]] = []
        for place in range(num_layers * len(directions)):
            layer, suffix = place // len(directions), directions[place % len(directions)]
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, width * len(directions) if layer else input_size),
                "weight_hh": (rows, width),
            }
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
            for name, shape in shapes.items():
                parameter = Parameter(empty(shape, device=device, dtype=dtype))
                self.register_parameter(f"{name}_l{layer}{suffix}", parameter)
            self._all_weights.append([f"{name}_l{layer}{suffix}" for name in shapes])
            self._roles = list(shapes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``U(-1/√H, 1/√H)``。"""
        reset_uniform(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """torch 在 GPU 上把参数并成一块内存；在 CPU 上与这里一样，无事可做。"""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """各层、各方向的参数。"""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        """各参数的名字排成一列：自己写初值的代码照着它取。"""
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        """各参数排成一列。"""
        return [getattr(self, name) for name in self._flat_weights_names]

    def _run(self, input: Any, given: Any) -> tuple[Any, State]:
        """整个网络。

        Args:
            input: ``(T, N, I)``，``batch_first`` 时 ``(N, T, I)``，没有批次轴时 ``(T, I)``；或排紧的序列。
            given: 各个初始状态 ``(层数·方向数, N, H)``；``None`` 表示全 0。

        Returns:
            各步的输出，以及各个最后的状态。
        """
        if isinstance(input, PackedSequence):
            data, counts, order, back = input
            states = self._initial(data, int(counts.array[0]), _permuted(given, order), False)
            y, ends = self._stack(data, counts.array.tolist(), states)
            return PackedSequence(y, counts, order, back), _permuted(ends, back)
        if input.array.ndim not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.array.shape}")
        single, swap = input.array.ndim == 2, self.batch_first and input.array.ndim == 3
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if swap else input
        length, batch, _ = x.array.shape
        if not length:
            raise RuntimeError(f"Expected sequence length to be larger than 0, got {input.array.shape}")
        states = self._initial(x, batch, given, single)
        y, ends = self._stack(x.flatten(0, 1), [batch] * length, states)
        y = y.reshape(length, batch, y.array.shape[1])
        if single:
            return y.squeeze(1), tuple(end.squeeze(1) for end in ends)
        return (y.transpose(0, 1) if swap else y), ends

    def _stack(self, x: Tensor, sizes: list[int], states: State) -> tuple[Tensor, State]:
        """各层依次走过排紧的输入；双向时两个方向的输出接起来。"""
        last: list[State] = []
        for layer in range(self.num_layers):
            if self.dropout and self.training and layer:
                x = drop(x, self.dropout)
            sides = []
            for direction in range(1 + self.bidirectional):
                place = len(last)
                weights = dict(zip(self._roles, self.all_weights[place], strict=True))
                projected = linear(x, weights["weight_ih"], weights.get("bias_ih"))
                rest = (weights["weight_hh"], weights.get("bias_hh"), weights.get("weight_hr"))
                walk, start = (sweep_back if direction else sweep), tuple(s[place] for s in states)
                outputs, state = walk(STEPS[self.mode][0], projected, sizes, start, rest)
                sides.append(outputs)
                last.append(state)
            x = sides[0] if len(sides) == 1 else cat(sides, -1)
        return x, tuple(stack(list(each)) for each in zip(*last, strict=True))

    def _initial(self, x: Tensor, batch: int, given: Any, single: bool) -> State:
        """各个初始状态；没给就是全 0。"""
        if x.array.dtype != self.weight_ih_l0.array.dtype:
            raise ValueError(f"RNN input dtype {x.dtype} does not match weight dtype {self.weight_ih_l0.dtype}")
        if x.array.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size {self.input_size}, got {x.array.shape}")
        count, sizes = len(self._all_weights), [self.proj_size or self.hidden_size]
        sizes += [self.hidden_size] if self.mode == "LSTM" else []
        if given is None:
            return tuple(zeros(count, batch, size, dtype=x.dtype) for size in sizes)
        states = tuple(given) if self.mode == "LSTM" else (given,)
        if any(state.array.ndim != 3 - single for state in states):
            raise RuntimeError(f"the state should have {3 - single} dimensions, got {states[0].array.shape}")
        states = tuple(state.unsqueeze(1) for state in states) if single else states
        for state, size in zip(states, sizes, strict=True):
            if state.array.shape != (count, batch, size):
                raise RuntimeError(f"Expected hidden size {(count, batch, size)}, got {list(state.array.shape)}")
        return states

    def extra_repr(self) -> str:
        """打印宽度与非缺省的设定。"""
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        usual["bidirectional"] = False
        changed = [f", {name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return f"{self.input_size}, {self.hidden_size}" + "".join(changed)


def _permuted(states: Any, order: Tensor | None) -> Any:
    """各样本的状态按 ``order`` 重排；状态可以是一个、一组或没有。"""
    if states is None or order is None:
        return states
    if isinstance(states, (tuple, list)):
        return tuple(state.index_select(1, order) for state in states)
    return states.index_select(1, order)


def _check_settings(
    input_size: Any, hidden_size: Any, num_layers: int, bias: Any, batch_first: Any, dropout: Any, proj_size: int
) -> None:
    for name, flag in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(flag).__name__}")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout should be a number in range [0, 1], got {dropout}")
    if min(input_size, hidden_size, num_layers) <= 0 or not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"sizes and num_layers must be greater than zero and proj_size smaller than hidden_size, "
            f"got {input_size}, {hidden_size}, {num_layers} and {proj_size}"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(f"dropout={dropout} acts between recurrent layers, but there is only one", stacklevel=4)


class RNN(RNNBase):
    """普通循环网络，参数同 ``torch.nn.RNN``：第 4 个位置参数是 ``nonlinearity``。"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        settings = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, *settings)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """``(T, N, I)`` → 各步的输出 ``(T, N, 方向数·H)`` 与最后的状态 ``(层数·方向数, N, H)``。

        输入是 ``PackedSequence`` 时，输出也是。

        Raises:
            ValueError: 输入的轴数或 dtype 不对。
            RuntimeError: 形状不合。
        """
        y, (h,) = self._run(input, hx)
        return y, h


class GRU(RNNBase):
    """GRU，参数同 ``torch.nn.GRU``。"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        settings = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__("GRU", input_size, hidden_size, *settings)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """``(T, N, I)`` → 各步的输出 ``(T, N, 方向数·H)`` 与最后的状态 ``(层数·方向数, N, H)``。

        输入是 ``PackedSequence`` 时，输出也是。

        Raises:
            ValueError: 输入的轴数或 dtype 不对。
            RuntimeError: 形状不合。
        """
        y, (h,) = self._run(input, hx)
        return y, h


class LSTM(RNNBase):
    """LSTM，参数同 ``torch.nn.LSTM``。"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        settings = (num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)
        super().__init__("LSTM", input_size, hidden_size, *settings)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``(T, N, I)`` → 各步的输出与最后的 ``(h, c)``；``hx`` 是初始的 ``(h, c)``。

        Raises:
            ValueError: 输入的轴数或 dtype 不对。
            RuntimeError: 形状不合。
        """
        y, (h, c) = self._run(input, hx)
        return y, (h, c)
