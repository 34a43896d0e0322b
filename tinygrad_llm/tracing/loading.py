"""装入用户的文件：照原样，或者把其中导入的 ``tinygrad_llm`` 换成 ``torch``。

流入：一个 Python 文件；流出：装好的模块，用完即从 ``sys.modules`` 里撤走。它旁边的模块也这样装入，
所以同一个进程里可以先后用两个引擎各运行一遍，互不相干。换的只有导入语句，行号不变。下一站：``second_run.py``。
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = (_PACKAGE, "torch_llm", "torch")

_TWINS = {f"{_PACKAGE}.gpt": "torch_llm.gpt", f"{_PACKAGE}.common": f"{_PACKAGE}.common"}
"""不在 torch 里的两处：GPT 有孪生的文件，``common`` 两个引擎共用。"""


@dataclass(frozen=True)
class Source:
    """一个程序所在的文件。

    Attributes:
        path: 绝对路径。
    """

    path: Path

    @property
    def name(self) -> str:
        """文件名。"""
        return self.path.name

    def holds(self, filename: str | None) -> bool:
        """``filename`` 是不是这个文件，或者它旁边的、用户自己的模块。"""
        if filename is None:
            return False
        path = Path(filename)
        if path == self.path:
            return True
        if self.path.parent not in path.parents:
            return False
        inner = path.relative_to(self.path.parent).parts
        return inner[0] not in _LIBRARIES and "site-packages" not in inner and "dist-packages" not in inner


def own_line(error: BaseException, source: Source) -> str:
    """出错时正在执行的、用户自己的最里面那一行。"""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if source.holds(one.filename)]
    if not frames:
        return source.name
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {(frames[-1].line or '').strip()}"


@contextmanager
def loaded(source: Source, *, on_torch: bool = False) -> Iterator[ModuleType]:
    """装入一个文件；``with`` 之内，它与旁边的模块都能导入。

    Args:
        source: 哪个文件。
        on_torch: 把它们导入的 ``tinygrad_llm`` 换成 ``torch``。
    """
    name, finder, folder = f"traced_{source.path.stem}", _Finder(source, on_torch), str(source.path.parent)
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, folder)
    try:
        loader = _Loader(name, str(source.path), on_torch)
        spec = importlib.util.spec_from_file_location(name, source.path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loader.exec_module(module)
        yield module
    finally:
        sys.meta_path.remove(finder)
        sys.path.remove(folder)
        for key, one in list(sys.modules.items()):
            if isinstance(getattr(one, "__loader__", None), _Loader):
                del sys.modules[key]


class _Loader(SourceFileLoader):
    """不写字节码缓存；要换导入时，先换再编译。"""

    def __init__(self, fullname: str, path: str, swaps: bool) -> None:
        super().__init__(fullname, path)
        self.swaps = swaps

    def get_code(self, fullname: str) -> CodeType:
        """文件的字节码。"""
        path = self.get_filename(fullname)
        tree: Any = ast.parse(self.get_data(path), path)
        if self.swaps:
            tree = ast.fix_missing_locations(_Swap().visit(tree))
        return self.source_to_code(tree, path)


class _Finder(MetaPathFinder):
    """用户自己的模块由 ``_Loader`` 装入，别的不管。"""

    def __init__(self, source: Source, swaps: bool) -> None:
        self.source, self.swaps = source, swaps

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """一个模块的说明书；不是用户自己的为 ``None``。"""
        if fullname.partition(".")[0] in _LIBRARIES:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or not self.source.holds(spec.origin):
            return None
        spec.loader = _Loader(fullname, str(spec.origin), self.swaps)
        return spec


class _Swap(ast.NodeTransformer):
    """``import tinygrad_llm as tg`` → ``import torch as tg``；用户写的名字不变。"""

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """``import a.b``，``import a.b as c``；不写 ``as`` 时，用户得到的名字是最外面的包。"""
        found: list[ast.stmt] = []
        for alias in node.names:
            name = _renamed(alias.name)
            if alias.asname or name == alias.name:
                found.append(ast.Import([ast.alias(name, alias.asname)]))
                continue
            if "." in name:
                found.append(ast.Import([ast.alias(name)]))
            found.append(ast.Import([ast.alias(name.partition(".")[0], alias.name.partition(".")[0])]))
        return [ast.copy_location(one, node) for one in found]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        """``from a.b import c``；``c`` 本身是孪生的模块时，单独导入它。"""
        module, found = node.module or "", list[ast.stmt]()
        if node.level:
            return [node]
        for alias in node.names:
            twin = _TWINS.get(f"{module}.{alias.name}")
            if twin is not None:
                found.append(ast.Import([ast.alias(twin, alias.asname or alias.name)]))
            else:
                found.append(ast.ImportFrom(_renamed(module), [alias], 0))
        return [ast.copy_location(one, node) for one in found]


def _renamed(module: str) -> str:
    """``tinygrad_llm`` 之内的点分名 → torch 的；别的不变。"""
    for name, twin in _TWINS.items():
        if module == name or module.startswith(f"{name}."):
            return twin + module.removeprefix(name)
    top, dot, rest = module.partition(".")
    return f"torch{dot}{rest}" if top == _PACKAGE else module
