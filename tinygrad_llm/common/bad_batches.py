"""坏掉的一步用的是哪一批数据：原样存下，日后查得出是数据坏了还是训练坏了。

流入：跳过的一步与它的批次；流出：运行文件夹的 ``bad_batches/step_000123.{safetensors,txt}``。下一个文件：``loop.py``。
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.safetensors import encode_safetensors
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["FOLDER", "MAX_KEPT", "keep_batch"]

FOLDER = "bad_batches"
MAX_KEPT = 20
"""一次运行至多存这么多批：坏到这个地步，再多也看不出什么。"""


def keep_batch(
    run: Path, step: int, why: str, x: NDArray[np.int64], y: NDArray[np.int64], tokenizer: Tokenizer
) -> Path | None:
    """存下一批：``x``、``y`` 两个张量，与解码出来的文字。

    Args:
        run: 运行文件夹。
        step: 步号。
        why: 这一步坏在哪里，一句英文，写在文字的开头。
        x: 输入的 id，形状 (B, T)，或 (B, K, T)：一行几个回答。
        y: 目标的 id，形状相同；不是逐个 token 的目标时不写。
        tokenizer: 分词器。

    Returns:
        张量文件；已经存满 ``MAX_KEPT`` 批为 ``None``。

    Raises:
        OSError: 写不进去。
    """
    folder = run / FOLDER
    path = folder / f"step_{step:06d}.safetensors"
    x = x.reshape(-1, x.shape[-1])
    y = y.reshape(x.shape) if y.size == x.size else np.full_like(x, IGNORE_INDEX)
    folder.mkdir(exist_ok=True)
    if not path.exists() and len(list(folder.glob("*.safetensors"))) >= MAX_KEPT:
        return None
    rows = [
        f"--- row {row}, {int((targets != IGNORE_INDEX).sum())} targets ---\n{tokenizer.decode(ids.tolist())}\n"
        for row, (ids, targets) in enumerate(zip(x, y, strict=True))
    ]
    text = f"step {step}: {why}\n{''.join(rows)}"
    write_atomically(path.with_suffix(".txt"), text.encode("utf-8", "backslashreplace"))
    write_atomically(path, b"".join(encode_safetensors({"x": x.astype(np.int32), "y": y.astype(np.int32)})))
    return path
