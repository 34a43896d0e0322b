"""对一段源码的检查：它导入了谁、有没有危险调用、公开名字是否都有中文文档。

流入：语法树；流出：发现的清单，空清单表示合格。这里不下结论，规矩本身写在各个 ``test_*.py`` 里。
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from parity_tests.house.repo import is_module

# 只写一行公式、以「。」结尾的文档（如「``y = exp(x)``。」）也算中文文档。
_CHINESE = re.compile(r"[\u4e00-\u9fff]|。$")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# 读文件就可能执行其中代码的模块，以及 eval 一类的内建函数。
_UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
_UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}


@dataclass(frozen=True)
class Import:
    """一条导入。

    Attributes:
        name: 被导入的模块的点分名；``from a import b`` 在 ``a.b`` 也是模块时记作 ``a.b``。
        line: 行号。
        is_lazy: 是否写在函数体或 ``if TYPE_CHECKING`` 之内，即加载本模块时不会执行。
    """

    name: str
    line: int
    is_lazy: bool

    @property
    def top(self) -> str:
        """顶层包名。"""
        return self.name.partition(".")[0]

    def is_within(self, *packages: str) -> bool:
        """是否就是这些包之一，或在其内部。"""
        return any(self.name == package or self.name.startswith(package + ".") for package in packages)


def imports(tree: ast.Module, module: str, *, is_package: bool = False) -> list[Import]:
    """列出全部导入，函数体内的也算。

    Args:
        tree: 模块的语法树。
        module: 模块的点分名，用来解析相对导入。
        is_package: 是否为包的 ``__init__.py``。

    Returns:
        按出现次序排列的导入。
    """
    deferred = (block for block in ast.walk(tree) if _is_deferred(block))
    lazy = {id(node) for block in deferred for node in ast.walk(block)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = _from_names(node, module, is_package)
        else:
            continue
        found += [Import(name, node.lineno, id(node) in lazy) for name in names]
    return sorted(found, key=lambda one: one.line)


def _is_deferred(node: ast.AST) -> bool:
    """加载模块时不执行的语句块：函数体，以及 ``if TYPE_CHECKING``。"""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") and not node.orelse
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _from_names(node: ast.ImportFrom, module: str, is_package: bool) -> list[str]:
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        anchor = parts[: len(parts) + is_package - node.level]
        base = ".".join([*anchor, base] if base else anchor)
    inner = [f"{base}.{alias.name}" for alias in node.names]
    return [name if is_module(name) else base for name in inner]


def is_stdlib(name: str) -> bool:
    """点分名是否属于标准库。"""
    return name.partition(".")[0] in sys.stdlib_module_names


def unsafe(tree: ast.Module) -> list[tuple[int, str]]:
    """列出会执行文件或字符串中代码的写法，以「行号、写法」表示。"""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [(node.lineno, name) for name in names if name.partition(".")[0] in _UNSAFE_MODULES]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, call) for call in _unsafe_call(node)]
    return sorted(found)


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in _UNSAFE_CALLS:
        yield name
    if name == "torch.load" and keywords.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if keywords.get("allow_pickle", "False") != "False":
        yield f"{name}(allow_pickle=...)"
    if keywords.get("shell", "False") != "False":
        yield f"{name}(shell=...)"


def definitions(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    """逐个给出模块顶层的类与函数，以及公开类的方法；名字写作 ``Class.method``。"""
    for node in tree.body:
        if isinstance(node, _Definition):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((f"{node.name}.{inner.name}", inner) for inner in node.body if isinstance(inner, _Definition))


def is_public(name: str) -> bool:
    """点分名的每一段都不以下划线开头。"""
    return not any(part.startswith("_") for part in name.split("."))


def undocumented(tree: ast.Module) -> list[tuple[int, str]]:
    """列出没有中文文档的公开名字，模块自身记作 ``module``；``@overload`` 声明与属性的 setter 不必有。"""
    found = [] if _is_chinese(tree) else [(1, "module")]
    for name, node in definitions(tree):
        last_names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        if is_public(name) and not _is_chinese(node) and last_names.isdisjoint({"overload", "setter"}):
            found.append((node.lineno, name))
    return found


def _is_chinese(node: ast.Module | _Definition) -> bool:
    return bool(_CHINESE.search(ast.get_docstring(node) or ""))
