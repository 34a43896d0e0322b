"""``import tinygrad_llm`` 只需要 NumPy；每条命令的 ``--help`` 立刻回答。

流入：新开的 Python 子进程；流出：它能否加载，加载了谁，用了多久。
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions

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
_HELP_MAY_LOAD = {"numpy", "tyro", "docstring_parser", "typeguard", "typing_extensions"}
_HELP_MODULES = 660
"""``--help`` 至多加载这么多个模块，标准库与 NumPy 的在内；时间都花在加载上，而数模块与机器忙闲无关。"""


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
    """``--help`` 不加载帮助用不着的东西：torch、画图的库，或别的命令的模块。"""
    result = _python("-X", "importtime", "-m", *command.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout
    loaded = [line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")]
    installed = {name for name in packages_distributions() if not name.startswith("_")}  # 下划线开头的是 pip 的钩子
    third_party = installed & {name.partition(".")[0] for name in loaded} - {"tinygrad_llm", "torch_llm"}
    assert third_party <= _HELP_MAY_LOAD
    assert len(loaded) <= _HELP_MODULES
