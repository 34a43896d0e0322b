"""整个预训练循环与 nanoGPT 的 ``train.py`` 比：同样的模型、批次与数据，同一台机器，轮流各跑一遍。

流入：nanoGPT 的文件夹（``--peer``，原样运行，不带在这里）；流出：每秒 token 数、内存峰值，以及循环比裸的一步多花多少。
每秒 token 数由相邻两步之间的时间算出，取数据、记日志都在内；启动与存档不在内。裸的一步只有前向、反传、裁剪与更新，
批次事先备好，在自己的进程里走。nanoGPT 在 CPU 上没有 autocast，所以我们的 bfloat16 也与它的 float32 比。
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.options import Output, too_small
from benchmarks.processes import ROOT
from tinygrad_llm.common.errors import UserError

BOUNDS = {"float32": 1.0, "bfloat16": 1.8, "memory": 0.9, "loop": 0.03}
OURS = [
    ("torch_llm float32", "float32", "loop"),
    ("torch_llm float32, bare step", "float32", "bare"),
    ("torch_llm bfloat16", "bfloat16", "loop"),
]
ITERATION = re.compile(rb"^iter \d+: loss [\d.naif]+, time ([\d.]+)ms", re.M)


@dataclass(frozen=True)
class PretrainOptions(Output):
    """预训练的循环与 nanoGPT 比。"""

    peer: Path | None = None
    """放着 nanoGPT 的 train.py、model.py 与 configurator.py 的文件夹；不给就只量我们自己。"""
    turns: int = 3
    """轮流跑几遍。"""
    steps: int = 24
    """每遍走多少步；前 6 步不计。"""
    n_layer: int = 6
    """层数。"""
    n_head: int = 6
    """头数。"""
    n_embd: int = 384
    """宽度。"""
    context: int = 256
    """上下文长度。"""
    batch_size: int = 12
    """每步的序列数。"""
    vocab_size: int = 8192
    """词表大小。"""
    corpus: str = "python-docs"
    """语料，或文件的路径。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *too_small(self, {"turns": 1, "steps": 12, "batch_size": 1})]
        if self.peer is not None and not (self.peer / "train.py").is_file():
            found.append(f"--peer: there is no train.py in {self.peer}")
        return found

    def config(self, folder: str, precision: str) -> dict[str, Any]:
        """我们的训练设置：GPT-2 的样子，与 nanoGPT 的 ``bias=True`` 相同。"""
        return {
            "run": precision, "runs_dir": folder, "preset": "gpt2", "n_layer": self.n_layer, "n_head": self.n_head,
            "n_embd": self.n_embd, "context": self.context, "batch_size": self.batch_size,
            "vocab_size": self.vocab_size, "corpus": self.corpus, "steps": self.steps, "warmup_steps": 5,
            "eval_every": 0, "sample_every": 0,
            "save_every": 0, "sample_tokens": 1, "device": "cpu", "precision": precision, "lr": 6e-4,
        }  # fmt: skip


def theirs(options: PretrainOptions, folder: Path) -> list[str]:
    """叫 nanoGPT 走同样的步；评估只在开头做一小次，不计时。"""
    shape = ("n_layer", "n_head", "n_embd", "batch_size")
    flags = {name: getattr(options, name) for name in shape} | {
        "block_size": options.context, "gradient_accumulation_steps": 1, "bias": True, "device": "cpu",
        "dtype": "float32", "compile": False, "wandb_log": False, "eval_interval": 10**6, "eval_iters": 1,
        "max_iters": options.steps - 1, "warmup_iters": 5, "dataset": "ours", "always_save_checkpoint": False,
    }  # fmt: skip
    for name in ("train.py", "model.py", "configurator.py"):
        shutil.copy((options.peer or folder) / name, folder)
    return [sys.executable, "train.py", *(f"--{name}={value}" for name, value in flags.items())]


def write_peer_data(session: Any, folder: Path) -> None:
    """同样的 token，写成 nanoGPT 的格式。"""
    data = folder / "data" / "ours"
    data.mkdir(parents=True)
    np.asarray(session.train.ids, np.uint16).tofile(data / "train.bin")
    np.asarray(session.validation[:], np.uint16).tofile(data / "val.bin")
    # 它只读得懂 pickle；第 0 版是纯文本，一个字典写出来就这么一行，不必为此用上那个模块
    (data / "meta.pkl").write_text(f"(dVvocab_size\nI{session.model.vocab_size}\ns.")


