"""与 ``torch.nn.modules.utils`` 同一路径：自己写卷积一类的层时用的元组，与去掉权重名字的前缀。"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_llm.absent import attributes


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    """造一个函数：一列值变成元组，单个值重复 ``n`` 遍。"""

    def parse(x: Any) -> tuple[Any, ...]:
        return tuple(x) if isinstance(x, Iterable) else (x,) * n

    parse.__name__ = name
    return parse


_single, _pair = _ntuple(1, "_single"), _ntuple(2, "_pair")
_triple, _quadruple = _ntuple(3, "_triple"), _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: Iterable[Any], n: int) -> tuple[Any, ...]:
    """倒过来，每项重复 ``n`` 遍：卷积的 ``padding`` 变成 ``F.pad`` 的写法。"""
    return tuple(x for x in reversed(tuple(t)) for _ in range(n))


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """就地去掉键的前缀，如 ``DataParallel`` 的 ``module.``。

    Args:
        state_dict: ``Module.state_dict`` 的结果。
        prefix: 前缀，带末尾的点。
    """
    metadata = getattr(state_dict, "_metadata", {})
    for table, bare in ((state_dict, ""), (metadata, prefix.replace(".", ""))):
        for key in list(table):
            if key.startswith(prefix) or (key and key == bare):
                table[key[len(prefix) :]] = table.pop(key)


__getattr__ = attributes(__name__)
