"""一项一项地关掉 NumPy 引擎的技术，供 ``ablation.py`` 比较。

流入：一项技术的名字；流出：打好补丁的引擎。补丁打在子进程里、引擎造好之前，引擎自己不必为测速留开关。
引擎的工作进程是另起的解释器：这里换掉它们的启动命令，改由 ``python -m benchmarks.patches NAME`` 先打好同样的补丁。
"""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from tinygrad_llm.common.errors import UserError

_WORKER = "tinygrad_llm.parallel.worker"


class Patch(NamedTuple):
    """关掉一项技术的办法。

    Attributes:
        apply: 打补丁；在子进程里、造引擎之前调用。
        note: 关掉之后变成了什么。
    """

    apply: Callable[[], None]
    note: str


def _replace(module: str, name: str, value: Any) -> None:
    """换掉一个模块里的名字；没有这个名字就报错，免得补丁悄悄不起作用。"""
    found = importlib.import_module(module)
    if not hasattr(found, name):
        raise AttributeError(f"ablation: {module} has no {name}; bring benchmarks/patches.py up to date")
    setattr(found, name, value)


def _one_process() -> None:
    _replace("tinygrad_llm.train", "claim_workers", lambda wanted, most: 1)


def _blas_threads() -> None:
    _one_process()
    crew = importlib.import_module("tinygrad_llm.ops.cores")._crew
    crew.count = 1  # 算子不再自己切开；BLAS 的线程数没有动


def _whole_arrays() -> None:
    _replace("tinygrad_llm.ops.blocks", "_BLOCK", 1 << 62)
    _replace("tinygrad_llm.parallel.flat", "_blocks", lambda start, stop: [slice(start, stop)] if stop > start else [])


def _square_attention() -> None:
    _replace("tinygrad_llm.ops.attention", "_ROWS", 1 << 30)


def _default_malloc() -> None:
    _replace("tinygrad_llm.memory", "keep_freed_memory", lambda: False)


def _composed(op_name: str) -> Callable[[], None]:
    """用普通算子写成的定义（``composed``）代替一个融合算子。"""

    def patch() -> None:
        from tinygrad_llm import nn, optim  # noqa: F401  先加载用到 apply 的模块，下面才换得全
        from tinygrad_llm.autograd import graph
        from tinygrad_llm.ops.op import REGISTRY

        op, plain = REGISTRY[op_name], graph.apply
        composed = op.composed
        if composed is None:
            raise AttributeError(f"ablation: op {op_name} has no composed definition")

        def apply(one: Any, args: Any, attrs: dict[str, Any]) -> Any:
            return composed(*args, **{**op.defaults, **attrs}) if one is op else plain(one, args, attrs)

        for name, module in list(sys.modules.items()):
            if name.startswith("tinygrad_llm.") and vars(module).get("apply") is plain:
                vars(module)["apply"] = apply

    return patch


FUSED = ("linear", "layer_norm", "gelu_tanh", "attention", "token_loss")
"""GPT 的一步里用到的融合算子。"""

PATCHES: dict[str, Patch] = {
    "processes": Patch(_one_process, "one process, each op split over threads"),
    "own threads": Patch(_blas_threads, "one process, threads only inside the BLAS"),
    **{f"fused {name}": Patch(_composed(name), "composed of elementary ops") for name in FUSED},
    "cache blocks": Patch(_whole_arrays, "each pass over whole arrays"),
    "causal blocks": Patch(_square_attention, "all of T x T in every head"),
    "kept memory": Patch(_default_malloc, "freed arrays go back to the kernel"),
}
"""技术的名字，到关掉它的办法。"""


def apply(name: str) -> None:
    """关掉一项技术，引擎稍后启动的工作进程也在内。

    Raises:
        UserError: 没有这一项。
    """
    if name not in PATCHES:
        raise UserError(f"unknown technique {name!r}", where="ablation", fix=f"choose from {', '.join(PATCHES)}")
    PATCHES[name].apply()

    def start(command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        if _WORKER not in command:
            raise AssertionError(f"ablation: the engine starts {command}, not {_WORKER}")
        at = command.index(_WORKER)
        return subprocess.Popen([*command[:at], "benchmarks.patches", name, *command[at + 1 :]], **settings)

    _replace("tinygrad_llm.parallel.team", "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))


def main(argv: list[str]) -> None:
    """引擎的工作进程：打好补丁，再照原样运行它。"""
    apply(argv[0])
    sys.argv[1:] = argv[1:]
    runpy.run_module(_WORKER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
