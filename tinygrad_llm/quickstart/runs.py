"""主线里的训练、交接与生成：各在自己的进程里，走的就是公开的命令。

流入：训练设置；流出：运行文件夹与生成的文字。子进程失败，主线就以它的退出码结束。
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tinygrad_llm.common.toml import dump_toml
from tinygrad_llm.common.train_config import TrainConfig

ENGINES = {"numpy": ("tinygrad_llm", "train"), "torch": ("torch_llm", "pretrain", "--precision=float32")}
"""引擎名到它的命令；要与 NumPy 相比，torch 不得降精度。"""


def train(engine: str, settings: TrainConfig, *extra: str) -> None:
    """在一个引擎上跑一次训练。

    Args:
        engine: ``"numpy"`` 或 ``"torch"``。
        settings: 训练设置。
        *extra: 另外的 flag。
    """
    module, verb, *always = ENGINES[engine]
    names = (
        "run", "runs_dir", "corpus", "preset", "vocab_size", "steps", "batch_size", "lr", "dtype", "seed", "eval_every",
        "sample_every", "sample_tokens", "save_every", "keep", "stop_at",
    )  # fmt: skip
    flags = [f"--{n.replace('_', '-')}={getattr(settings, n)}" for n in names if getattr(settings, n) is not None]
    _run(module, verb, *always, *flags, *extra)


def hand_over(folder: Path, step: int, settings: TrainConfig) -> None:
    """把 NumPy 那次运行在第 ``step`` 步的检查点原样交给 torch，由它接着训练。

    Args:
        folder: 主线的结果文件夹。
        step: 交接的步数。
        settings: 接手的那次训练的设置。
    """
    source, target = folder / "numpy", settings.folder
    middle = f"step_{step:06d}"
    shutil.copytree(source / "checkpoints" / middle, target / "checkpoints" / middle)
    for name in ("tokenizer.json", "metrics.jsonl"):
        shutil.copy(source / name, target / name)
    (target / "latest").write_text(f"{middle}\n")
    (target / "config.toml").write_text(dump_toml(settings), encoding="utf-8")
    train("torch", settings, "--resume")


def generate(engine: str, folder: Path, tokens: int) -> str:
    """用一个引擎从一次运行的最后一个检查点生成文字。"""
    return _run(ENGINES[engine][0], "generate", "--run", str(folder), "--tokens", str(tokens), "--slide").rstrip("\n")


def _run(*arguments: str) -> str:
    """跑一条公开的命令；进度照常显示在 stderr 上，失败则以它的退出码结束。"""
    command = [sys.executable, "-m", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    with child, _signals_left_to(child) as received:
        output, _ = child.communicate()
    code = child.returncode or (128 + received[0] if received else 0)
    if code:
        sys.exit(code if code > 0 else 128 - code)  # 负数：被信号杀死
    return output


@contextlib.contextmanager
def _signals_left_to(child: subprocess.Popen[str]) -> Iterator[list[int]]:
    """收到信号时等子进程存好再走；终端的 Ctrl-C 它自己也收得到，SIGTERM 只发给了我们，转给它。"""
    received: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            child.terminate()

    before = {number: signal.signal(number, wait) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
