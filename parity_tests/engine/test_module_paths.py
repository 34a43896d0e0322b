"""模块的路径：照 torch 写的 ``import`` 换个包名就能用，取到的与别处的是同一个东西。

把 ``sys.modules["torch"]`` 换成 ``tinygrad_llm`` 之后，一个字不改的程序也是如此。
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.house.repo import ROOT
from tinygrad_llm.paths import PATHS, RENAMED

OWN_FILES = (
    "amp", "autograd.function", "autograd.functional", "autograd.graph", "autograd.variable", "nn.attention",
    "nn.functional", "nn.init", "nn.modules", "nn.modules.module", "nn.modules.utils", "nn.parallel", "nn.parameter",
    "nn.utils.clip_grad", "nn.utils.convert_parameters", "nn.utils.parametrizations", "nn.utils.parametrize",
    "nn.utils.rnn", "nn.utils.stateless", "optim.adamw", "optim.lr_scheduler", "optim.optimizer", "optim.sgd",
    "optim.swa_utils", "random", "return_types", "serialization", "types", "utils.checkpoint", "utils.data",
    "utils.data.dataloader", "utils.data.dataset", "utils.data.distributed", "utils.data.sampler", "utils.hooks",
)  # fmt: skip
"""两边都单有一个文件的路径。"""


def _shared(path: str) -> list[str]:
    """torch 里一条路径上定义的、上一级也有的公开名字：``nn.modules.linear.Linear`` 也是 ``nn.Linear``。"""
    module, above = importlib.import_module(f"torch.{path}"), _above(torch, path)
    own = {name: one for name, one in vars(module).items() if str(getattr(one, "__module__", "")) == module.__name__}
    return [name for name, one in own.items() if name[0] != "_" and getattr(above, name, None) is one]


def _above(root: ModuleType, path: str) -> Any:
    parent = path.rpartition(".")[0].removesuffix(".modules")
    return importlib.import_module(f"{root.__name__}.{parent}".rstrip("."))


@pytest.mark.parametrize("path", sorted({*PATHS, *OWN_FILES}))
def test_a_module_path_leads_elsewhere(path: str) -> None:
    """照 torch 的路径找不到模块，少了别处有的名字，或取到的是另一个东西。"""
    ours, above = importlib.import_module(f"tinygrad_llm.{path}"), _above(tg, path)
    owner = importlib.import_module(f"tinygrad_llm.{path}".rpartition(".")[0])
    assert getattr(owner, path.rpartition(".")[2]) is ours
    for name in _shared(path):
        if hasattr(above, name) and getattr(getattr(above, name), "__module__", "").startswith("tinygrad_llm"):
            assert getattr(ours, name) is getattr(above, name), name
            assert name in dir(ours)


@pytest.mark.parametrize("full", sorted(RENAMED))
def test_a_private_name_is_lost(full: str) -> None:
    """torch 里以下划线开头、常被引用的名字取不到，或 torch 早已没有它。"""
    path, _, name = full.rpartition(".")
    assert callable(getattr(importlib.import_module(f"tinygrad_llm.{path}"), name))
    assert hasattr(importlib.import_module(f"torch.{path}"), name)


def test_base_classes_of_torch_are_not_ours() -> None:
    """``isinstance`` 要用的几个基类不是各层真正的基类。"""
    bases = {"batchnorm._BatchNorm": "BatchNorm2d", "conv._ConvNd": "ConvTranspose1d", "dropout._DropoutNd": "Dropout",
        "instancenorm._InstanceNorm": "InstanceNorm1d", "loss._WeightedLoss": "CrossEntropyLoss"}  # fmt: skip
    for m in (tg, torch):
        for path, layer in bases.items():
            home, _, name = path.partition(".")
            assert issubclass(getattr(m.nn, layer), getattr(getattr(m.nn.modules, home), name))


def test_a_path_that_is_not_there_is_found() -> None:
    """没有的路径：没有报错，或没说用什么代替；解释器与别的工具的询问得不到照常的回答。"""
    with pytest.raises(ModuleNotFoundError, match="bias is not offered; pass is_causal=True"):
        importlib.import_module("tinygrad_llm.nn.attention.bias")
    with pytest.raises(AttributeError, match="bias is not offered; pass is_causal=True"):
        _ = tg.nn.attention.bias
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'tinygrad_llm.no_such'"):
        importlib.import_module("tinygrad_llm.no_such")
    with pytest.raises(AttributeError, match=r"nn.modules.linear.no_such is not offered"):
        _ = tg.nn.modules.linear.no_such
    assert not hasattr(tg.nn.modules.linear, "__file__")
    assert importlib.util.find_spec("tinygrad_llm.no_such") is None


_UNMODIFIED = """
import sys, tinygrad_llm
sys.modules["torch"] = tinygrad_llm
import torch
import torch.nn as nn, torch.nn.functional as F, torch.utils.data
from torch import Tensor, optim
from torch.nn import Parameter
from torch.nn.modules.transformer import TransformerEncoderLayer
from torch.nn.parameter import Parameter as SameParameter
from torch.optim.adam import Adam
from torch.optim.adamw import AdamW
from torch.amp.grad_scaler import GradScaler
from torch.utils.data.dataset import TensorDataset
from torch.utils.data._utils.collate import default_collate
same = [
    (nn, tinygrad_llm.nn), (SameParameter, Parameter), (AdamW, optim.AdamW), (Adam, optim.Adam),
    (TransformerEncoderLayer, nn.TransformerEncoderLayer), (TensorDataset, torch.utils.data.TensorDataset),
    (GradScaler, torch.amp.GradScaler), (default_collate, torch.utils.data.default_collate),
]
assert all(a is b for a, b in same)
assert nn.__spec__.name == nn.__name__ == "tinygrad_llm.nn"
try:
    import torch.fx
