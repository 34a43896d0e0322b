"""残差让梯度走得到底：同一个 12 层的 GPT，有残差与没有残差，各训练三百步。

流入：``gradient_flow.json``（``--train`` 重新训练并写出它，约一分钟）；流出：几行数与 ``figures/gradient_flow.svg``。
训练要用自带的语料，它随 Python 的版本略有不同，所以图由存下的记录画成，谁画都一样。
运行：``python examples/appendix_a_autograd/experiments/11_gradient_flow.py``。
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from film import Film, arguments

from tinygrad_llm.common.session import prepare
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.tracing.real.flow import flow_svg
from tinygrad_llm.tracing.real.residuals import Flow, measure_flow
from tinygrad_llm.tracing.real.run import unigram_loss

RECORD = Path(__file__).with_suffix("").with_name("gradient_flow.json")
SHAPE: dict[str, Any] = {"n_layer": 12, "n_head": 4, "n_embd": 64, "context": 64, "batch_size": 8, "vocab_size": 512}
STEPS, EVERY = 300, 4
RATES = (3e-4, 1e-3, 3e-3)
"""两个模型各试这几个学习率，取最后十步的平均损失最低的：不让学习率偏袒谁。"""


def measure(steps: int, rates: tuple[float, ...] = RATES) -> dict[str, Any]:
    """训练两个模型，各取最好的学习率。"""
    sessions = [prepare(TrainConfig(run="appendix-a", steps=steps, lr=lr, **SHAPE)) for lr in rates]
    record: dict[str, Any] = {"baseline": round(unigram_loss(sessions[0].train.ids), 4), "flows": [], "last_losses": {}}
    record["text"] = sessions[0].text_digest
    for residual in (True, False):
        found: list[tuple[float, float, Flow]] = []
        for lr, session in zip(rates, sessions, strict=True):
            every: list[float] = []
            flow = measure_flow(
                session.model, session.settings, session.train, residual=residual, steps=steps, every=EVERY,
                on_step=lambda step, loss, seen=every: seen.append(loss),
            )  # fmt: skip
            last = sum(every[-10:]) / len(every[-10:])
            found.append((last, lr, flow))
            print(f"residual {residual!s:5}  lr {lr:g}  mean loss of the last steps {last:.4f}", flush=True)
        last, lr, flow = min(found, key=lambda one: one[0])
        record["flows"].append({"lr": lr, **_rounded(dataclasses.asdict(flow))})
        record["last_losses"]["with" if residual else "without"] = {f"{lr:g}": round(loss, 4) for loss, lr, _ in found}
    return record


def _rounded(value: Any) -> Any:
    """四位有效数字：文件小，图上看不出差别。"""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def flows_of(record: dict[str, Any]) -> list[Flow]:
    """存下的两次训练。"""
    return [Flow(**{key: value for key, value in one.items() if key != "lr"}) for one in record["flows"]]


def main() -> None:
    """打印头尾两步各层的梯度，画图；``--train`` 先重新训练。"""
    parser = arguments("the gradient of each layer, with and without residuals")
    parser.add_argument("--train", action="store_true", help="train again and rewrite gradient_flow.json")
    options = parser.parse_args()
    if options.train:
        RECORD.write_text(json.dumps(measure(STEPS), indent=None) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for flow, saved in zip(flows_of(record), record["flows"], strict=True):
        print(f"{'with' if flow.residual else 'without'} residuals, lr {saved['lr']:g}, loss {flow.losses[-1]:.4f}")
        for row in (0, -1):
            first, last = flow.stream[row][0], flow.stream[row][-1]
            print(f"  step {flow.steps[row]:3d}: |dL/dx| embedding {first:.1e}, last layer {last:.1e}")
    for name, tried in record["last_losses"].items():
        losses = ", ".join(f"lr {lr} {loss:.4f}" for lr, loss in tried.items())
        print(f"{name} residuals, mean loss of the last ten steps: {losses}")
    print(f"token frequencies alone: {record['baseline']:.4f}")
    film = Film(920, 600, 1, "gradient of each layer of a GPT in training, with and without residuals")
    film.add(flow_svg(flows_of(record), record["baseline"]))
    film.save(options.figures / "gradient_flow.svg")


if __name__ == "__main__":
    main()
