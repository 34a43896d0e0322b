"""检查点：一个文件夹装着续训所需的一切，坏了一个比特也能发现。

流入：一步训练结束时的权重、优化器状态与 JSON 状态；流出：``runs/NAME/checkpoints/step_000123/``，以及指着它的
``runs/NAME/latest``，与指着验证损失最低的那个的 ``runs/NAME/best``。下一个文件：``runlog.py``，运行文件夹里其余的东西。

一次保存的次序：写进 ``step_N.tmp-PID``，每个文件 fsync，清单 ``MANIFEST.json`` 最后写，改名到位，再移动 ``latest``。
哪一刻断电，``latest`` 指着的都是完整的检查点。约定：同一个运行文件夹同时只有一个进程在写。
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import CheckpointError, DivergedError, OutOfDiskError
from .files import process_is_gone, sync_folder, temporary_sibling, write_atomically
from .lazy import LazyTensor
from .manifest import MANIFEST, read_bounded, read_json, refuse, verify_sealed, write_sealed
from .safetensors import encode_safetensors, read_safetensors

__all__ = [
    "BEST",
    "LATEST",
    "Checkpoint",
    "check_tensors",
    "list_checkpoints",
    "load_checkpoint",
    "read_state",
    "save_checkpoint",
    "step_folder",
]

Array = npt.NDArray[Any]

MODEL, OPTIM, STATE = "model.safetensors", "optim.safetensors", "state.json"
FILES = {MODEL, OPTIM, STATE}
FOLDER, LATEST, BEST = "checkpoints", "latest", "best"
STEP_NAME = re.compile(r"step_(\d{6,12})")
OUR_FILES = r"config\.toml|metrics\.jsonl|samples\.txt|sessions\.jsonl|(?:early_stop|peak|tokenizer)\.json|report\.\w+"
LEFTOVER_NAME = re.compile(rf"(step_\d{{6,12}}|latest|best|{OUR_FILES})\.(tmp|old)-(\d{{1,10}})")
MAX_STATE_BYTES = 16 << 20
SPARE_BYTES = 1 << 20  # 头、清单与目录项的余量


@dataclass(frozen=True)
class Checkpoint:
    """一步训练结束时的全部状态。

    Attributes:
        step: 已完成的步数。
        model: 参数名到数组。
        optim: 优化器状态名到数组。
        state: 其余的状态，须能写成 JSON（不含 NaN 与无穷）：数据位置、随机数状态、配置、版本。
    """

    step: int
    model: dict[str, Array]
    optim: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


# ---- 保存 ----


def save_checkpoint(
    run: Path, checkpoint: Checkpoint, *, keep: int = 2, best: int | None = None, anchor: int = -1
) -> Path:
    """把检查点可靠地存进运行文件夹；同一步可以反复保存，后一次替换前一次。

    Args:
        run: 运行文件夹 ``runs/NAME``。
        checkpoint: 要保存的状态。
        keep: 保留最近的几个检查点，其余删除；至少为 1。
        best: 另外要保留的一步（验证损失最低的那个），``best`` 指着它；``None`` 表示还没有评估过。
        anchor: 还要保留的一步：训练可能退回到那里；没有为 -1。

    Returns:
        检查点文件夹 ``run/checkpoints/step_N``。

    Raises:
        OutOfDiskError: 盘满、只读、超配额或没有权限；临时文件夹已删除，先前的检查点仍然完好。
        DivergedError: 有张量含 NaN 或无穷；什么也没写。
        ValueError: 状态写不成 JSON，或太大，或 ``keep`` 小于 1。
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    for name, array in {**checkpoint.model, **checkpoint.optim}.items():
        if not _is_finite(array):
            raise DivergedError(f"refusing to save {name}: it holds NaN or infinity", where=f"step {checkpoint.step}")
    state = _json_bytes({"step": checkpoint.step, "state": checkpoint.state})
    if len(state) > MAX_STATE_BYTES:
        raise ValueError(f"checkpoint state of {len(state)} bytes exceeds {MAX_STATE_BYTES}")
    arrays = [*checkpoint.model.values(), *checkpoint.optim.values()]
    needed = sum(array.nbytes for array in arrays) + len(state) + SPARE_BYTES
    target = run / FOLDER / f"step_{checkpoint.step:06d}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(run)
        if shutil.disk_usage(target.parent).free < needed:
            raise _out_of_disk(target, needed, "not enough free space")
        _write_folder(target, checkpoint, state)
        write_atomically(run / LATEST, f"{target.name}\n".encode())
        _point_to_best(run, best)
    except OSError as error:
        raise _out_of_disk(target, needed, error.strerror or str(error)) from error
    with contextlib.suppress(OSError):  # 检查点已经存好；旧的删不掉，下一次再删
        _rotate(run, checkpoint.step, keep, {best, anchor})
    return target


