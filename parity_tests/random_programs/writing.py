"""把一个程序印成代码：一份脚本，在两个引擎上跑同一个函数，把结果并排打印。

流入：``Program``；流出：Python 源文件的文本。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parity_tests.random_programs.program import AUGMENTED, Dtype, Leaf, Program, Ref, Step

_MAIN = """

for m in (torch, tinygrad_llm):
    print(f"==== {m.__name__}")
    try:
        for name, value in program(m).items():
            print(name, value)
    except Exception as error:
        print(type(error).__name__, error)
"""


def script(program: Program) -> str:
    """程序 → 可以直接运行的脚本。"""
    lines = ["import torch", "", "import tinygrad_llm", "", "", "def program(m):"]
    for node in program.nodes:
        text = f"v{node.id} = {_leaf(node)}" if isinstance(node, Leaf) else _step(node)
        lines += [f"    {line}" for line in text.split("\n")]
    lines += [f"    {line}" for line in _backward(program)]
    names = [f"v{node.id}" for node in program.steps if not node.writes]
    grads = [f"v{leaf.id}" for leaf in program.leaves if leaf.requires_grad]
    grads += [written(step.args[0]) for step in program.steps if step.target == ".retain_grad"]
    items = [f'"{name}": {name}' for name in names] + [f'"{name}.grad": {name}.grad' for name in grads]
    lines += ["    return {", *(f"        {item}," for item in items), "    }"]
    return "\n".join(lines) + _MAIN


def written(value: Any) -> str:
    """一个实参 → 它的源代码。"""
    if isinstance(value, Ref):
        return f"v{value.id}"
    if isinstance(value, Dtype):
        return f"m.{value.name}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' * (len(value) == 1)})"
    if isinstance(value, slice):
        return f"slice({value.start}, {value.stop}, {value.step})"
    return (
        "..." if value is ... else f'float("{value}")' if value != value or value in (np.inf, -np.inf) else repr(value)
    )


def _leaf(leaf: Leaf) -> str:
    tail = ".requires_grad_()" if leaf.requires_grad else ""
    if not leaf.values.size:
        return f"m.zeros({leaf.values.shape}, dtype=m.{leaf.dtype}){tail}"
    return f"m.tensor({leaf.values.tolist()}, dtype=m.{leaf.dtype}){tail}"


def _step(step: Step) -> str:
    args = [written(one) for one in step.args]
    call = [*args, *(f"{name}={written(value)}" for name, value in step.kwargs)]
    if step.target == "[]=":
        text = f"v{step.id} = {args[0]}\nv{step.id}[{args[1]}] = {args[2]}"
    elif step.target in AUGMENTED:
        text = f"v{step.id} = {args[0]}\nv{step.id} {step.target} {args[1]}"
    elif step.target == "[]":
        text = f"v{step.id} = {args[0]}[{args[1]}]"
    elif not step.target.replace(".", "").replace("_", "").isalnum():
        text = f"v{step.id} = {args[0]} {step.target} {args[1]}"
    elif step.target.startswith("."):
        text = f"v{step.id} = {args[0]}{step.target}({', '.join(call[1:])})"
    else:
        text = f"v{step.id} = m.{step.target}({', '.join(call)})"
    return "with m.no_grad():\n    " + text.replace("\n", "\n    ") if step.no_grad else text


def _backward(program: Program) -> list[str]:
    if not program.outputs:
        return []
    if program.backward == "outputs":
        outputs = ", ".join(f"v{out}" for out, _ in program.outputs)
        return [f"m.autograd.backward([{outputs}], [{', '.join(f'v{weight}' for _, weight in program.outputs)}])"]
    lines = ["loss = " + " + ".join(f"(v{out} * v{weight}).sum()" for out, weight in program.outputs)]
    if program.backward == "second":
        leaves = ", ".join(f"v{leaf.id}" for leaf in program.leaves if leaf.requires_grad)
        lines += [
            f"first = m.autograd.grad(loss, [{leaves}], create_graph=True, allow_unused=True)",
            "loss = loss + sum((grad * grad).sum() for grad in first if grad is not None)",
        ]
    if program.backward == "twice":
        lines.append("loss.backward(retain_graph=True)")
    return [*lines, "loss.backward()"]
