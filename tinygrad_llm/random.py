"""随机数：与 torch 的 CPU 生成器逐个相同的梅森旋转数列。

流入：种子与形状；流出：数组。``manual_seed`` 之后，均匀数与 torch 逐位相同，正态数相差不超过几个 ulp。
训练用的初始权重与数据次序不走这里，它们是 ``common`` 里的纯函数。
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm.cpu import CPU, device, require_cpu
from tinygrad_llm.ops.bfloat16 import is_low, narrowed
from tinygrad_llm.ops.op import Array

DEFAULT_SEED = 67280421310721  # torch 的缺省种子
_STATE = np.dtype([
    ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("key", "<u8", 624), ("x", "<f8"),
    ("spare", "<f8"), ("rho", "<f8"), ("has_spare", "<i4"), ("rest", "V12"),
])  # fmt: skip
"""torch 的 CPU 生成器状态的字节排布；``x``、``rho`` 与 ``rest`` 总是 0。"""


class Generator:
    """一条随机数列。

    Args:
        device: 只有 ``"cpu"``。

    Raises:
        RuntimeError: 别的设备。
    """

    def __init__(self, device: Any = "cpu") -> None:
        require_cpu(device)
        self.manual_seed(DEFAULT_SEED)

    @property
    def device(self) -> device:
        """总是 CPU。"""
        return CPU

    def manual_seed(self, seed: int) -> Generator:
        """从种子重新开始；负数回绕成 64 位无符号数。

        Raises:
            RuntimeError: 不是整数。
            ValueError: 超出 64 位。
        """
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise RuntimeError(f"manual_seed expected an int, but got {type(seed).__name__}")
        if not -(1 << 63) <= as_int(seed) < 1 << 64:
            raise ValueError(f"manual_seed: {seed} does not fit in 64 bits")
        self._seed = as_int(seed) % (1 << 64)
        self._bits = np.random.RandomState(self._seed & 0xFFFFFFFF)._bit_generator
        self._spare: float | None = None
        return self

    def initial_seed(self) -> int:
        """最近一次设定的种子。"""
        return self._seed

    def seed(self) -> int:
        """换一个取自操作系统的种子，并返回它。"""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def clone_state(self) -> Generator:
        """状态相同的另一个生成器。"""
        return Generator().set_state(self.get_state())

    def get_state(self) -> Any:
        """当前状态：uint8 的 Tensor，与 torch 的逐字节相同，两边可以互换。"""
        from tinygrad_llm.tensor import Tensor

        inner, state = self._bits.state["state"], np.zeros(1, _STATE)
        key, used = inner["key"], int(inner["pos"])
        if used == 624 and key[0] == self._seed & 0xFFFFFFFF:  # 刚播种：第一块字还没有生成
            used, left = 0, 1
        else:
            left = 625 - used
        for name, value in {"seed": self._seed, "left": left, "seeded": 1, "next": used, "key": key}.items():
            state[name] = value
        if self._spare is not None:
            state["spare"], state["has_spare"] = self._spare, 1
        return Tensor.wrap(state.view(np.uint8))

    def set_state(self, new_state: Any) -> Generator:
        """恢复 ``get_state`` 的状态，也认 torch 的。

        Raises:
            TypeError: 不是 uint8 的 Tensor。
            RuntimeError: 长度不对，或内容不是生成器的状态。
        """
        from tinygrad_llm.tensor import Tensor

        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if new_state.array.dtype != np.uint8:
            raise TypeError(f"RNG state must be a torch.ByteTensor, got {new_state.dtype}")
        if new_state.array.shape != (_STATE.itemsize,):
            raise RuntimeError(f"RNG state must hold {_STATE.itemsize} bytes, but its shape is {new_state.array.shape}")
        state = np.ascontiguousarray(new_state.array).view(_STATE)[0]
        if not (state["seeded"] and 0 < state["left"] <= 624 and state["next"] <= 624):
            raise RuntimeError("Invalid mt19937 state")
        self.manual_seed(int(state["seed"]))
        position = 624 if state["left"] == 1 else int(state["next"])
        inner = {"key": state["key"].astype(np.uint32), "pos": position}
        self._bits.state = {"bit_generator": "MT19937", "state": inner}
        self._spare = float(state["spare"]) if state["has_spare"] else None
        return self

    def words32(self, n: int) -> Array:
        """接下来的 ``n`` 个 32 位字。"""
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)

    def words64(self, n: int) -> Array:
        """接下来的 ``n`` 个 64 位字，先抽到的是高位。"""
        pairs = self.words32(2 * n).reshape(n, 2)
        return (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """``[0, 1)`` 上的均匀数：float32 取 24 位，float64 取 53 位。"""
        n = math.prod(shape)
        if np.dtype(dtype) == np.float64:
            values: Array = (self.words64(n) & np.uint64((1 << 53) - 1)).astype(np.float64) * 2.0**-53
        else:
            values = (self.words32(n) & np.uint64((1 << 24) - 1)).astype(np.float32) * np.float32(2.0**-24)
        return narrowed(values, dtype).reshape(shape)

    def normal(
        self, shape: tuple[int, ...], dtype: Any = np.float32, mean: float = 0.0, std: float = 1.0, serial: bool = False
    ) -> Array:
        """正态数（Box–Muller）；16 个以上按 16 个一组成批计算，``serial`` 则总是逐个计算，与 torch 的次序相同。"""
        n = math.prod(shape)
        if n < 16 or serial:
            drawn = np.array([self.one_normal() * std + mean for _ in range(n)])
            return narrowed(drawn.astype(np.float32) if is_low(dtype) else drawn, dtype).reshape(shape)
        whole, inner = n - n % 16, np.dtype(np.float32) if is_low(dtype) else np.dtype(dtype)
        values = np.empty(n, inner)
        drawn = self.uniform((whole if is_low(dtype) else n,), inner)  # 半精度不为尾巴白抽
        values[:whole] = _box_muller(drawn[:whole].reshape(-1, 16)).reshape(-1)
        if n % 16:  # 尾巴不足一组：把最后 16 个重抽一遍
            values[-16:] = _box_muller(self.uniform((1, 16), inner))[0]
        scaled: Array = values * inner.type(std) + inner.type(mean)
        return narrowed(scaled, dtype).reshape(shape)

    def one_uniform(self) -> float:
        """``[0, 1)`` 上的一个 53 位均匀数。"""
        high, low = int(self._bits.random_raw()), int(self._bits.random_raw())
        return ((high << 32 | low) & ((1 << 53) - 1)) * 2.0**-53

    def one_normal(self) -> float:
        """一个标准正态数；一次算出一对，另一个留给下一次。"""
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        u1, u2 = self.one_uniform(), self.one_uniform()
        radius, theta = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
        self._spare = radius * math.sin(theta)
        return radius * math.cos(theta)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Array:
        """``[low, high)`` 上的整数（取模，与 torch 相同）。"""
        span, n = high - low, math.prod(shape)
        words = self.words64(n) if span >= 1 << 28 else self.words32(n)
        return ((words % np.uint64(span)).astype(np.int64) + low).reshape(shape)

    def permutation(self, n: int) -> Array:
        """``0 … n-1`` 的一个随机排列（Fisher–Yates）。"""
        order = np.arange(n)
        for i, word in enumerate(self.words32(max(n - 1, 0)).tolist()):
            j = i + word % (n - i)
            order[i], order[j] = order[j], order[i]
        return order

    def exponential(self, shape: tuple[int, ...]) -> Array:
        """速率为 1 的指数分布。"""
        return -np.log1p(-self.uniform(shape, np.float64))


def _box_muller(u: Array) -> Array:
    """一组 16 个均匀数 → 16 个正态数：前 8 个作半径，后 8 个作角度。"""
    radius = np.sqrt(-2 * np.log(1 - u[:, :8]))
    theta = u[:, 8:] * u.dtype.type(2 * math.pi)
    return np.concatenate([radius * np.cos(theta), radius * np.sin(theta)], axis=1)


default_generator = Generator()


def manual_seed(seed: Any) -> Generator:
    """设定全局生成器的种子。"""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """全局生成器换一个取自操作系统的种子，并返回它。"""
    return default_generator.seed()


def initial_seed() -> int:
    """全局生成器的种子。"""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """全局生成器的状态：uint8 的 Tensor。"""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """恢复全局生成器的状态。"""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, *, device_type: str | None = None) -> Iterator[None]:
    """``with`` 之内随意抽数，出来时全局生成器回到进去时的状态。

    Args:
        devices: 与 torch 同名；只有 CPU 一个生成器，给别的设备会报错。
        enabled: 为假时不恢复。
        device_type: 与 torch 同名：``devices`` 是哪种设备；CPU 的总会恢复。
    """
    for name in devices or ():
        require_cpu(name)
    state = default_generator.get_state()
    try:
        yield
    finally:
        if enabled:
            default_generator.set_state(state)