def _write_folder(target: Path, checkpoint: Checkpoint, state: bytes) -> None:
    """在临时文件夹里写好全部文件，再改名到位。"""
    temporary = temporary_sibling(target)
    replaced = target.with_name(f"{target.name}.old-{os.getpid()}")
    try:
        os.mkdir(temporary)  # noqa: PTH102  与 fsync 一道用 os 的函数，测试才能逐个注入失败
        contents = {
            MODEL: encode_safetensors(checkpoint.model),
            OPTIM: encode_safetensors(checkpoint.optim),
            STATE: [state],
        }
        write_sealed(temporary, contents)
        if target.exists():
            os.replace(target, replaced)  # noqa: PTH105  文件夹不能一步替换；此刻被杀，载入时会找到 .old
        os.replace(temporary, target)  # noqa: PTH105
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _point_to_best(run: Path, best: int | None) -> None:
    """``best`` 指向最好的那一步；那一步不在了（退回到较早的检查点、那时盘满没存下），就不留指针。"""
    pointer, folder = run / BEST, run / FOLDER / f"step_{best or 0:06d}"
    if best is None or not folder.is_dir():
        pointer.unlink(missing_ok=True)
    elif not pointer.is_file() or pointer.read_bytes() != f"{folder.name}\n".encode():
        write_atomically(pointer, f"{folder.name}\n".encode())


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _out_of_disk(target: Path, needed: int, reason: str) -> OutOfDiskError:
    existing = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(existing).free
    return OutOfDiskError(
        f"cannot write the checkpoint: {reason} (needs {needed:,} bytes, {free:,} free)",
        where=str(target),
        fix="free some space or make the folder writable; earlier checkpoints are intact",
    )


def _sweep(run: Path) -> None:
    """清扫死去的进程留下的临时文件；被替换到一半的旧检查点放回原处。"""
    for path in [*run.iterdir(), *(run / FOLDER).iterdir()]:
        match = LEFTOVER_NAME.fullmatch(path.name)
        if not match or not process_is_gone(int(match[3])):
            continue
        home = path.with_name(match[1])
        if match[2] == "old" and not home.exists():
            path.rename(home)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _rotate(run: Path, step: int, keep: int, spared: set[int | None]) -> None:
    """删掉多余的检查点。步数比刚存的还大的，属于已放弃的分支，最先删。"""
    steps = sorted(list_checkpoints(run), key=lambda other: (other <= step, other))
    for old in steps[:-keep]:
        if old in spared:
            continue
        folder = run / FOLDER / f"step_{old:06d}"
        junk = temporary_sibling(folder)
        folder.rename(junk)  # 先改名再删：删到一半被杀，剩下的也只是可清扫的垃圾
        shutil.rmtree(junk, ignore_errors=True)


