"""``import tinygrad_llm`` 只需要 NumPy；每条命令的 ``--help`` 立刻回答。

流入：新开的 Python 子进程；流出：它能否加载，加载了谁，用了多久。
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from parity_tests.house.repo import ROOT

# 子进程里先拦住这些库，再导入引擎并求一次梯度。
_BLOCKED = ("torch", "torch_llm", "matplotlib", "rich", "tyro", "tiktoken", "safetensors")
_WITHOUT_LIBRARIES = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {_BLOCKED!r}:
            raise ImportError(name + " is blocked by this test")

sys.meta_path.insert(0, Blocker())
import tinygrad_llm

x = tinygrad_llm.tensor([1.0, 2.0, 3.0], requires_grad=True)
(x * x).sum().backward()
assert x.grad.tolist() == [2.0, 4.0, 6.0], x.grad
"""
_LOADED = """
import sys
import numpy.random
before = set(sys.modules)
import tinygrad_llm
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(top for top in tops if top not in sys.stdlib_module_names))
"""
_VERBS = (
    "tinygrad_llm",
    "tinygrad_llm quickstart",
    "tinygrad_llm train",
    "tinygrad_llm generate",
    "tinygrad_llm trace",
    "torch_llm",
    "torch_llm pretrain",
    "torch_llm generate",
)
_HELP_SECONDS = 0.5
_HELP_LOADS = 5.0
"""机器忙时同样的指令也慢：那时的界是只加载 NumPy 的这么多倍，当场量。"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_engine_differentiates_without_torch_installed() -> None:
    """没有 torch、matplotlib、rich 等库时，引擎仍能加载并求梯度。"""
    result = _python("-c", _WITHOUT_LIBRARIES)
    assert result.returncode == 0, result.stderr


def test_importing_the_engine_loads_numpy_and_nothing_else() -> None:
    """``import tinygrad_llm`` 顺带加载了 NumPy 以外的第三方库。"""
    result = _python("-c", _LOADED)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) <= {"numpy", "tinygrad_llm"}, result.stdout


@pytest.mark.parametrize("command", _VERBS)
def test_help_answers_at_once(command: str) -> None:
    """``--help`` 不为帮助之外的东西付加载时间。

    量的是进程用去的处理器时间：它只会等自己算，机器忙时也不会变长多少；取几次中最短的一次。
    """
    seconds, bare = list[float](), list[float]()
    while len(seconds) < 5 and (len(seconds) < 3 or min(seconds) > _bound(bare)):
        bare.append(_seconds("-c", "import numpy")[0])
        spent, out = _seconds("-m", *command.split(), "--help")
        seconds.append(spent)
        assert "usage:" in out
    assert min(seconds) <= _bound(bare)


def _bound(bare: list[float]) -> float:
    return max(_HELP_SECONDS, _HELP_LOADS * min(bare))


def _seconds(*arguments: str) -> tuple[float, str]:
    """一个 Python 进程用去的处理器时间，与它印的。"""
    before = _children_seconds()
    result = _python(*arguments)
    assert result.returncode == 0, result.stderr
    return _children_seconds() - before, result.stdout


def _children_seconds() -> float:
    """结束了的子进程一共用去的处理器时间。"""
    times = os.times()
    return times.children_user + times.children_system
