"""``torch.types`` 与 ``torch.nn.common_types``：写类型注解用的别名。"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

from tinygrad_llm.absent import attributes
from tinygrad_llm.cpu import device
from tinygrad_llm.dtypes import dtype
from tinygrad_llm.layouts import layout
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor

Number = int | float | bool
Device = device | str | int | None
FileLike = str | os.PathLike[str] | IO[bytes]
_Number = (int, float, bool)
_TensorOrTensors = Tensor | Sequence[Tensor]
_bool, _bytes, _complex, _float, _int, _str = bool, bytes, complex, float, int, str
_device, _dtype, _layout = device, dtype, layout
_size = Size | list[int] | tuple[int, ...]

_size_any_t, _ratio_any_t = int | tuple[int, ...], float | tuple[float, ...]
_size_1_t, _size_2_t, _size_3_t = int | tuple[int], int | tuple[int, int], int | tuple[int, int, int]
_size_4_t = int | tuple[int, int, int, int]
_size_6_t = int | tuple[int, int, int, int, int, int]
_size_any_opt_t = int | None | tuple[int | None, ...]
_size_2_opt_t, _size_3_opt_t = int | None | tuple[int | None, int | None], int | None | tuple[int | None, ...]
_ratio_2_t, _ratio_3_t = float | tuple[float, float], float | tuple[float, float, float]
_tensor_list_t = Tensor | tuple[Tensor, ...]
_maybe_indices_t = Tensor | tuple[Tensor, Tensor]

__getattr__ = attributes(__name__)

__all__ = ["Device", "FileLike", "Number"]
