"""导入方向：ops → autograd → tensor → nn → optim 自下而上，common 与引擎互不相识。

流入：两个包与 examples 的语法树；流出：方向反了的「文件:行号: 模块」。检查函数在 ``checks.py``。
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from pathlib import Path

from parity_tests.house.checks import Import, definitions, imports, is_public, is_stdlib
from parity_tests.house.repo import PACKAGES, dotted, modules, relative, tree_of

# 引擎由下到上的层次；一个模块只认识同层与下层。
_LAYERS = (
    "ops",
    "paths",
    "absent",
    "dtypes",
    "cpu",
    "settings",
    "storage",
    "layouts",
    "random",
    "autograd",
    "return_types",
    "linalg",
    "methods",
    "literals",
    "printing",
    "printing_html",
    "tensor",
    "promotion",
    "out",
    "joining",
    "creation",
    "contraction",
    "ranges",
    "complexes",
    "fft",
    "rejection",
    "sampling",
    "signal",
    "differences",
    "legacy",
    "view_copies",
    "function_only",
    "functions",
    "foreach",
    "special",
    "searching",
    "statistics",
    "masked",
    "utils",
    "nn",
    "func",
    "optim",
    "distributions",
    "testing",
    "gradcheck",
    "types",
)
_ENGINE = tuple(f"tinygrad_llm.{layer}" for layer in _LAYERS)
# 文件格式：只认识 numpy 与标准库，训练循环与引擎的 utils.tensorboard 写的是同一种文件。
_FORMATS = ("tinygrad_llm.common.event_file",)
# tinygrad_llm 中唯一可以（在函数体内）使用 torch 的文件：它把两个引擎并排跑给读者看。
_QUICKSTART = "tinygrad_llm/quickstart/command.py"


def _imports_of(path: Path) -> list[Import]:
    return imports(tree_of(path), dotted(path), is_package=path.name == "__init__.py")


def _layer(name: str) -> int:
    """模块所在的层；不属于引擎的模块记作最高层之上。"""
    part = name.removeprefix("tinygrad_llm.").partition(".")[0]
    return _LAYERS.index(part) if part in _LAYERS else len(_LAYERS)


def _engine_files() -> list[Path]:
    return [path for path in modules("tinygrad_llm") if _layer(dotted(path)) < len(_LAYERS)]


def _refuse(paths: Iterable[Path], is_bad: Callable[[Import], bool]) -> None:
    """``paths`` 中出现 ``is_bad`` 的导入便失败，并逐条列出；没有文件可查也算失败。"""
    paths = list(paths)
    assert paths, "nothing to check: no such file in the repository"
    found = [f"{relative(path)}:{one.line}: {one.name}" for path in paths for one in _imports_of(path) if is_bad(one)]
    assert not found, "\n".join(found)


def test_ops_know_only_arrays() -> None:
    """ops 只认识 numpy 与标准库：公式里没有 Tensor。"""
    own = ("numpy", "tinygrad_llm.ops")
    _refuse(modules("tinygrad_llm/ops"), lambda one: not (is_stdlib(one.name) or one.is_within(*own)))


def test_engine_knows_nothing_above_itself() -> None:
    """自动求导、张量、层与优化器不认识配置、数据、GPT 与训练，连函数体内也不导入。"""
    own = ("numpy", *_ENGINE, *_FORMATS)
    _refuse(
        _engine_files(),
        lambda one: not (is_stdlib(one.name) or one.is_within(*own) or (one.is_lazy and one.name == "tinygrad_llm")),
    )


def test_layers_import_downwards() -> None:
    """加载一层时只会加载它下面的层；函数体内的导入不受此限。"""
    upwards = [
        f"{relative(path)}:{one.line}: {one.name}"
        for path in _engine_files()
        for one in _imports_of(path)
        if not one.is_lazy and one.top == "tinygrad_llm" and _layer(one.name) > _layer(dotted(path))
        if not one.is_within(*_FORMATS)
    ]
    assert not upwards, "\n".join(upwards)


def test_common_is_framework_free() -> None:
    """common 不认识 torch，也不认识引擎，连函数体内也不导入。"""
    _refuse(
        modules("tinygrad_llm/common"),
        lambda one: one.is_within("torch", "torch_llm", "tinygrad_llm") and not one.is_within("tinygrad_llm.common"),
    )


def test_file_format_shared_with_the_engine_knows_more_than_arrays() -> None:
    """引擎也用的文件格式只认识 numpy 与标准库。"""
    paths = [path for path in modules("tinygrad_llm/common") if dotted(path) in _FORMATS]
    _refuse(paths, lambda one: not (is_stdlib(one.name) or one.is_within("numpy")))


def test_numpy_package_loads_with_numpy_alone() -> None:
    """tinygrad_llm 的模块在加载时只导入 numpy、标准库与它自己；其余库留到用它的函数里。"""
    # tomli 就是 Python 3.10 上的标准库 tomllib。
    own = ("numpy", "tomli", "tinygrad_llm")
    _refuse(modules("tinygrad_llm"), lambda one: not (one.is_lazy or is_stdlib(one.name) or one.is_within(*own)))


def test_numpy_package_never_imports_torch() -> None:
    """tinygrad_llm 任何一处都不导入 torch，只有 quickstart 例外，且必须在函数体内。"""
    paths = modules("tinygrad_llm")
    engines = ("torch", "torch_llm")
    _refuse([path for path in paths if relative(path) != _QUICKSTART], lambda one: one.is_within(*engines))
    _refuse(paths, lambda one: one.is_within(*engines) and not one.is_lazy)


def test_torch_package_uses_only_common_of_its_sibling() -> None:
    """torch_llm 与 tinygrad_llm 只共用 common：被比较的两边不能共用被比较的东西。"""
    _refuse(
        modules("torch_llm"), lambda one: one.is_within("tinygrad_llm") and not one.is_within("tinygrad_llm.common")
    )


def test_packages_do_not_import_tests_or_book() -> None:
    """发行的包不依赖测试、章节与基准。"""
    _refuse(modules(*PACKAGES), lambda one: one.is_within("parity_tests", "examples", "benchmarks"))


def test_examples_define_nothing_the_packages_define() -> None:
    """章节代码只调用两个包，不重新定义其中的公开名字。"""
    scripts = modules("examples")
    assert scripts, "nothing to check: there is no example yet"
    ours = {name for path in modules(*PACKAGES) for name, _ in definitions(tree_of(path)) if is_public(name)}
    found = [
        f"{relative(path)}:{node.lineno}: {name}"
        for path in scripts
        for name, node in definitions(tree_of(path))
        if name in ours and name != "main"
    ]
    assert not found, "\n".join(found)


def test_the_check_sees_every_form_of_import() -> None:
    """检查器自身：绝对、相对、函数体内的导入都认得出来。"""
    source = "import torch.nn\nfrom ..common import errors\nfrom .op import op\ndef f():\n    from torch import nn\n"
    source += "if TYPE_CHECKING:\n    import tiktoken\nif WINDOWS:\n    import msvcrt\n"
    found = [(one.name, one.is_lazy) for one in imports(ast.parse(source), "tinygrad_llm.ops.fused")]
    assert found == [
        ("torch.nn", False),
        ("tinygrad_llm.common.errors", False),
        ("tinygrad_llm.ops.op", False),
        ("torch", True),
        ("tiktoken", True),
        ("msvcrt", False),
    ]
