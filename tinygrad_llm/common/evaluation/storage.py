"""成绩存在运行文件夹的 ``evaluation/`` 里，一个检查点一个 JSON 文件。

流入：``results.py`` 的字典；流出：文件，与读回来的字典。下一个文件：``pairing.py``。

同一个检查点再评测一次，新量的各项覆盖旧的，没有再量的留着；权重的摘要不同就全部作废。
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import DataError, OutOfDiskError
from tinygrad_llm.common.files import file_digest, write_atomically

__all__ = ["FOLDER", "Result", "load_result", "run_of", "save_result", "stored_results"]

Result = dict[str, Any]
FOLDER = "evaluation"


def run_of(folder: Path) -> Path:
    """运行文件夹：``folder`` 自己，或它所在的那个。"""
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder


def save_result(result: Result, folder: Path) -> Path:
    """存进运行文件夹，与同一个检查点以前的成绩合在一起；``result`` 也随之补全。

    Args:
        result: 成绩。
        folder: 运行文件夹，或其中的检查点。

    Returns:
        写好的文件。

    Raises:
        OutOfDiskError: 写不进去。
    """
    run = run_of(folder)
    weights = (folder if folder != run else run / "checkpoints" / f"step_{result['step']:06d}") / "model.safetensors"
    result["weights_sha256"] = file_digest(weights) if weights.is_file() else ""
    path = run / FOLDER / f"step_{result['step']:06d}.json"
    with contextlib.suppress(DataError):
        before = load_result(path)
        if before["weights_sha256"] == result["weights_sha256"]:
            for kind in ("texts", "tasks"):
                result[kind] = {**before[kind], **result[kind]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(result, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write the results: {error.strerror}", where=str(path), fix="free some space or check the folder"
        ) from error
    return path


def load_result(path: Path) -> Result:
    """读回一份成绩。

    Raises:
        DataError: 没有、读不了，或不是成绩。
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("cannot read the results", where=str(path), fix="evaluate the run again") from error
    wanted = ("run", "step", "texts", "tasks", "weights_sha256")
    if not isinstance(found, dict) or any(name not in found for name in wanted):
        raise DataError("not a file of results", where=str(path), fix="evaluate the run again")
    return found


def stored_results(folder: Path) -> list[Result]:
    """一个运行存着的各份成绩，按步数；读不了的略去：它们随时可以再量。

    Args:
        folder: 运行文件夹。
    """
    found = []
    for path in sorted((folder / FOLDER).glob("step_*.json")):
        with contextlib.suppress(DataError):
            found.append(load_result(path))
    return sorted(found, key=lambda one: int(one["step"]))
