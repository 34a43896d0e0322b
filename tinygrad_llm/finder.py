"""让 ``import`` 找得到 ``PATHS`` 里的路径；也让顶替 torch 的 ``tinygrad_llm`` 在进程里只有一份。

流入：``import`` 语句要的模块名；流出：真正的模块，或一个只转手的模块，它的名字都取自 ``PATHS`` 里写明的文件。

``sys.modules["torch"] = tinygrad_llm`` 之后，``import torch.nn`` 会顺着包的路径把 ``nn`` 再装一份，两份里的类互不相认；
这里把它指回已有的那一份，于是照 torch 写的程序一个字不改也能运行。
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from tinygrad_llm.absent import HINTS, elsewhere, hint
from tinygrad_llm.paths import PATHS

_PACKAGE = __name__.partition(".")[0]
_PARENTS = {path.rpartition(".")[0] for path in (*PATHS, *HINTS)}
"""下面有路径、或有建议可给的模块；即使只是一个文件，也要当作包，``import`` 才肯往下找。"""


class _Finder(MetaPathFinder, Loader):
    """只过问上一级是本包的模块；别的交给后面的查找器。"""

    def __init__(self) -> None:
        self._own_specs: dict[str, ModuleSpec | None] = {}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """模块的说明书；不归这里管的为 ``None``。

        Raises:
            ModuleNotFoundError: 没有这个模块，而且说得出用什么代替。
        """
        parent, _, name = fullname.rpartition(".")
        owner: str = getattr(sys.modules.get(parent), "__name__", "")
        if owner.partition(".")[0] != _PACKAGE:
            return None
        dotted = f"{owner}.{name}".partition(".")[2]
        if owner != parent or dotted in PATHS:
            return ModuleSpec(fullname, self, is_package=True)
        found = PathFinder.find_spec(fullname, path)
        if found is None and hint(dotted):
            raise ModuleNotFoundError(f"{fullname} is not offered; {hint(dotted)}", name=fullname)
        if found is not None and dotted in _PARENTS and found.submodule_search_locations is None:
            found.submodule_search_locations = []
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """本包的路径：一个转手的模块；别人名下的路径：已有的那个模块。"""
        parent, _, name = spec.name.rpartition(".")
        owner = sys.modules[parent].__name__
        if owner == parent:
            return _forwarding(spec.name)
        found = importlib.import_module(f"{owner}.{name}")
        self._own_specs[spec.name] = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """模块已经就绪，不再执行；导入系统刚改写了它的说明书，改回来。"""
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = self._own_specs.pop(spec.name, spec)


def _forwarding(fullname: str) -> ModuleType:
    """名字都取自别处的模块。"""
    module, dotted = ModuleType(fullname), fullname.partition(".")[2]
    homes = PATHS[dotted]
    module.__doc__ = f"与 ``torch.{dotted}`` 同一路径。"
    module.__dict__["__getattr__"] = _lookup(fullname, homes)
    module.__dict__["__dir__"] = lambda: sorted({name for home in homes for name in dir(_home(home))})
    return module


def _lookup(fullname: str, homes: tuple[str, ...]) -> Callable[[str], Any]:
    def lookup(name: str) -> Any:
        if name == "__all__":  # import *
            listed = [getattr(_home(home), "__all__", dir(_home(home))) for home in homes]
            return sorted({one for names in listed for one in names if not one.startswith("_")})
        for home in () if name.startswith("__") else homes:
            if hasattr(_home(home), name):
                return getattr(_home(home), name)
        return elsewhere(fullname, name)

    return lookup


def _home(dotted: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE}.{dotted}".rstrip("."))


sys.meta_path.insert(0, _Finder())
