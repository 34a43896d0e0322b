"""名字：一个张量在用户的代码里叫什么，一次调用出自哪一行、哪个模块。

流入：正在执行的栈帧与 ``nn.Module`` 的钩子；流出：变量名、参数路径、（文件，行号）。下一站：``recorder.py``。

算子的输出叫什么，看字节码：这次调用的下一条指令若是「存进变量 z」，它就叫 z；若是「返回」，就去看调用者的下一条。
这样不必等变量出现，也不必翻看局部变量；循环里同一个变量每次都算数。叶子与常数没有产生它们的算子，到用到它们的那些栈帧里
按身份找。
"""

from __future__ import annotations

import dis
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tinygrad_llm.tensor import Tensor

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARY = f"{_PACKAGE}{os.sep}"
_READERS_OWN = (f"{_PACKAGE / 'gpt.py'}", f"{_PACKAGE / 'tracing' / 'toys'}{os.sep}")
"""住在包里、却是给读者看的代码：模型与玩具程序，算作用户的。"""

_STDLIB = f"{sysconfig.get_path('stdlib')}{os.sep}"

_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR")
_SKIPPED = ("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "RESUME")

Target = tuple[str, ...] | bool
"""调用的结果去哪里：变量名（解包时几个），``True`` 是返回给调用者，``False`` 是别处。"""


class Code:
    """一段代码：是不是用户的，以及每条指令在哪一行、结果去了哪里；每个代码对象只分析一次。"""

    __slots__ = ("_places", "_targets", "code", "is_users")

    def __init__(self, code: CodeType) -> None:
        self.code, self.is_users = code, _is_users(code.co_filename)
        self._targets: dict[int, Target] = {}
        self._places: dict[int, tuple[tuple[str, int], Target]] = {}

    @staticmethod
    def of(code: CodeType) -> Code:
        """``code`` 的分析结果。"""
        found = _codes.get(id(code))
        if found is None:
            found = _codes[id(code)] = Code(code)
        return found

    def place(self, offset: int) -> tuple[tuple[str, int], Target]:
        """在 ``offset`` 处的调用：（文件，行号），结果去哪里。"""
        found = self._places.get(offset)
        if found is None:
            lines = (line for start, end, line in self.code.co_lines() if start <= offset < end and line is not None)
            location = self.code.co_filename, next(lines, self.code.co_firstlineno)
            found = self._places[offset] = location, self._target(offset)
        return found

    def _target(self, offset: int) -> Target:
        if not self._targets:
            steps = [one for one in dis.get_instructions(self.code) if one.opname not in _SKIPPED]
            ends = [one.offset for one in steps[1:]]
            for i, end in enumerate(ends):  # 停在一次调用里时，偏移可能指着它后面的缓存
                target = _target(steps, i + 1)
                self._targets.update((offset, target) for offset in range(steps[i].offset, end, 2))
        return self._targets.get(offset, False)


_codes: dict[int, Code] = {}
"""分析过的，按代码对象的 id；``Code`` 留着代码对象，id 不会另有所指。"""


def _is_users(filename: str) -> bool:
    """一个文件是不是用户写的：不是本包、不是标准库；第三方的模型算是。"""
    if filename.startswith(_LIBRARY):
        return filename.startswith(_READERS_OWN)
    return not filename.startswith((_STDLIB, "<frozen ")) or "site-packages" in filename


def _target(steps: list[dis.Instruction], i: int) -> Target:
    """从第 ``i`` 条指令起，栈顶的值去哪里。"""
    one = steps[i] if i < len(steps) else None
    if one is None:
        return False
    if one.opname == "RETURN_VALUE":
        return True
    names = _stored(one)
    if one.opname == "UNPACK_SEQUENCE":
        wanted, following = one.arg or 0, iter(steps[i + 1 :])
        while len(names) < wanted and (more := _stored(next(following, one))):
            names += more
        return tuple(names[:wanted]) if len(names) >= wanted else False
    return (names[0],) if names else False


def _stored(one: dis.Instruction) -> list[str]:
    """一条指令存进哪些变量；3.13 起两条存取会并成一条。"""
    if one.opname in _STORES:
        return [str(one.argval)]
    if one.opname == "STORE_FAST_STORE_FAST":
        return [str(name) for name in one.argval]
    return [str(one.argval[0])] if one.opname == "STORE_FAST_LOAD_FAST" else []


class Call:
    """一次算子调用出自哪里；不留它过夜：栈帧会留住用户的局部变量。

    Attributes:
        frame: 最里面的用户的栈帧；没有则为 ``None``。
        location: （文件，行号）。
        target: 结果去哪里。
        receiver: 结果存在哪个栈帧的变量里；不存进变量则为 ``None``。
        key: 从 ``frame`` 到 ``receiver`` 的停处：库里的一次调用做几步，它们的停处相同。
    """

    __slots__ = ("frame", "key", "location", "receiver", "target")

    key: tuple[int, ...]
    target: Target

    def __init__(self, start: FrameType) -> None:
        found = self.frame = _users(start)
        self.location: tuple[str, int] | None = None
        self.receiver: FrameType | None = None
        self.target, self.key = False, ()
        if found is None:
            return
        self.location, self.target = _codes[id(found.f_code)].place(found.f_lasti)
        self.key = (id(found), found.f_lasti)
        while self.target is True:  # 返回给调用者：再看调用者拿它做什么
            found = _users(found.f_back)
            if found is None:
                self.target = False
                return
            self.target = _codes[id(found.f_code)].place(found.f_lasti)[1]
            self.key += (id(found), found.f_lasti)
        self.receiver = found


def _users(frame: FrameType | None) -> FrameType | None:
    """从 ``frame`` 往外第一个用户的栈帧。"""
    while frame is not None:
        code = _codes.get(id(frame.f_code)) or Code.of(frame.f_code)
        if code.is_users:
            return frame
        frame = frame.f_back
    return None


def variable(tensor: Tensor, start: FrameType | None, stop: FrameType | None) -> str | None:
    """一个张量的变量名：从 ``start`` 往外到 ``stop``，取最外面的用户栈帧里的名字；没有则为 ``None``。"""
    found: str | None = None
    scopes: list[Mapping[str, Any]] = []
    frame = start
    while frame is not None:
        if Code.of(frame.f_code).is_users:
            found = _in(frame.f_locals, tensor) or found
            scopes.append(frame.f_globals)
        if frame is stop:
            break
        frame = frame.f_back
    return found if found is not None or not scopes else _in(scopes[-1], tensor)


def locals_of(start: FrameType | None, stop: FrameType | None) -> Iterator[tuple[str, Tensor]]:
    """从 ``start`` 往外到 ``stop``，各层用户栈帧里的张量：（变量名，张量）。"""
    frame = start
    while frame is not None:
        if Code.of(frame.f_code).is_users:
            yield from _tensors(frame.f_locals)
        if frame is stop:
            break
        frame = frame.f_back


def _in(scope: Mapping[str, Any], tensor: Tensor) -> str | None:
    """一层名字里的哪个是它：变量自己，列表、字典的一项，或某一个的 ``.grad``。"""
    owner: str | None = None
    for name, one in _tensors(scope):
        if one is tensor:
            return name
        if one.kept_grad is tensor:
            owner = f"{name}.grad"
    return owner


def _tensors(scope: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """一层名字里的张量，先是变量自己，再是列表与字典的各项；下划线开头的不算。"""
    inside: list[tuple[str, Any]] = []
    for name, value in scope.items():
        if not isinstance(value, _HOLDERS) or name.startswith("_"):
            continue
        if isinstance(value, Tensor):
            yield name, value
        elif len(value) <= _MANY:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            inside += [(f"{name}[{key!r}]", item) for key, item in pairs if isinstance(item, Tensor)]
    yield from inside


_HOLDERS = (Tensor, list, tuple, dict)
_MANY = 256


class Modules:
    """正在前向的 ``nn.Module``，由外到里；以及见过的参数的路径。

    最先被调用的模块是模型，路径从它的子模块写起；此后另有别的模块单独被调用，路径前面加上它的变量名或类名。
    """

    def __init__(self) -> None:
        self.path = ""
        self.parameters: dict[int, str] = {}
        self._stack: list[str] = []
        self._paths: dict[int, str] = {}
        self._roots: list[Any] = []
        self._handles: list[Any] = []

    def watch(self) -> None:
        """此后每个模块的前向都报到这里。"""
        hooks = importlib.import_module("tinygrad_llm.nn.module_hooks")
        self._handles = [
            hooks.register_module_forward_pre_hook(lambda module, args: self._enter(module)),
            hooks.register_module_forward_hook(lambda module, args, output: self._leave(), always_call=True),
        ]

    def stop(self) -> None:
        """不再看。"""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: Any) -> None:
        if id(module) not in self._paths:
            self._adopt(module)
        self._stack.append(self.path)
        self.path = self._paths[id(module)]

    def _leave(self) -> None:
        self.path = self._stack.pop() if self._stack else ""

    def _adopt(self, module: Any) -> None:
        """没见过的模块：找到它所属的模型，连同各个子模块与参数一起记下路径。"""
        root, name = _owner(module)
        prefix = ""
        if self._roots or not root._modules:
            prefix = name or type(root).__name__.lower()
            taken = set(self._paths.values())
            prefix = next(p for p in (prefix, *(f"{prefix}_{i}" for i in range(2, 10**6))) if p not in taken)
        self._roots.append(root)
        dot = f"{prefix}." if prefix else ""
        for path, one in root.named_modules():
            self._paths.setdefault(id(one), f"{dot}{path}" if path else prefix)
        for path, tensor in (*root.named_parameters(), *root.named_buffers()):
            self.parameters.setdefault(id(tensor), f"{dot}{path}")


def _owner(module: Any) -> tuple[Any, str | None]:
    """含有它的最大的模块（变量里看得到的）与那个变量名：模型的方法可以不经过 ``__call__`` 直接叫子模块。"""
    root, name, frame = module, None, sys._getframe(2)
    kind = sys.modules["tinygrad_llm.nn.module"].Module
    outer: FrameType | None = frame
    while outer is not None:
        if Code.of(outer.f_code).is_users:
            for variable_name, value in outer.f_locals.items():
                if isinstance(value, kind) and any(one is root for one in value.modules()):
                    root, name = value, name if variable_name == "self" else variable_name
        outer = outer.f_back
    return root, name
