"""没有的名字与懒加载的名字：没有的当场说清楚该改用什么，懒加载的找得到，少有人用的不顺带加载。"""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
import types
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.house.repo import ROOT
from tinygrad_llm import absent

ABSENT = {
    "complex32": "complex64",
    "functorch": "tinygrad_llm.func",
    "onnx": "tinygrad_llm.save",
    "hub": "safetensors",
    "quantization": "quantized",
    "Linear": "API page",
    "nn.NoSuchLayer": "API page",
    "nn.functional.no_such_function": "API page",
    "optim.NoSuchOptimizer": "API page",
    "utils.no_such_tool": "API page",
    "autograd.no_such_tool": "API page",
    "jit.trace": "run the function itself",
    "jit.load": "never unpickles",
    "cuda.Event": "is_available",
    "cuda.nvtx": "is_available",
    "backends.cudnn.no_such_flag": "torch_llm",
    "utils.tensorboard.FileWriter": "API page",
    "distributed.fsdp": "torch_llm",
    "nn.parallel.replicate": "torch_llm",
}


def _home(dotted: str) -> tuple[Any, str]:
    *path, name = dotted.split(".")
    owner: Any = tg
    for part in path:
        owner = getattr(owner, part)
    return owner, name


@pytest.mark.parametrize("dotted", sorted(ABSENT))
def test_an_absent_name_is_not_explained(dotted: str) -> None:
    """没有的名字：``hasattr`` 说有，或报错里没有全名与替代的办法。"""
    owner, name = _home(dotted)
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=f"tinygrad_llm.{dotted} is not offered; .*{ABSENT[dotted]}") as caught:
        getattr(owner, name)
    assert (caught.value.name, caught.value.obj) == (name, owner)


def test_a_hint_is_out_of_date() -> None:
    """名单上说没有的名字其实有了。"""
    namespaces = {"cuda", "mps", "xpu"}
    found = []
    for dotted in sorted(set(absent.HINTS) - namespaces):
        *path, name = dotted.split(".")
        owner: Any = tg
        for part in path:
            owner = getattr(owner, part, None)
        if owner is not None and hasattr(owner, name):
            found.append(dotted)
    assert not found


def test_interpreter_questions_are_answered_oddly() -> None:
    """双下划线的名字是解释器在问：照常报错，不给建议；标准库据此判断的工具照常可用。"""
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_llm' has no attribute '__wrapped__'$"):
        _ = tg.__wrapped__
    assert type(copy.copy(tg.backends.cuda.matmul)) is type(tg.backends.cuda.matmul)
    with pytest.raises(ImportError, match="cannot import name 'NoSuchLayer'"):
        from tinygrad_llm.nn import NoSuchLayer  # noqa: F401  要的就是导入失败


MODULES = (
    "__config__", "accelerator", "autograd", "autograd.functional", "backends", "backends.cuda", "backends.cudnn",
    "backends.mps", "compiler", "cpu", "cuda", "distributed", "func", "jit", "mps", "nn", "nn.functional", "nn.init",
    "nn.parallel", "nn.utils", "optim", "optim.lr_scheduler", "utils", "utils.data", "utils.tensorboard", "version",
    "xpu",
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_module_path_of_torch_does_not_exist(module: str) -> None:
    """``import torch.X as Y`` 换成 ``import tinygrad_llm.X as Y`` 便找不到模块，或与按属性取到的不是同一个。"""
    found = importlib.import_module(f"tinygrad_llm.{module}")
    owner, name = _home(module)
    assert getattr(owner, name) is found
    assert name in dir(tg) or owner is not tg


def test_lazy_names_are_not_listed() -> None:
    """懒加载的名字在 ``dir`` 里看不到：交互环境里补全不出来。"""
    names = dir(tg)
    for name in ("save", "load", "compile", "cuda", "distributed", "set_num_threads", "tensor", "exp"):
        assert name in names
        assert callable(getattr(tg, name)) or isinstance(getattr(tg, name), types.ModuleType)
    assert tg.save is vars(tg)["save"]


_RARE = ("distributed", "cuda", "backends", "serialization", "structure", "compiler", "utils.tensorboard", "common")
_MODULES = 400
"""``import tinygrad_llm`` 至多加载这么多个模块，标准库与 NumPy 的在内（眼下 353）；时间都花在加载上。"""


def test_importing_loads_what_is_rarely_used() -> None:
    """``import tinygrad_llm`` 顺带加载了少有人用的部分，或加载的模块太多。"""
    code = "import sys; import tinygrad_llm; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    loaded = run.stdout.decode().split()
    assert not {f"tinygrad_llm.{name}" for name in _RARE} & set(loaded)
    assert len(loaded) <= _MODULES