except ModuleNotFoundError as error:
    assert "run the function itself" in str(error)
layer = nn.Linear(2, 2)
layer.weight = SameParameter(torch.zeros(2, 2))
assert len(list(layer.parameters())) == 2
"""


def test_a_program_that_says_torch_loads_everything_twice() -> None:
    """``sys.modules["torch"]`` 换成本包之后，某个路径又装了一份：类与原来的互不相认。"""
    run = subprocess.run([sys.executable, "-c", _UNMODIFIED], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_prefixes_are_not_stripped() -> None:
    """``consume_prefix_in_state_dict_if_present`` 之后的键，或卷积的元组写法，与 torch 不同。"""
    found = []
    for m in (tg, torch):
        utils: Any = m.nn.modules.utils
        state = m.nn.DataParallel(m.nn.Sequential(m.nn.Linear(1, 1))).state_dict()
        utils.consume_prefix_in_state_dict_if_present(state, "module.")
        m.nn.Sequential(m.nn.Linear(1, 1)).load_state_dict(state)
        plain = {"model.a": 1, "b": 2}
        utils.consume_prefix_in_state_dict_if_present(plain, "model.")
        pairs = [utils._pair(3), utils._triple([1, 2, 3]), utils._single(2), utils._reverse_repeat_tuple((1, 2), 2)]
        found.append((list(state), plain, pairs, utils._pair.__name__))
    assert found[0] == found[1]


def test_attention_backends_are_not_restored() -> None:
    """``sdpa_kernel`` 之内的开关、出来之后的开关，或它认的参数与 torch 不同。"""
    names = ("flash", "mem_efficient", "math", "cudnn")
    found = []
    for m in (tg, torch):
        backend, switches = m.nn.attention.SDPBackend, m.backends.cuda

        def state(switches: Any = switches) -> list[bool]:
            return [getattr(switches, f"{name}_sdp_enabled")() for name in names]

        seen = [state()]
        with m.nn.attention.sdpa_kernel(backend.MATH):
            seen.append(state())
            with m.nn.attention.sdpa_kernel([backend.MATH, backend.FLASH_ATTENTION], set_priority=True):
                seen.append(state())
                x = m.ones(1, 1, 2, 4)
                m.nn.functional.scaled_dot_product_attention(x, x, x)
        for name in names:
            getattr(switches, f"enable_{name}_sdp")(False)
            seen.append(state())
            getattr(switches, f"enable_{name}_sdp")(True)
        values = [(str(name), int(getattr(backend, name))) for name in ("MATH", "FLASH_ATTENTION", "ERROR")]
        found.append((seen, state(), values, [m.backends.mha.get_fastpath_enabled()]))
        with pytest.raises(AssertionError):
            m.nn.attention.sdpa_kernel("math").__enter__()
    assert found[0] == found[1]
