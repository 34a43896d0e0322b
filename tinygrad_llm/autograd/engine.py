"""反向传播的入口：``backward`` 与 ``grad``。

流入：输出 Tensor 与它的梯度；流出：叶子的 ``.grad``，或指定输入的梯度。怎样走图见 ``traversal.py``。
下一站：``function.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import arguments, graph
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.traversal import Traversal, kept
from tinygrad_llm.autograd.writes import record
from tinygrad_llm.ops import elementwise
from tinygrad_llm.ops.bfloat16 import extras, narrowed, widened


def _needed_nodes(roots: Sequence[Any], targets: Sequence[Any]) -> set[Node]:
    """通向任一目标的节点：只有它们需要执行反向。"""
    seen: set[Node] = set()
    stack = [t.node for t in roots if t.node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [edge for edge in node.edges if isinstance(edge, Node)]
    wanted = {id(t.node or t) for t in targets}
    needed: set[Node] = set()
    for node in sorted(seen, key=lambda n: -n.order):
        if any(edge is not None and (id(edge) in wanted or edge in needed) for edge in node.edges):
            needed.add(node)
    return needed


def run_backward(
    outputs: Sequence[Any],
    gradients: Sequence[Any],
    *,
    inputs: Sequence[Any] | None,
    retain_graph: bool,
    create_graph: bool,
) -> Traversal:
    """从若干输出出发反传一趟，收集叶子（或指定输入）的梯度，不动 ``.grad``。"""
    starts = [arguments.initial_gradient(i, o, g) for i, (o, g) in enumerate(zip(outputs, gradients, strict=True))]
    only = None if inputs is None else _needed_nodes(outputs, inputs)
    capture = {t.node for t in inputs or () if t.node is not None}
    work = Traversal(create_graph=create_graph, retain_graph=retain_graph, only=only, capture=capture)
    previous = switch.grad_enabled, switch.writes_grad, switch.frees_graph
    switch.grad_enabled, switch.writes_grad, switch.frees_graph = create_graph, work.writes_grad, not retain_graph
    try:
        deliver = work.deliver_tensor if create_graph else work.deliver
        for output, start in zip(outputs, starts, strict=True):
            given = start if create_graph else start.array
            deliver(output.node or output, given, given)
        if switch.recorder is not None:
            switch.recorder.begin(work, outputs)
        with np.errstate(all="ignore"):  # 梯度里的 inf 与 NaN 如实传下去，与 torch 一样不另外警告
            work.run()
        if inputs is not None:  # 途经的节点也给了别的叶子梯度：那些不要
            wanted = {id(t) for t in inputs}
            work.leaves = {key: slot for key, slot in work.leaves.items() if key in wanted}
        for slot in work.leaves.values():
            if slot[0].hooks:
                slot[1], slot[2] = slot[0].hooks.on_gradient(slot[1], create_graph), False
    finally:
        switch.grad_enabled, switch.writes_grad, switch.frees_graph = previous
        if switch.recorder is not None:
            switch.recorder.end(work)
    return work


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """反传，把梯度累加到叶子的 ``.grad``。

    Args:
        tensors: 一个或一串输出。
        grad_tensors: 各输出的梯度；标量输出可省略（取 1）。
        retain_graph: 是否留着图以便再次反传；缺省同 ``create_graph``。
        create_graph: 反传自身是否也记图。
        grad_variables: ``grad_tensors`` 从前的名字。
        inputs: 只对这些 Tensor 累加（可以是中间结果）；缺省为全部叶子。

    Raises:
        RuntimeError: 输出不需要梯度、非标量输出没给梯度，或图已经释放。
    """
    outputs = arguments.listed(tensors)
    if grad_variables is not None:
        grad_tensors = arguments.renamed_gradients(grad_tensors, grad_variables)
    gradients = arguments.gradients(grad_tensors, outputs)
    retain = create_graph if retain_graph is None else retain_graph
    targets = None if inputs is None else arguments.targets(inputs, "backward")
    for target in targets or ():
        target.retain_grad()
    work = run_backward(outputs, gradients, inputs=targets, retain_graph=retain, create_graph=create_graph)
    for leaf, g, owned in work.leaves.values():
        _accumulate(leaf, g, owned, create_graph)
    if switch.recorder is not None:
        switch.recorder.accumulated(work)


def _accumulate(leaf: Any, g: Any, owned: bool, create_graph: bool) -> None:
    have, hooks = leaf.kept_grad, leaf.hooks
    if hooks:
        g, owned = hooks.before_leaf(g), False
        if g is None:
            return
    if create_graph:
        # 复制一份：g 可能是图里别处的张量或它的视图，.grad 却可以随意就地改写
        leaf.kept_grad = g.clone() if have is None else elementwise.add(have, g)
    elif have is None:
        leaf.kept_grad = graph.tensor_type.wrap(kept(g, owned, leaf.grad_buffer))
    else:
        if extras.low_precision:
            have.array[...] = narrowed(widened(have.array) + widened(g), have.array.dtype)
        else:
            np.add(have.array, g, out=have.array)
        record(have.array)
    if hooks:
        hooks.after_leaf(leaf, g)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Any:
    """求 ``outputs`` 对 ``inputs`` 的梯度，不动任何 ``.grad``。

    Args:
        outputs: 一个或一串输出。
        inputs: 一个或一串 Tensor，可以是中间结果；也可以是字典。
        grad_outputs: 各输出的梯度。
        retain_graph: 是否留着图；缺省同 ``create_graph``。
        create_graph: 为真时返回的梯度自身可再求导。
        only_inputs: 只能为真；torch 留着它，只为旧代码。
        allow_unused: 为真时，无关的输入得到 ``None`` 而不是报错；缺省同 ``materialize_grads``。
        is_grads_batched: 只能为假：一次反传只走一个向量。
        materialize_grads: 为真时，无关的输入得到 0。

    Returns:
        与 ``inputs`` 等长的梯度元组；``inputs`` 是字典时，键相同的字典。

    Raises:
        RuntimeError: 某个输入不需要梯度，或与输出无关而 ``allow_unused`` 为假。
    """
    arguments.check_grad_options(only_inputs, is_grads_batched)
    unused_ok = arguments.may_be_unused(allow_unused, materialize_grads)
    outs, targets = arguments.listed(outputs), arguments.targets(inputs, "grad")
    if not all(t.needs_grad for t in targets):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    gradients = arguments.gradients(grad_outputs, outs)
    retain = create_graph if retain_graph is None else retain_graph
    work = run_backward(outs, gradients, inputs=targets, retain_graph=retain, create_graph=create_graph)
    results: list[Any] = []
    for i, target in enumerate(targets):
        if target.node is None:
            found = work.leaves[id(target)][1] if id(target) in work.leaves else None
        else:
            found = work.captured.get(target.node)
        if found is None and not unused_ok:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} (shape {target.array.shape}) appears to not have been used in "
                "the graph. Set allow_unused=True if this is the desired behavior."
            )
        if found is None and materialize_grads:
            results.append(graph.tensor_type.wrap(np.zeros_like(target.array)))
        else:
            results.append(found if found is None or create_graph else graph.tensor_type.wrap(np.array(found)))
    return dict(zip(inputs, results, strict=True)) if isinstance(inputs, dict) else tuple(results)