def list_checkpoints(run: Path) -> list[int]:
    """列出一个运行文件夹里现有的检查点。

    Args:
        run: 运行文件夹。

    Returns:
        升序的步数；文件夹不存在时为空。
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := STEP_NAME.fullmatch(path.name)))


# ---- 载入 ----


def load_checkpoint(path: Path, *, weights_only: bool = False) -> Checkpoint:
    """载入一个检查点，逐层核对：清单、大小、摘要、JSON、张量、有限。

    Args:
        path: 运行文件夹（取 ``latest`` 所指，没有它则取步数最大的）、``checkpoints`` 文件夹，或某个 ``step_N`` 文件夹。
        weights_only: 不读优化器的状态（它常有权重的两倍大），交出空的 ``optim``。

    Returns:
        与保存时逐比特相同的检查点。

    Raises:
        CheckpointError: 找不到、不完整、被改动或含非有限的数；消息里有文件名，若另有完好的检查点也会指出。
    """
    try:
        folder = _find_folder(path)
        try:
            return _load_folder(folder, (MODEL,) if weights_only else (MODEL, OPTIM))
        except CheckpointError as error:
            if other := _intact_sibling(folder):
                pointer = other.parent.parent / LATEST
                error.fix = f"go back to the intact checkpoint {other}: echo {other.name} > {pointer}"
            raise
    except OSError as error:
        raise CheckpointError(
            f"cannot read the checkpoint: {error.strerror}", where=str(path), fix="check the permissions"
        ) from error


def step_folder(run: Path, which: str) -> Path:
    """运行里的某一个检查点。

    Args:
        run: 运行文件夹。
        which: ``latest``、``best``，或步数。

    Returns:
        检查点文件夹 ``run/checkpoints/step_N``。

    Raises:
        CheckpointError: 没有这样一个检查点；消息里有现成的几个。
    """
    if which == LATEST:
        return _find_folder(run)
    if which == BEST and (run / BEST).is_file():
        return _pointed(run, BEST)
    if which.isdecimal() and (folder := run / FOLDER / f"step_{int(which):06d}").is_dir():
        return folder
    steps = ", ".join(str(step) for step in list_checkpoints(run)) or "none"
    raise CheckpointError(
        f"there is no checkpoint {which!r} in this run (steps there: {steps})",
        where=str(run),
        fix="use latest, best or one of these steps",
    )


def read_state(path: Path) -> dict[str, Any]:
    """只读最近的检查点的 ``state``，不读张量。

    Args:
        path: 同 ``load_checkpoint``。

    Returns:
        保存时的 ``state``，另有 ``step``。

    Raises:
        CheckpointError: 找不到，或内容不合法。
    """
    content = read_json(_find_folder(path) / STATE, MAX_STATE_BYTES)
    state = content.get("state")
    return {**(state if isinstance(state, dict) else {}), "step": content.get("step")}


def check_tensors(found: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """核对张量的名字与形状是否正是模型所要的。

    Args:
        found: 读到的张量。
        expected: 名字到形状。
        where: 消息里的位置，通常是文件名。

    Raises:
        CheckpointError: 缺少、多出或形状不符；各列出前几个。
    """
    wrong = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != tuple(shape)
    ]
    complaints = [
        f"{label} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for label, names in [
            ("missing", [name for name in expected if name not in found]),
            ("unexpected", [name for name in found if name not in expected]),
            ("wrong shape:", wrong),
        ]
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"tensors do not fit the model: {'; '.join(complaints)}",
            where=where,
            fix="use the model config that the checkpoint was saved with",
        )


def _find_folder(path: Path) -> Path:
    if (path / MANIFEST).exists() or STEP_NAME.fullmatch(path.name):
        return _present_folder(path)
    run = path.parent if path.name == FOLDER and not (path / FOLDER).exists() else path
    pointer = run / LATEST
    if not pointer.is_file():
        if steps := list_checkpoints(run):  # 首次保存时，在改名之后、写 latest 之前被杀
            return run / FOLDER / f"step_{steps[-1]:06d}"
        raise CheckpointError(
            "no checkpoint here: there is no 'latest' file",
            where=str(pointer),
            fix="give a run folder (runs/NAME) or a step folder (runs/NAME/checkpoints/step_N)",
        )
    return _pointed(run, LATEST)


def _pointed(run: Path, pointer: str) -> Path:
    """``latest`` 或 ``best`` 指着的检查点。"""
    name = read_bounded(run / pointer, 64).decode("ascii", "replace").removesuffix("\n")
    if not STEP_NAME.fullmatch(name):
        refuse(run / pointer, f"does not name a step folder: {name!a}")
    return _present_folder(run / FOLDER / name)


def _present_folder(folder: Path) -> Path:
    """文件夹本身；替换到一半被杀时，是挪到一旁的旧的那个。"""
    if folder.is_dir() or not folder.parent.is_dir():
        return folder
    aside = [path for path in folder.parent.iterdir() if path.name.startswith(f"{folder.name}.old-")]
    return aside[0] if aside else folder


def _intact_sibling(folder: Path) -> Path | None:
    """同一运行里最近的、摘要全对的另一个检查点。"""
    if folder.parent.name != FOLDER:
        return None
    for step in reversed(list_checkpoints(folder.parent.parent)):
        other = folder.parent / f"step_{step:06d}"
        with contextlib.suppress(CheckpointError):
            if other != folder:
                verify_sealed(other, FILES)
                return other
    return None


def _load_folder(folder: Path, wanted: tuple[str, ...]) -> Checkpoint:
    verify_sealed(folder, FILES, {*wanted, STATE})
    state = read_json(folder / STATE, MAX_STATE_BYTES)
    if state.keys() != {"step", "state"} or type(state["step"]) is not int or not isinstance(state["state"], dict):
        refuse(folder / STATE, "does not hold a step and a state")
    tensors: dict[str, dict[str, Array]] = {OPTIM: {}}
    for name in wanted:
        tensors[name], _ = read_safetensors(folder / name)
        for key, array in tensors[name].items():
            if not _is_finite(array):
                refuse(folder / name, f"holds NaN or infinity in {key}")
    return Checkpoint(state["step"], tensors[MODEL], tensors[OPTIM], state["state"])


def _is_finite(array: Array | LazyTensor) -> bool:
    """是否全都有限；还没有读进来的不在这里查，由读它的一方查。"""
    if isinstance(array, LazyTensor):
        return True
    return array.dtype.kind != "f" or not array.size or bool(np.isfinite(array).all())
