"""装参数的容器：ParameterList 与 ParameterDict。

流入：Tensor（自动变成 Parameter）或任何别的值；流出：登记好的 Module。
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinygrad_llm.nn.containers import pairs_of
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _line(name: Any, value: Any, *, by_class: bool = False) -> str:
    """一项的说明；``by_class`` 则写早年的类型名（``torch.FloatTensor``），torch 的字典如此，列表写 dtype。"""
    if not isinstance(value, Tensor):
        return f"  ({name}): Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    element = value.type() if by_class else value.dtype
    return f"  ({name}): {kind} containing: [{element} of size {'x'.join(map(str, value.array.shape))}]"


class ParameterList(Module):
    """一列参数；别的值也可以放，只是不训练。"""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name(self, index: Any) -> str:
        place = operator.index(index)
        if not -self._size <= place < self._size:
            raise IndexError(f"index {place} is out of range")
        return str(place % self._size)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(self[i] for i in range(self._size)[index])
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, param: Any) -> None:
        setattr(self, self._name(index), _as_parameter(param))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(self._size)])

    def __iadd__(self, parameters: Iterable[Any]) -> ParameterList:
        return self.extend(parameters)

    def append(self, value: Any) -> ParameterList:
        """在末尾加一个。"""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """在末尾加若干个。

        Raises:
            TypeError: 不可迭代，或是单个 Tensor。
        """
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for value in values:
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """每个参数一行。"""
        return "\n".join(_line(i, value) for i, value in enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """不是一层。

        Raises:
            RuntimeError: 总是。
        """
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """一组有名字的参数；别的值也可以放，只是不训练。"""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, _text(key))

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, _text(key), _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """共用同一批参数的另一个容器。"""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """没有就放进 ``default``，返回里面的值。"""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """全部去掉。"""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """去掉并返回一个。"""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Any]:
        """去掉并返回最后放进来的一对。"""
        key = next(reversed(self), "")
        if key not in self:
            raise KeyError("popitem(): dictionary is empty")
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """取一个，没有就是 ``default``。"""
        return getattr(self, key) if key in self._keys else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """这些名字、同一个值的新容器。"""
        return ParameterDict([(key, default) for key in keys])

    def keys(self) -> Iterable[str]:
        """名字。"""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """名字与值。"""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """值。"""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """加入（或换掉）若干个；普通的映射先按名字排序，与 torch 相同。

        Raises:
            TypeError: 不可迭代，或其中一项不可迭代。
            ValueError: 其中一项的长度不是 2。
        """
        pairs = pairs_of(parameters, "ParameterDict")
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs)
        for key, value in pairs:
            self[key] = value

    def extra_repr(self) -> str:
        """每个参数一行。"""
        return "\n".join(_line(key, value, by_class=True) for key, value in self.items())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """不是一层。

        Raises:
            RuntimeError: 总是。
        """
        raise RuntimeError("ParameterDict should not be called.")

    def __or__(self, other: Any) -> ParameterDict:
        result = self.copy()
        result.update(other)
        return result

    def __ror__(self, other: Any) -> ParameterDict:
        result = ParameterDict(other)
        result.update(self)
        return result

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Index given to ParameterDict cannot be used as a key as it is not a string, got {key!r}")
    return key
