"""临时换掉一个 Module 的参数来调用它：对参数求导、求海森、几份参数轮流用，都靠它。

流入：Module 与「名字到 Tensor」；流出：前向的结果。与 ``torch.func.functional_call`` 同名同义。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor

Tensors = dict[str, Tensor]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """以给定的参数与缓冲区代替 Module 自己的，调用它一次。

    Args:
        module: Module；调用之后恢复原样。
        parameter_and_buffer_dicts: 名字到 Tensor，或一串这样的字典；前向里就地换掉的缓冲区会写回字典。
        args: 位置参数；不是元组就当作唯一的一个。
        kwargs: 关键字参数。
        tie_weights: 共用的参数只给一个名字时，其余的名字也跟着换。
        strict: 名字必须一一对应。

    Returns:
        前向的结果。

    Raises:
        AttributeError: 名字里的子模块不存在。
        RuntimeError: 名字对不上（``strict``）。
        TypeError: 给的不是 Tensor，或要换的不是 Tensor。
        ValueError: 同一个名字出现在两个字典里，或共用的参数给了两个值。
    """
    given = _merged(parameter_and_buffer_dicts)
    swapped = _with_ties(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, swapped)
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, swapped):
        result = module(*positional, **(kwargs or {}))
        if isinstance(parameter_and_buffer_dicts, dict):
            given.update({name: _table(module, name)[0][_table(module, name)[1]] for name in given})
    return result


def _merged(dicts: Any) -> Tensors:
    if isinstance(dicts, dict):
        return dicts
    if not (isinstance(dicts, (list, tuple)) and all(isinstance(d, Mapping) for d in dicts)):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    names = [name for d in dicts for name in d]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {name: value for d in dicts for name, value in d.items()}


def _with_ties(module: Module, given: Tensors) -> Tensors:
    """共用的参数：给了其中一个名字，就等于都给了。"""
    names: dict[int, list[str]] = {}
    for name, tensor in _members(module).items():
        names.setdefault(id(tensor), []).append(name)
    result = dict(given)
    for tied in names.values():
        values = {id(given[name]): given[name] for name in tied if name in given}
        if len(values) > 1:
            raise ValueError(f"functional_call got multiple values for keys {sorted(tied)}, which are tied")
        for value in values.values():
            result.update(dict.fromkeys(tied, value))
    return result


def _members(module: Module) -> Tensors:
    parameters: Any = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _check_names(module: Module, given: Tensors) -> None:
    own = _members(module)
    problems = {"Unexpected": [n for n in given if n not in own], "Missing": [n for n in own if n not in given]}
    lines = [f"{kind} key(s): {', '.join(map(repr, names))}." for kind, names in problems.items() if names]
    if lines:
        details = "\n\t".join(lines)
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t{details}")


@contextmanager
def _swapped(module: Module, given: Tensors) -> Iterator[None]:
    """``with`` 之内换上，之后换回。"""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for name, value in given.items():
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"{value} is not an instance of torch.Tensor")
            table, last = _table(module, name)
            undo.append((table, last, table.get(last, undo)))
            table[last] = value
        yield
    finally:
        for table, last, original in reversed(undo):
            if original is undo:
                del table[last]
            else:
                table[last] = original


def _table(module: Module, name: str) -> tuple[dict[str, Any], str]:
    """名字所在的表与表里的键；不认识的名字当作普通属性。"""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    if last == "":
        raise KeyError('tensor name can\'t be empty string ""')
    for table in (owner._parameters, owner._buffers):
        if last in table:
            return table, last
    if hasattr(owner, last) and not isinstance(getattr(owner, last), Tensor):
        raise TypeError(f"attribute `{name}`: {getattr(owner, last)} is not an instance of torch.Tensor")
    return owner.__dict__, last
