"""autocast 之下的 ``autograd.Function``，以及问 autocast 与异常检测开没开的老名字：与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.twins import ENGINES, same, same_error, table, values

X, W = (values(seed, 4, 4).astype(np.float32) for seed in (0, 1))


def _mm(m: Any, decorate: Callable[[Any], Any], seen: list[str]) -> Any:
    """自己写的矩阵乘法；``seen`` 记下前向与反传里各是什么类型。"""

    class Mm(m.autograd.Function):  # type: ignore[misc]
        """``x @ w``。"""

        @staticmethod
        @decorate(m.amp.custom_fwd)  # type: ignore[untyped-decorator]
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            """前向。"""
            ctx.save_for_backward(x, w)
            y = x @ w
            seen.extend(str(each.dtype) for each in (x, w, y))
            return y

        @staticmethod
        @decorate(m.amp.custom_bwd)  # type: ignore[untyped-decorator]
        def backward(ctx: Any, g: Any) -> Any:
            """反传。"""
            x, w = ctx.saved_tensors
            seen.append(f"{m.is_autocast_enabled('cpu')} {m.get_autocast_dtype('cpu')}")
            return g @ w.t(), x.t() @ g

    return Mm.apply


CASTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "as around it": lambda m: {},
    "in float32": lambda m: {"cast_inputs": m.float32},
    "in bfloat16": lambda m: {"cast_inputs": m.bfloat16},
}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("cast", table(CASTS))
def test_a_function_under_autocast_is_not_torchs(cast: Callable[[Any], dict[str, Any]], enabled: bool) -> None:
    """前向的精度、反传的精度、值或梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        seen: list[str] = []

        def decorate(which: Any) -> Any:
            more = cast(m) if which is m.amp.custom_fwd else {}
            return which(device_type="cpu", **more)

        x, w = (m.tensor(a, requires_grad=True) for a in (X, W))
        low, f = m.tensor(W).bfloat16(), _mm(m, decorate, seen)
        with m.autocast("cpu", dtype=m.bfloat16, enabled=enabled):
            y = f(x, w)
            (f(low, low) if enabled else y)  # 已经是 16 位的输入
        y.float().square().sum().backward()
        return y.float(), x.grad, w.grad, [name.replace("torch.", "").replace("tinygrad_llm.", "") for name in seen]

    same(run, "float32")


def test_a_decorated_function_needs_no_arguments() -> None:
    """直接装饰不行，或设备不是名字也放过了。"""
    for m in ENGINES:
        f = m.amp.custom_fwd(lambda ctx, x: x + 1, device_type="cpu")
        assert f(type("Context", (), {})(), m.ones(1)).item() == 2
    same_error(lambda m: m.amp.custom_fwd(lambda ctx: None, device_type=0))
    same_error(lambda m: m.amp.custom_bwd(lambda ctx: None, device_type=m.device("cpu")))


def test_the_old_names_of_autocast_answer_differently() -> None:
    """顶层的老名字答得与 torch 不同，或清不掉换过型的权重。"""

    def run(m: Any) -> Any:
        def state() -> list[str]:
            asked = [m.is_autocast_cpu_enabled(), m.is_autocast_cache_enabled(), m.get_autocast_cpu_dtype()]
            return [str(each).rpartition(".")[2] for each in (*asked, m.get_autocast_gpu_dtype())]

        states, w = [state()], m.tensor(W, requires_grad=True)
        with m.autocast("cpu", dtype=m.float16):
            before = m.tensor(X) @ w
            with m.no_grad():
                w.mul_(2)
            m.clear_autocast_cache()
            states += [state(), [(m.tensor(X) @ w).sub(before * 2).abs().max().item() == 0]]
            with m.autocast("cpu", cache_enabled=False):
                states.append(state())
        return [*states, state()]

    same(run, "exact")


def test_set_anomaly_enabled_does_not_switch() -> None:
    """打不开、关不掉，或不查 NaN 也当作查。"""

    def run(m: Any) -> Any:
        states = []
        for switched in ((True, True), (True, False), (False, True)):
            m.autograd.set_detect_anomaly(False)
            m.set_anomaly_enabled(*switched)
            states.append((m.is_anomaly_enabled(), m.is_anomaly_check_nan_enabled()))
        return states

    same(run, "exact")
