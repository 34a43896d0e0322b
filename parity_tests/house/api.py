"""API 页：``tinygrad_llm/API.md`` 里由代码生成的几块。

流入：``tinygrad_llm`` 与 torch 的公开名字、模块与函数文档的首句；流出：页面中各对标记之间的文本，标记之外是手写的。
用法：``python -m parity_tests.house.api --write``；不带参数时只说哪几块过时了。没有的名字怎样归类见 ``api_absent.py``。
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import tinygrad_llm as tg
from parity_tests.house.api_absent import absent_block, belongs, missing, module_of
from parity_tests.house.repo import ROOT, read_block, write_block
from tinygrad_llm.foreach import FOREACH
from tinygrad_llm.function_only import IN_PLACE_FUNCTIONS
from tinygrad_llm.paths import PATHS

PAGE = ROOT / "tinygrad_llm" / "API.md"
LEDGER = ROOT / "parity_tests" / "opinfo" / "ledger.md"
LISTED = (
    "nn", "nn.functional", "nn.init", "distributions", "linalg", "fft", "special", "masked", "signal.windows",
)  # fmt: skip
"""名字多、用法与 torch 相同的名字空间：只列名字。"""

DESCRIBED = (
    "autograd", "autograd.functional", "autograd.graph", "func", "amp", "optim", "optim.lr_scheduler",
    "optim.swa_utils", "nn.attention", "nn.attention.flex_attention", "nn.utils", "nn.utils.rnn",
    "nn.utils.parametrizations", "nn.utils.parametrize", "nn.utils.prune", "utils.data", "utils.checkpoint",
    "utils.tensorboard", "utils.hooks", "utils.dlpack", "utils.benchmark", "profiler", "storage", "testing",
)  # fmt: skip
"""名字少的名字空间：每个名字一行，附首句。"""

ANSWERING = (
    "cuda", "cuda.amp", "backends", "backends.cuda", "backends.cudnn", "backends.mps", "mps", "xpu", "accelerator",
    "cpu", "distributed", "nn.parallel", "compiler", "jit", "random", "version", "__config__", "multiprocessing",
)  # fmt: skip
"""多半只是如实回答「没有」的名字空间：一个一行。"""

_ELSEWHERE = frozenset(
    [
        "autograd.function",
        "autograd.profiler",
        "autograd.profiler_util",
        "autograd.variable",
        "serialization",
        "utils.cpp_extension",  # torch 的要有 setuptools 才导入得了，页面不该随它变
        "nn.modules",
        "nn.parameter",
        "utils",
        "ops",
        "return_types",
    ]
)
"""不另立一节的名字空间：名字已在别处列出，或没有给用户的名字。"""


def shared(namespace: str) -> list[str]:
    """两边都有的公开名字，按字母排列；子模块与从别处引入的类不算。torch 的那一半加载不了时，取自己定义的。"""
    ours, theirs = module_of(namespace, tg), module_of(namespace, torch)
    if theirs is None:
        return [
            name
            for name, one in sorted(vars(ours).items())
            if name[0] != "_" and getattr(one, "__module__", "") == ours.__name__
        ]
    names = [name for name in dir(theirs) if not name.startswith("_") and hasattr(ours, name)]
    return [name for name in names if _is_own(getattr(ours, name), getattr(theirs, name), namespace)]


def _is_own(thing: Any, other: Any, namespace: str) -> bool:
    home = str(getattr(thing, "__module__", None) or "tinygrad_llm")
    if isinstance(thing, (ModuleType, bool)) or not home.startswith("tinygrad_llm"):
        return False
    return belongs(other, "" if namespace in ANSWERING else namespace)


def sentence(thing: Any) -> str:
    """文档的首句，不含句号，写成 Markdown；没有文档则为空。"""
    first = (inspect.getdoc(thing) or "").partition("\n\n")[0].partition("。")[0]
    return re.sub(r"\s+", " ", first).replace("``", "`").replace("|", r"\|")


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _with_in_place(names: Iterable[str], has: Callable[[str], bool]) -> list[str]:
    """``exp`` 与 ``exp_`` 都有时合写成 ``exp(_)``。"""
    pool = set(names)
    return [f"{name}(_)" if has(f"{name}_") else name for name in sorted(pool) if not _is_variant(name, pool)]


def _by_home(namespace: str) -> dict[str, list[str]]:
    """名字按定义它的文件分组；``tinygrad_llm`` 里由方法生成的函数算在方法的文件里。"""
    ours, found = module_of(namespace, tg), defaultdict(list)
    for name in shared(namespace):
        home = str(getattr(getattr(ours, name), "__module__", None) or "tinygrad_llm")
        found[home].append(name)
    return dict(sorted(found.items()))


def _entry(module: str, names: list[str]) -> str:
    home = sys.modules[module]
    path = Path(str(home.__file__)).relative_to(PAGE.parent).as_posix()
    return f"- [`{path}`]({path}) {sentence(home)}。{_code(names)}"


def tensor_block() -> str:
    """Tensor 的方法与属性，一族一行；没有同名函数的排在后面。"""
    own = {name: _family(name) for name in dir(torch.Tensor) if not name.startswith("_") and hasattr(tg.Tensor, name)}
    rows = []
    for family in sorted(set(own.values())):
        methods = [name for name in own if own[name] == family and not _is_variant(name, own)]
        twice = _with_in_place([name for name in methods if name in tg.FUNCTIONS], own.__contains__)
        once = _with_in_place([name for name in methods if name not in tg.FUNCTIONS], own.__contains__)
        if methods:
            rows.append(_entry(family, twice) + f"；只作方法：{_code(once)}" * bool(once))
    return "\n".join(rows)


def _family(name: str) -> str:
    """定义一个方法的模块。"""
    return next(cls.__module__ for cls in tg.Tensor.__mro__ if name in vars(cls))


def _is_variant(name: str, own: Iterable[str]) -> bool:
    """是不是另一个方法的就地写法。"""
    return name.endswith("_") and name[:-1] in own


def functions_block() -> str:
    """``tinygrad_llm`` 里不由方法生成的名字，一个文件一行；``nn`` 里的合成一行。"""
    rows, layers = [], list[str]()
    for module, names in _by_home("").items():
        own = [name for name in names if name not in tg.FUNCTIONS and name not in IN_PLACE_FUNCTIONS]
        if module.startswith("tinygrad_llm.nn."):
            layers += own
        elif own:
            rows.append(_entry(module, _with_in_place(own, own.__contains__)))
    foreach = _with_in_place([name for name in FOREACH if hasattr(torch, name)], FOREACH.__contains__)
    functional = f"- `nn.functional` 里的这些在顶层也有。{_code(_with_in_place(layers, layers.__contains__))}"
    return "\n".join([*rows, functional, _entry("tinygrad_llm.foreach", foreach)])


def namespaces_block() -> str:
    """其余的名字空间：名字多的按文件各一行，名字少的各列一张表。"""
    parts = []
    for namespace in LISTED:
        homes = _by_home(namespace).items()
        rows = [_entry(module, _with_in_place(names, names.__contains__)) for module, names in homes]
        parts.append("\n".join([f"### {namespace}", "", *rows]))
    for namespace in DESCRIBED:
        ours = module_of(namespace, tg)
        if ours is None or not shared(namespace):
            continue
        rows = [f"| `{name}` | {sentence(getattr(ours, name))} |" for name in shared(namespace)]
        parts.append("\n".join([f"### {namespace}", "", "| 名字 | |", "| :--- | :--- |", *rows]))
    return "\n\n".join(parts)


def answers_block() -> str:
    """没有设备、没有编译器时的各个名字空间。"""
    rows = ["| 名字空间 | 是什么 | 有的名字 |", "| :--- | :--- | :--- |"]
    for namespace in ANSWERING:
        ours = module_of(namespace, tg)
        if ours is not None:
            rows.append(f"| `{namespace}` | {sentence(ours)} | {_code(shared(namespace))} |")
    return "\n".join(rows)


def coverage_block() -> str:
    """各名字空间提供了多少、缺多少。"""
    rows = ["| 名字空间 | 提供 | 没有 |", "| :--- | ---: | ---: |"]
    methods = [name for name in dir(torch.Tensor) if not name.startswith("_") and hasattr(tg.Tensor, name)]
    for namespace in ("", "Tensor", *LISTED, *DESCRIBED):
        if namespace == "Tensor" or module_of(namespace, tg) is not None:
            offered = len(methods if namespace == "Tensor" else shared(namespace))
            rows.append(f"| `{namespace or 'torch'}` | {offered} | {len(missing(namespace))} |")
    return "\n".join(rows)


def torch_block() -> str:
    """对照的是哪一版 torch；只写到次版本号。"""
    return f"对照的是 torch {'.'.join(torch.__version__.split('.')[:2])}。"


def samples_block() -> str:
    """PyTorch 自己的样例通过了多少：抄账本里的那一句。"""
    told = re.search(r"^\*\*.*\*\*$", LEDGER.read_text(encoding="utf-8"), re.MULTILINE)
    where = "[PyTorch 自己的样例（OpInfo）](../parity_tests/opinfo/ledger.md)"
    command = "`.venv/bin/python -m parity_tests.opinfo 名字` 只跑名字里含有它的算子。"
    return f"{where}：{told[0] if told else ''} {command}"


BLOCKS: dict[str, Callable[[], str]] = {
    "torch": torch_block,
    "samples": samples_block,
    "coverage": coverage_block,
    "tensor": tensor_block,
    "functions": functions_block,
    "namespaces": namespaces_block,
    "answers": answers_block,
    "absent": absent_block,
}


def uncovered() -> list[str]:
    """两边都有、页面却没有提到的名字空间。"""
    named = {*LISTED, *DESCRIBED, *ANSWERING, *_ELSEWHERE, *PATHS}
    found = []
    for parent in ("", "nn", "utils", "autograd"):
        for name in dir(module_of(parent, tg)):
            full = f"{parent}.{name}".lstrip(".")
            ours, theirs = module_of(full, tg), module_of(full, torch)
            if not name.startswith("_") and full not in named and ours and theirs and shared(full):
                found.append(full)
    return found


def main() -> None:
    """改写页面里生成的几块，或只说哪几块过时了。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.api")
    parser.add_argument("--write", action="store_true", help="rewrite the generated blocks of tinygrad_llm/API.md")
    is_writing = parser.parse_args().write
    text = PAGE.read_text(encoding="utf-8")
    for name, make in BLOCKS.items():
        body = make()
        if not is_writing and read_block(text, name) != body:
            print("stale:", name)
        text = write_block(text, name, body)
    if is_writing:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
