"""嵌套的 Python 对象 ⇄（JSON、数组）：``save`` 与 ``load`` 的中间一步。

流入：字典、列表、数、字符串与 Tensor 组成的对象；流出：一棵 JSON 树，与「名字 → 数组」的字典。
下一站：``serialization.py``。

字符串、整数、列表与键全是字符串的字典就写成 JSON 自己的样子；其余写成带一个 ``$`` 键的 JSON 对象，如
``{"$tuple": [1, 2]}``、``{"$tensor": "model.wte", "requires_grad": true}``。
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.cpu import device
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.nn.module_state import StateDict
from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.ops.bfloat16 import is_bfloat16, rounded, widened
from tinygrad_llm.ops.op import Array
from tinygrad_llm.random import Generator
from tinygrad_llm.tensor import Tensor

MAX_DEPTH = 100
_INT64 = range(-(2**63), 2**63)
_DTYPES = {str(d): d for d in vars(dtypes).values() if isinstance(d, dtypes.dtype)}
_ADVICE: tuple[tuple[Any, str], ...] = (
    (type, "save its name instead"),
    ((FunctionType, MethodType, BuiltinFunctionType), "save the state_dict() it belongs to instead"),
    (Tensor, "save its detach() instead"),
    (Generator, "save its get_state() instead"),
    (enum.Enum, "save its value or its name instead"),
    ((bytes, bytearray), "save it as a tensor of uint8, or decode it into a string"),
    ((set, frozenset), "save it as a list instead"),
    (Mapping, "save dict() of it instead"),
    (tuple, "save tuple() of it instead"),
    (list, "save list() of it instead"),
    ((PurePath, str), "save str() of it instead"),
    (int, "save int() of it instead"),
    (float, "save float() of it instead"),
)


# ---- 写


class Encoder:
    """把一个对象拆成 JSON 树与数组；共享同一块内存的 Tensor 只存一份。

    Attributes:
        arrays: 名字到数组，名字是它在对象里的路径。
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._stored: dict[Any, str] = {}
        self._kept: list[Array] = []  # 地址是身份的一部分：存完之前不许释放
        self._open: set[int] = set()

    def node(self, obj: Any, path: tuple[Any, ...] = ()) -> Any:
        """一个对象的 JSON 树。

        Args:
            obj: 对象。
            path: 从最外层走到这里依次经过的键。

        Raises:
            TypeError: 存不了的类型；消息里有它在对象里的位置。
            ValueError: 套得太深，或自己包含自己。
        """
        kind = type(obj)
        if obj is None or kind in (bool, str):
            return obj
        if kind is int:
            return obj if obj in _INT64 else {"$int": hex(obj)}
        if kind is float:
            return obj if math.isfinite(obj) else {"$float": str(obj)}
        if kind in (Tensor, Parameter):
            return self._tensor(obj, path)
        if isinstance(obj, dtypes.dtype):
            return {"$dtype": str(obj)}
        if kind is device:
            return {"$device": str(obj)}
        if isinstance(obj, (np.ndarray, np.generic)):
            return {"$array" if kind is np.ndarray else "$scalar": self._array(np.asarray(obj), path)}
        if kind in (list, tuple, Size, dict, OrderedDict):
            return self._container(obj, path)
        if kind is StateDict:
            return {"$state_dict": [self.node(dict(obj), path), self.node(dict(obj._metadata), path)]}
        raise _unsupported(obj, path)

    def _container(self, obj: Any, path: tuple[Any, ...]) -> Any:
        if len(path) >= MAX_DEPTH:
            raise ValueError(f"save: {_place(path[:3])}... is nested more than {MAX_DEPTH} deep")
        if id(obj) in self._open:
            raise ValueError(f"save: {_place(path)} contains itself")
        self._open.add(id(obj))
        result = self._pairs(obj, path) if isinstance(obj, dict) else self._items(obj, path)
        self._open.discard(id(obj))
        return result

    def _items(self, obj: Any, path: tuple[Any, ...]) -> Any:
        items = [self.node(item, (*path, i)) for i, item in enumerate(obj)]
        return items if type(obj) is list else {"$tuple" if type(obj) is tuple else "$size": items}

    def _pairs(self, obj: Any, path: tuple[Any, ...]) -> Any:
        values = [(key, self.node(value, (*path, key))) for key, value in obj.items()]
        if type(obj) is dict and all(type(key) is str and not key.startswith("$") for key in obj):
            return dict(values)
        pairs = [[self.node(key, (*path, key)), value] for key, value in values]
        return {"$dict" if type(obj) is dict else "$ordered": pairs}

    def _tensor(self, tensor: Tensor, path: tuple[Any, ...]) -> dict[str, Any]:
        tag = "$parameter" if isinstance(tensor, Parameter) else "$tensor"
        node: dict[str, Any] = {}
        if is_bfloat16(tensor.array.dtype):  # 以 float32 存放，值不变
            node = {tag: self._array(widened(tensor.array), path), "dtype": "bfloat16"}
        else:
            node = {tag: self._array(tensor.array, path)}
        return {**node, "requires_grad": True} if tensor.requires_grad else node

    def _array(self, array: Array, path: tuple[Any, ...]) -> str:
        """存下数组，给出它的名字。"""
        if array.dtype == np.complex128:
            raise TypeError(
                f"save: {_place(path)} is complex128, which the file format does not have; save it as complex64, or as "
                "view_as_real() of it"
            )
        if array.dtype.kind not in "fiubc" or array.dtype.itemsize > 8:
            raise TypeError(
                f"save: {_place(path)} is NumPy data of {array.dtype}; convert it to plain Python values first"
            )
        key = (array.ctypes.data, array.shape, array.strides, array.dtype) if array.size else (len(self._kept),)
        self._kept.append(array)
        if key not in self._stored:
            name = plain = ".".join(map(str, path)).encode("utf-8", "backslashreplace").decode() or "value"
            count = 1
            while name in self.arrays or name == "__metadata__":
                count += 1
                name = f"{plain}#{count}"
            self.arrays[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            self._stored[key] = name
        return self._stored[key]


def _place(path: tuple[Any, ...]) -> str:
    return "obj" + "".join(f"[{key!r}]" for key in path)


def _unsupported(obj: Any, path: tuple[Any, ...]) -> TypeError:
    """存不了的对象：它在哪、是什么、改存什么。"""
    kind = type(obj).__name__
    return TypeError(f"save: {_place(path)} is {'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}; {_advice(obj)}")


def _advice(obj: Any) -> str:
    for base, text in _ADVICE:
        if isinstance(obj, base):
            return text
    if hasattr(obj, "state_dict"):
        return "save its state_dict() instead"
    if dataclasses.is_dataclass(obj):
        return "save dataclasses.asdict() of it instead"
    return "save vars() of it instead" if hasattr(obj, "__dict__") else "save numbers, strings or tensors instead"


# ---- 读


class Decoder:
    """由 JSON 树与数组还原对象；树来自文件，每一处都先核对再使用。

    Args:
        arrays: 名字到数组。
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self._tensors: dict[str, Tensor] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {
            "$int": lambda text: int(_text(text), 16),
            "$float": lambda text: float(_text(text)),
            "$tuple": lambda items: tuple(self._items(items)),
            "$size": lambda items: Size(self._items(items)),
            "$dict": lambda pairs: dict(self._pairs(pairs)),
            "$ordered": lambda pairs: OrderedDict(self._pairs(pairs)),
            "$state_dict": self._state_dict,
            "$dtype": self._dtype,
            "$device": lambda text: device(_text(text)),
            "$array": self._array,
            "$scalar": lambda name: self._array(name)[()],
        }

    def object(self, node: Any) -> Any:
        """还原一个对象。

        Args:
            node: JSON 树。

        Raises:
            ValueError: 不是 ``Encoder`` 写得出来的树。
        """
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return self._items(node)
        tags = [key for key in node if key.startswith("$")]
        if not tags:
            return {key: self.object(value) for key, value in node.items()}
        if tags[0] in ("$tensor", "$parameter"):
            return self._tensor(node, tags[0])
        if len(node) > 1 or tags[0] not in self._readers:
            raise ValueError(f"unknown kind of object {tags[0]!r}")
        return self._readers[tags[0]](node[tags[0]])

    def _items(self, items: Any) -> list[Any]:
        if not isinstance(items, list):
            raise ValueError("a list was expected")
        return [self.object(item) for item in items]

    def _pairs(self, pairs: Any) -> list[tuple[Any, Any]]:
        found = self._items(pairs)
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
            raise ValueError("pairs of key and value were expected")
        return [(key, value) for key, value in found]

    def _state_dict(self, parts: Any) -> StateDict:
        found = self._items(parts)
        if len(found) != 2 or not all(isinstance(part, dict) for part in found):
            raise ValueError("a state_dict and its versions were expected")
        result = StateDict(found[0])
        result._metadata = found[1]
        return result

    def _dtype(self, name: Any) -> dtypes.dtype:
        if _text(name) not in _DTYPES:
            raise ValueError(f"unknown dtype {name!r}")
        return _DTYPES[name]

    def _array(self, name: Any) -> Array:
        if _text(name) not in self._arrays:
            raise ValueError(f"no tensor is named {name!r}")
        return self._arrays[name]

    def _tensor(self, node: dict[str, Any], tag: str) -> Tensor:
        needs_grad = node.get("requires_grad", False)
        if not node.keys() <= {tag, "requires_grad", "dtype"} or not isinstance(needs_grad, bool):
            raise ValueError("a damaged tensor entry")
        if node.get("dtype", "bfloat16") != "bfloat16":
            raise ValueError(f"an unknown dtype {node['dtype']!r}")
        tensor = self._tensors.get(node[tag])
        if tensor is None:
            array = self._array(node[tag])
            tensor = Tensor.wrap(rounded(array) if "dtype" in node else array)
        else:
            tensor = tensor.detach()
        self._tensors.setdefault(node[tag], tensor)
        if needs_grad and not (tensor.is_floating_point() or tensor.is_complex()):
            raise ValueError(f"{node[tag]!r} cannot require gradients")
        if tag == "$tensor":
            return tensor.requires_grad_(needs_grad)  # type: ignore[no-any-return]
        return Parameter(tensor, needs_grad)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string was expected")
    return value