def watched(command: list[str], folder: Path) -> tuple[bytes, int]:
    """跑一条命令：它的输出，与内存峰值（字节）。"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, cwd=folder, stdout=output, stderr=errors, env=environment) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command[1:3]} failed: {errors.read()[-500:].decode('utf-8', 'replace')}")
        return output.read(), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def one_turn(options: PretrainOptions, folder: Path) -> dict[str, dict[str, float]]:
    """每家跑一遍：一步的毫秒数与内存峰值。"""
    found: dict[str, dict[str, float]] = {}
    if options.peer is not None:
        printed, peak = watched(theirs(options, folder), folder)
        times = [float(ms) / 1e3 for ms in ITERATION.findall(printed)][6:]
        found["nanoGPT float32"] = {"step_s": statistics.median(times), "peak_bytes": peak}
    for name, precision, kind in OURS:
        with tempfile.TemporaryDirectory() as runs:
            worker = [sys.executable, "-m", "benchmarks.pretrain", kind, json.dumps(options.config(runs, precision))]
            printed, peak = watched(worker, folder)
        found[name] = {"step_s": float(printed.splitlines()[-1]), "peak_bytes": peak}
    return found


def worker(kind: str, config: dict[str, Any]) -> float:
    """我们的一遍：整个循环里一步的时间，或同一个引擎裸走一步的时间。"""
    from tinygrad_llm.common.loop import rate
    from tinygrad_llm.common.session import prepare
    from tinygrad_llm.common.torch_config import TorchConfig
    from torch_llm.loop import TorchEngine
    from torch_llm.pretrain import run_session

    settings = TorchConfig(**config)
    session = prepare(settings)
    if kind == "loop":
        at: list[float] = []
        run_session(session, settings, lambda step, result: at.append(time.perf_counter()))
        return float(np.median(np.diff(at)[5:]))
    engine = TorchEngine(session.model, settings, lambda _: None)
    bare: list[float] = []
    batches = [session.train.batch(step) for step in range(settings.steps)]
    for step, batch in enumerate(batches):
        began_at = time.perf_counter()
        engine.train_step(step, batch, rate(settings, step))
        bare.append(time.perf_counter() - began_at)
    return statistics.median(bare[6:])


def measure(options: PretrainOptions) -> dict[str, Any]:
    """轮流跑几遍，取中位数。"""
    from tinygrad_llm.common.session import prepare
    from tinygrad_llm.common.torch_config import TorchConfig

    turns = []
    with tempfile.TemporaryDirectory() as scratch:
        if options.peer is not None:
            write_peer_data(prepare(TorchConfig(**options.config(scratch, "float32"))), Path(scratch))
        for turn in range(options.turns):
            report.tell(f"turn {turn + 1} of {options.turns}")
            turns.append(one_turn(options, Path(scratch)))
    names = turns[0]
    rows = {
        name: {key: statistics.median(turn[name][key] for turn in turns) for key in turns[0][name]} for name in names
    }
    tokens = options.batch_size * options.context
    for row in rows.values():
        row["tokens_per_s"] = tokens / row["step_s"]
    return {"systems": rows, "turns": turns, "ratios": ratios(turns)}


def ratios(turns: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """每一轮里的比值，再取中位数。"""

    def median(top: tuple[str, str], bottom: tuple[str, str]) -> float:
        return statistics.median(turn[top[0]][top[1]] / turn[bottom[0]][bottom[1]] for turn in turns)

    found = {"loop": median(("torch_llm float32", "step_s"), ("torch_llm float32, bare step", "step_s")) - 1}
    if "nanoGPT float32" in turns[0]:
        peer = "nanoGPT float32"
        found |= {
            "float32": median((peer, "step_s"), ("torch_llm float32", "step_s")),
            "bfloat16": median((peer, "step_s"), ("torch_llm bfloat16", "step_s")),
            "memory": median(("torch_llm float32", "peak_bytes"), (peer, "peak_bytes")),
        }
    return found


def text(found: dict[str, Any]) -> str:
    """一张表与各条界限。"""
    rows = [
        [name, report.milliseconds(one["step_s"]), f"{one['tokens_per_s']:,.0f}", f"{one['peak_bytes'] / 2**20:,.0f}"]
        for name, one in found["systems"].items()
    ]
    says = {
        "float32": "tokens/s in float32, times nanoGPT's (at least {})",
        "bfloat16": "tokens/s in bfloat16, times nanoGPT's float32 (at least {})",
        "memory": "peak memory in float32, times nanoGPT's (at most {})",
        "loop": "the loop over the bare step, as a share (at most {})",
    }
    lines = [f"{says[name].format(BOUNDS[name])}: {value:.3f}" for name, value in found["ratios"].items()]
    return "\n".join([report.table(["system", "median step", "tokens/s", "peak MiB"], rows), *lines])


def main(options: PretrainOptions) -> None:
    """``python -m benchmarks pretrain``。"""
    if sys.platform == "win32":
        raise UserError("peak memory of a child process is not available here", fix="run it on Linux or macOS")
    found = measure(options)
    print(text(found))
    report.publish(report.document("pretrain", options, found), options)


if __name__ == "__main__":
    print(worker(sys.argv[1], json.loads(sys.argv[2])))
