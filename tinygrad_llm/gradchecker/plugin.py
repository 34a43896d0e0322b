"""pytest 的插件：fixture ``gradcheck``，在测试里检查你自己的导数。

流入：``pytest_plugins = ["tinygrad_llm.gradchecker.plugin"]``；流出：导数写错了就失败，消息与命令行的相同。
pytest 只在插件被启用时才导入，所以装这个包不必装它。
"""

from __future__ import annotations

import sys
from typing import Any

from tinygrad_llm.gradchecker.inputs import Draw
from tinygrad_llm.gradchecker.report import check_derivatives, compare_twins
from tinygrad_llm.gradchecker.subject import Target, subject
from tinygrad_llm.gradchecker.subject import twin as made_twin


def checked(
    function: Any,
    *inputs: Any,
    shapes: str = "",
    seed: int = 0,
    low: float | None = None,
    high: float | None = None,
    init: str = "",
    twin: Any = None,
    second: bool = False,
) -> None:
    """检查 ``function`` 的导数，不符便失败。

    Args:
        function: 张量的函数、模块（类或实例）、``autograd.Function`` 的子类，用哪个引擎写的都行。
        *inputs: 输入：数组、任一引擎的张量，或别的值；不给则照 ``tinygrad_llm.gradchecker`` 的规矩选。
        shapes: 各个张量参数的形状，如 ``"3,4 4,5"``。
        seed: 取数的种子。
        low: 取均匀数时的下界。
        high: 取均匀数时的上界。
        init: 构造模块的参数，如 ``"8, 4"``。
        twin: 另一个引擎写的同一个函数，值与梯度也要相同。
        second: 也检查二阶导。

    Raises:
        AssertionError: 导数不符；消息里有元素、期望值、实得值与最像的原因。
    """
    ours = subject(
        _target(function), shapes=shapes, draw=Draw(seed, low, high), init=init, values=inputs or None
    )  # fmt: skip
    found = [check_derivatives(ours)]
    if twin is not None and found[-1].is_right:
        found.append(compare_twins(ours, made_twin(_target(twin), ours, init)))
    if second and found[-1].is_right:
        found.append(check_derivatives(ours, twice=True))
    if not found[-1].is_right:
        raise AssertionError(str(found[-1]))


def _target(function: Any) -> Target:
    name = getattr(function, "__name__", type(function).__name__)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    return Target(function, name, vars(module) if module is not None else {})


def pytest_configure(config: Any) -> None:
    """pytest 的钩子：登记 fixture。"""
    import pytest

    class Fixtures:
        """这个插件的 fixture。"""

        @pytest.fixture(name="gradcheck")
        def gradcheck(self) -> Any:
            """检查你自己的导数：``gradcheck(function, *inputs, shapes="3,4", twin=None, second=False)``。"""
            return checked

    config.pluginmanager.register(Fixtures(), "tinygrad_llm gradcheck")
