"""几个同样的 Module 叠成一个：参数多一轴，配合 ``vmap`` 与 ``functional_call`` 一次算完。"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.joining import stack
from tinygrad_llm.tensor import Tensor

Tensors = dict[str, Tensor]


def stack_module_state(models: Any) -> tuple[Tensors, Tensors]:
    """把几个 Module 的参数、缓冲区按名字叠起来，样本轴是第 0 轴。

    Args:
        models: 同一个类、同样处在训练或评估状态的 Module。

    Returns:
        ``(参数, 缓冲区)``；都是新的叶子，要不要梯度同原来。

    Raises:
        RuntimeError: 一个也没有，或不是同一个类、同一种状态。
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return _stacked(parameters), _stacked(buffers)


def _stacked(tables: list[Tensors]) -> Tensors:
    return {name: _leaf([table[name] for table in tables], name) for name in tables[0]}


def _leaf(tensors: list[Tensor], name: str) -> Tensor:
    wanted = {t.requires_grad for t in tensors}
    if len(wanted) > 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    return stack(tensors).detach().requires_grad_(wanted.pop())  # type: ignore[no-any-return]
