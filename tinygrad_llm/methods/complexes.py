"""Tensor 的复数方法：共轭、实部与虚部、模以外的幅角与方向、把实数看作复数。

流入：Tensor；流出：Tensor。共轭当场算出，不像 torch 那样留一个「待取共轭」的记号，所以 ``is_conj()`` 总是假。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.layouts import preserve_format
from tinygrad_llm.methods.arithmetic import unary
from tinygrad_llm.methods.operands import tensors
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import rounding as ro

_NO_ATTRS: dict[str, Any] = {}


class Complexes:
    """复数的方法。"""

    array: Any
    copy_: Any
    dtype: Any
    to: Any

    def conj(self) -> Any:
        """共轭；实数返回自己。"""
        return apply(cx.conj, (self,), _NO_ATTRS) if self.array.dtype.kind == "c" else self

    def resolve_conj(self) -> Any:
        """共轭总是当场算出，没有欠着的，返回自己。"""
        return self

    conj_physical, resolve_neg = conj, resolve_conj

    def angle(self) -> Any:
        """幅角，落在 ``[-π, π]``；实数里负数为 π，其余为 0。"""
        tensors("angle", self)
        return unary(cx.complex_angle if self.array.dtype.kind == "c" else ro.angle, self)

    def sgn(self) -> Any:
        """单位圆上同一方向的数 ``z / |z|``；实数与 ``sign`` 相同。"""
        return apply(cx.sgn if self.array.dtype.kind == "c" else ew.sign, (self,), _NO_ATTRS)

    def is_complex(self) -> bool:
        """是否复数。"""
        return bool(self.array.dtype.kind == "c")

    def is_conj(self) -> bool:
        """是否欠着一次共轭，总是假。"""
        return False

    is_neg = is_conj

    def is_signed(self) -> bool:
        """是否有符号的类型。"""
        return self.array.dtype.kind in "fic"

    @property
    def real(self) -> Any:
        """实部，共享内存；实数返回自己。"""
        return apply(cx.real, (self,), _NO_ATTRS) if self.array.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        self.real.copy_(value)

    @property
    def imag(self) -> Any:
        """虚部，共享内存。

        Raises:
            RuntimeError: 不是复数。
        """
        if self.array.dtype.kind != "c":
            raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
        return apply(cx.imag, (self,), _NO_ATTRS)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag.copy_(value)

    def __complex__(self) -> complex:
        if self.array.size != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, got {self.array.shape}")
        return complex(self.array.item())

    def cfloat(self, memory_format: Any = preserve_format) -> Any:
        """换成 complex64。"""
        return self.to(dtypes.complex64, memory_format=memory_format)

    def cdouble(self, memory_format: Any = preserve_format) -> Any:
        """换成 complex128。"""
        return self.to(dtypes.complex128, memory_format=memory_format)
