"""模块级的 ``__getattr__``：用到才加载的名字，以及没有的名字该怎么报错。

流入：模块名与被取的属性名；流出：懒加载的值，或一条说出「用什么代替」的 ``AttributeError``。
``hasattr`` 对没有的名字仍是 ``False``，照着它选路的代码不受影响。
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinygrad_llm.paths import PATHS, RENAMED

_HALF_COMPLEX = "the complex dtypes here are complex64 and complex128; compute in complex64"
_SPARSE = "tensors are dense here; use index_add_, scatter_add or gather"
_QUANTIZED = "there are no quantized dtypes here; use int8 tensors and a float scale"
_GRAPH = "there is no graph compiler or tracer here; run the function itself, or compile it in torch_llm"
_PICKLE = "tinygrad_llm never unpickles; save tensors and plain containers with tinygrad_llm.save"
_GPU = "there is no GPU here: guard the call with is_available(), or use torch_llm"

HINTS: dict[str, str] = {
    "Event": _GPU,
    "Stream": _GPU,
    "autograd.forward_ad": "reverse mode only; func.jvp and func.jacfwd get there with two backward passes",
    "chalf": _HALF_COMPLEX,
    "complex32": _HALF_COMPLEX,
    "cuda": _GPU,
    "export": _GRAPH,
    "functorch": "its transforms are in tinygrad_llm.func",
    "fx": _GRAPH,
    "hub": "download weights as a .safetensors file and read it with tinygrad_llm.load",
    "jit.load": _PICKLE,
    "jit.save": _PICKLE,
    "jit.trace": _GRAPH,
    "jit.trace_module": _GRAPH,
    "mps": _GPU,
    "multiprocessing.reductions": "tensors travel between processes as copies",
    "nn.attention.bias": "pass is_causal=True or an attn_mask to scaled_dot_product_attention",
    "nn.quantized": _QUANTIZED,
    "onnx": "save the state_dict with tinygrad_llm.save, load it in PyTorch and export there",
    "optim.SparseAdam": _SPARSE,
    "package": _PICKLE,
    "qint8": _QUANTIZED,
    "quantization": _QUANTIZED,
    "ao": _QUANTIZED,
    "quantize_per_tensor": _QUANTIZED,
    "quint8": _QUANTIZED,
    "sparse": _SPARSE,
    "xpu": _GPU,
}
_DEFAULT = "if PyTorch has it, run it in torch_llm; the API page lists the names offered here"


def attributes(
    module: str, namespaces: Iterable[str] = (), names: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """造一个模块级的 ``__getattr__``。

    Args:
        module: 模块的点分名，即 ``__name__``。
        namespaces: 第一次取用时才导入的子模块。
        names: 第一次取用时才导入的名字，到它所在的子模块。

    Returns:
        供模块赋给 ``__getattr__`` 的函数；没有的名字抛出 ``AttributeError``，消息给出替代的办法。
    """
    submodules, homes = frozenset(namespaces), dict(names or {})

    def lookup(name: str) -> Any:
        if name in submodules:
            return importlib.import_module(f"{module}.{name}")
        if name not in homes:
            return elsewhere(module, name)
        value = getattr(importlib.import_module(f"{module}.{homes[name]}"), name)
        setattr(sys.modules[module], name, value)
        return value

    return lookup


def elsewhere(module: str, name: str) -> Any:
    """``module`` 里没有 ``name``：看它是不是 ``PATHS`` 里的一条路径，或换了名字。

    Args:
        module: 模块的点分名。
        name: 被取的属性名。

    Raises:
        AttributeError: 都不是。
    """
    package, _, dotted = f"{module}.{name}".partition(".")
    if dotted in PATHS:
        return importlib.import_module(f"{module}.{name}")
    if dotted in RENAMED:
        home, _, inner = RENAMED[dotted].rpartition(".")
        return getattr(importlib.import_module(f"{package}.{home}"), inner)
    raise absent(module, name)


def absent(module: str, name: str) -> AttributeError:
    """``module`` 里没有 ``name`` 时的错误。

    Args:
        module: 模块的点分名。
        name: 被取的属性名；双下划线的名字是解释器在问，不给建议。
    """
    full = f"{module}.{name}"
    text = f"{full} is not offered" if not _is_dunder(name) else f"module {module!r} has no attribute {name!r}"
    advice = "" if _is_dunder(name) else f"; {hint(full.partition('.')[2]) or _DEFAULT}"
    return AttributeError(text + advice, name=name, obj=sys.modules.get(module))


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def hint(dotted: str) -> str | None:
    """最贴切的建议：先看全名，再看它所在的名字空间；都没有则为 ``None``。"""
    while dotted:
        if dotted in HINTS:
            return HINTS[dotted]
        dotted = dotted.rpartition(".")[0]
    return None
