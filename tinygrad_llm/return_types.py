"""有名字的多个结果：``x.max(0).values``、``x.sort().indices``。

流入：一串 Tensor；流出：可以按名字取、也可以按位置拆开的元组，打印的样子同 ``torch.return_types``。
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any


class Named(tuple[Any, ...]):
    """各项有名字的元组；具体的名字由子类给出。"""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __repr__(self) -> str:
        items = ",\n".join(f"{name}={item!r}" for name, item in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{items})"


def named_results(name: str, *fields: str) -> Any:
    """造一个 ``Named`` 的子类。

    Args:
        name: 类名，与产生它的函数同名。
        *fields: 各项的名字。

    Returns:
        类；以一串结果为参数构造。
    """
    members: dict[str, Any] = {field: property(itemgetter(i)) for i, field in enumerate(fields)}
    return type(name, (Named,), {"__slots__": (), "__module__": __name__, "_fields": fields, **members})


named = named_results

max, min, median, nanmedian, mode, kthvalue, sort, topk, cummax, cummin = (
    named_results(name, "values", "indices")
    for name in ("max", "min", "median", "nanmedian", "mode", "kthvalue", "sort", "topk", "cummax", "cummin")
)
aminmax = named_results("aminmax", "min", "max")
histogram = named_results("histogram", "hist", "bin_edges")
histogramdd = named_results("histogramdd", "hist", "bin_edges")
