"""一段一段的计时：用户用 ``record_function`` 画出的，优化器的 ``step``，每一层的前向。

流入：一段的起止；流出：``recorder`` 里的一件事。没有在剖析时什么也不做。下一站：``events.py``。
"""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

from tinygrad_llm.profiler.events import MODULE, RANGE
from tinygrad_llm.profiler.recorder import Recorder, running
from tinygrad_llm.utils.hooks import RemovableHandle


class record_function(ContextDecorator):  # noqa: N801  与 torch 同名
    """把 ``with`` 之内（或被装饰的函数）记成一段；没有在剖析时什么也不做。

    Args:
        name: 名字。
        args: 附在名字后面的说明。

    Raises:
        RuntimeError: 名字不是字符串。
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        if not isinstance(name, str):
            raise RuntimeError(f"record_function expects a str as the name, but got {type(name).__name__}")
        self.name, self.args = name, args
        self._recorder: Recorder | None = None

    def _recreate_cm(self) -> record_function:
        return record_function(self.name, self.args)

    def __enter__(self) -> record_function:
        self._recorder = running()
        if self._recorder is not None:
            self._recorder.before(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            name = self.name if self.args is None else f"{self.name}({self.args})"
            self._recorder.end(self, name, RANGE)


def watch_optimizers(recorder: Recorder) -> list[RemovableHandle]:
    """此后每个优化器的 ``step`` 记成一段，名字同 torch；返回撤销用的句柄。"""
    from tinygrad_llm.optim import optimizer

    def after(one: Any, args: Any, kwargs: Any) -> None:
        recorder.end(one, f"Optimizer.step#{type(one).__name__}.step", RANGE)

    return [
        optimizer.register_optimizer_step_pre_hook(lambda one, args, kwargs: recorder.before(one)),
        optimizer.register_optimizer_step_post_hook(after),
    ]


def watch_modules(recorder: Recorder) -> list[RemovableHandle]:
    """此后每一层的前向记成一段；返回撤销用的句柄。"""
    from tinygrad_llm.nn import module_hooks

    def after(module: Any, args: Any, output: Any) -> None:
        recorder.end(module, f"nn.Module: {type(module).__name__}", MODULE)

    return [
        module_hooks.register_module_forward_pre_hook(lambda module, args: recorder.before(module)),
        module_hooks.register_module_forward_hook(after, always_call=True),
    ]
