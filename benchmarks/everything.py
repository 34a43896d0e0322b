"""全部测速依次来一遍：``make bench`` 与 ``make bench-full`` 就是它。

流入：共有的设置；流出：各张表，合在一份 JSON 与一张图里。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ablation, attention, decode, overhead, report, scaling, step
from benchmarks.options import Output


@dataclass(frozen=True)
class AllOptions(Output):
    """全部测速。"""

    steps: int | None = None
    """每个系统要量几回没被打扰的；缺省 15，``--quick`` 时 5。"""
    peer_python: Path | None = None
    """装有 jax、mygrad、autograd、tinygrad 的解释器；缺省就用这一个。"""

    def step_options(self) -> step.StepOptions:
        """一步训练的设置。"""
        return step.StepOptions(**self.shared(), peer_python=self.peer_python)

    def shared(self) -> dict[str, Any]:
        """各种测速都有的设置；结果由这里统一写出。"""
        return {"steps": self.steps, "quick": self.quick}


def measure(options: AllOptions) -> dict[str, Any]:
    """各种测速依次来，随做随印，随时写出 JSON 与图：中途停下，做完的还在。

    Returns:
        测速的名字到结果；``step`` 里已经有矩阵乘法的下界。
    """
    shared = options.shared()
    plan: dict[str, tuple[Callable[[Any], Any], Callable[[Any], str], Any]] = {
        "overhead": (overhead.measure, overhead.text, overhead.OverheadOptions(quick=options.quick)),
        "step": (step.measure, step.text, options.step_options()),
        "attention": (attention.measure, attention.text, attention.AttentionOptions(**shared)),
        "decode": (decode.measure, decode.text, decode.DecodeOptions(**shared)),
        "scaling": (scaling.measure, scaling.text, scaling.ScalingOptions(**shared)),
        "ablation": (ablation.measure, ablation.text, ablation.AblationOptions(**shared)),
    }
    results = {}
    for name, (run, text, settings) in plan.items():
        results[name] = run(settings)
        print(f"== {name} ==\n{text(results[name]).rstrip()}\n", flush=True)
        report.publish(report.document("all", options, results), options)
    return results


def main(options: AllOptions) -> None:
    """``python -m benchmarks``。"""
    measure(options)
    print(report.CAVEATS)
