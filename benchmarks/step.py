"""一步训练要多久：NumPy 与 torch 各在自己的进程里，一步一步地交替着量。

流入：模型预设、批大小与步数；流出：终端上的一张表（中位数、四分位、比值、内存峰值），以及可选的 JSON。
交替着量，机器忽快忽慢时两边同受影响；一边计算时另一边在等，互不争抢。
用法：``python -m benchmarks.step [--preset toy] [--batch-size 16] [--steps 30]``。
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sizes import sized
from tinygrad_llm.common.cli import parse
from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.system import hardware, peak_memory_bytes
from tinygrad_llm.common.train_config import DType, TrainConfig

ENGINES = ("numpy", "torch")
CAVEATS = """\
One step = forward, loss, backward, clipping, AdamW on random tokens; both sides start from the same weights.
The matrix products run in different libraries (OpenBLAS in NumPy's wheel, MKL or oneDNN in torch's), so the ratio also
compares those. Medians of two runs differ by some 10 % even on a quiet machine: smaller differences are not a finding.
Memory is the peak of the whole process, the interpreter and the libraries included."""


@dataclass(frozen=True)
class StepConfig:
    """一次测速的设置。"""

    preset: str = "toy"
    """规模：T、S、M（见 ``sizes.py``）或模型预设名。"""
    batch_size: int | None = None
    """每步的序列数；缺省由规模决定。"""
    context: int | None = None
    """覆盖预设：序列长度。"""
    steps: int = 30
    """每个引擎计时的步数。"""
    warmup: int = 3
    """计时之前先走的步数。"""
    dtype: DType = "float32"
    """浮点类型。"""
    threads: int | None = None
    """每个进程的线程数；缺省由各自的库决定。"""
    json: Path | None = None
    """把全部数字写进这个文件。"""

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "steps": 1, "warmup": 0, "threads": 1}
        wrong = [
            f"--{name.replace('_', '-')} must be at least {low}"
            for name, low in least.items()
            if getattr(self, name) is not None and getattr(self, name) < low
        ]
        if wrong:
            raise UserError("; ".join(wrong), where="benchmark settings", fix="correct the flags named above")

    def model(self) -> tuple[GPTConfig, int]:
        """（模型配置，批大小）；torch 与 NumPy 相同。"""
        return sized(self.preset, self.context, self.batch_size)


def main(argv: list[str]) -> int:
    """命令行的入口；``--worker ENGINE SETTINGS`` 是它派给子进程的。"""
    if argv[:1] == ["--worker"]:
        work(argv[1], StepConfig(**json.loads(argv[2])))
        return 0
    try:
        config = parse(StepConfig, argv, "python -m benchmarks.step")
        if config.json is not None and not config.json.absolute().parent.is_dir():
            raise UserError("there is no such folder", where=str(config.json), fix="create it, or choose another file")
        result = measure(config)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print_result(config, result)
    if config.json is not None:
        config.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


# ---- 子进程：收到一行就走一步 ----


def work(name: str, config: StepConfig) -> None:
    """造好引擎；标准输入来一行，走一步，回一行用时；输入结束时回一行内存峰值。"""
    model, batch = config.model()
    settings = TrainConfig(batch_size=batch, dtype=config.dtype)
    engine = _engine(name, model, settings, config.threads)
    for step, _ in enumerate(sys.stdin):
        draw = np.random.default_rng(step)
        x, y = draw.integers(model.vocab_size, size=(2, batch, model.context))
        started_at = time.perf_counter()
        engine.train_step(step, x, y, settings.lr)
        print(time.perf_counter() - started_at, flush=True)
    print(peak_memory_bytes())


def _engine(name: str, model: GPTConfig, settings: TrainConfig, threads: int | None) -> Any:
    if name == "numpy":
        from tinygrad_llm.memory import keep_freed_memory
        from tinygrad_llm.train import NumpyEngine

        keep_freed_memory()
        return NumpyEngine(model, settings)
    import torch

    from torch_llm.loop import TorchEngine

    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(model, settings, torch.device("cpu"))


# ---- 主进程：轮流叫它们走一步 ----


def measure(config: StepConfig) -> dict[str, Any]:
    """交替着量两个引擎。

    Args:
        config: 设置。

    Returns:
        可以写成 JSON 的全部数字：每步用时、中位数、四分位、内存、比值与机器的自述。

    Raises:
        UserError: 预设不存在，或子进程中途退出（例如没有安装 torch）。
    """
    model, batch = config.model()
    times: dict[str, list[float]] = {name: [] for name in ENGINES}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name, config)) for name in ENGINES}
        for step in range(config.warmup + config.steps):
            for name in ENGINES if step % 2 else reversed(ENGINES):  # 轮流先走，免得一边总占便宜
                elapsed_s = _ask(workers[name], name)
                if step >= config.warmup:
                    times[name].append(elapsed_s)
        memory = {name: _finish(worker, name) for name, worker in workers.items()}
    medians = {name: statistics.median(found) for name, found in times.items()}
    tokens = batch * model.context
    return {
        "settings": {**asdict(config), "json": None},
        "parameters": parameter_count(model),
        "batch_size": batch,
        "tokens_per_step": tokens,
        "engines": {
            name: {
                "median_s": medians[name],
                "quartiles_s": [float(q) for q in np.percentile(times[name], (25, 75))],
                "tokens_per_s": tokens / medians[name],
                "peak_memory_bytes": memory[name],
                "steps_s": times[name],
            }
            for name in ENGINES
        },
        "numpy_over_torch": medians["numpy"] / medians["torch"],
        "hardware": hardware(),
    }


@contextmanager
def _worker(name: str, config: StepConfig) -> Iterator[subprocess.Popen[str]]:
    """一个引擎的进程；离开时总会收走它。"""
    settings = json.dumps({**asdict(config), "json": None})
    environment = dict(os.environ)
    if config.threads is not None:  # 数学库在导入时读它们，所以只能在进程启动之前设好
        environment |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(config.threads)
        )
    command = [sys.executable, "-m", "benchmarks.step", "--worker", name, settings]
    # 自成一个会话：Ctrl-C 只到主进程，由它收走子进程，终端上不会多出两段 traceback
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(process: subprocess.Popen[str], name: str) -> float:
    """叫它走一步，等它答话。"""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both ends of the worker are pipes")
    try:
        process.stdin.write("step\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise _stopped(name) from None
    return _number(process.stdout.readline(), name)


def _finish(process: subprocess.Popen[str], name: str) -> int:
    """不再叫它，读它的内存峰值。"""
    answer, _ = process.communicate()
    return int(_number(answer, name))


def _number(answer: str, name: str) -> float:
    if not answer.strip():
        raise _stopped(name)
    return float(answer)


def _stopped(name: str) -> UserError:
    return UserError(f"the {name} worker stopped", where="benchmark", fix="see its message above")


def print_result(config: StepConfig, result: dict[str, Any]) -> None:
    """打印一张表与几句保留。"""
    print(
        f"{config.preset}: {result['parameters']:,} parameters, {result['batch_size']} x"
        f" {result['tokens_per_step'] // result['batch_size']} tokens per step, {config.dtype}, {config.steps} steps"
    )
    print("engine   median step   quartiles (ms)      tokens/s   peak memory")
    for name, found in result["engines"].items():
        low, high = (1e3 * quartile for quartile in found["quartiles_s"])
        print(
            f"{name:7} {1e3 * found['median_s']:10.1f} ms {low:8.1f} - {high:<8.1f} {found['tokens_per_s']:10,.0f}"
            f" {format_bytes(found['peak_memory_bytes']):>13}"
        )
    print(f"a NumPy step takes {result['numpy_over_torch']:.2f} x the time of a torch step")
    print(f"\n{CAVEATS}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
