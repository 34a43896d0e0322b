"""切开存的检查点：每个进程只写自己手里的那些块，谁也不必装下整个模型。

流入：几个进程的参数与优化器状态；流出：``runs/NAME/sharded/step_000123/``，由 DCP（``torch.distributed.checkpoint``）
写成的一组 safetensors、``state.json`` 与清单。``consolidate`` 把它拼成普通的检查点，别的程序与另一个引擎读的都是后者。

DCP 惯用的 ``.metadata`` 是一段 pickle，读它就是运行它；这里用它的 safetensors 格式，各块的位置是一段 JSON。
读之前照样先按清单核对每个文件，文件夹里多出一个文件也不读。
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError, OutOfDiskError
from tinygrad_llm.common.files import sync_folder
from tinygrad_llm.common.manifest import MANIFEST, read_json, refuse, seal, sealed_names, verify_sealed, write_file
from tinygrad_llm.common.sharded import SHARDED, newer_shards, sharded_steps
from tinygrad_llm.common.update_rules import state_shapes
from torch_llm.parallel.engine import ParallelEngine
from torch_llm.parallel.shards import in_model_order

STATE = "state.json"
_SHARD = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_MAX_STATE_BYTES = 16 << 20
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def save_sharded(engine: ParallelEngine, run: Path, keep: int, step: int, state: dict[str, Any]) -> None:
    """存一个；每个进程都要来。

    Args:
        engine: 这个进程的引擎。
        run: 运行文件夹，各进程看到的是同一个。
        keep: 留最近的几个。
        step: 做完了几步。
        state: 与普通检查点的相同。

    Raises:
        OutOfDiskError: 写不下；每个进程都抛出同一个，先前的仍然完好。
    """
    ranks, target = engine.ranks, run / SHARDED / f"step_{step:06d}"
    partial = target.with_name(f"{target.name}.partial")
    ranks.first(lambda: _emptied(partial))
    content = {"step": step, "state": {**state, "optimizer_step": engine.updates}, "tp": engine.layout.tp}

    def write() -> dict[str, Any]:
        with _told_as_out_of_disk(target):
            save(_tensors(engine), storage_writer=HuggingFaceStorageWriter(str(partial), save_distributed=True))
            mine = [path for path in partial.glob(f"shard-{engine.layout.rank + 1:05d}-*") if path.is_file()]
            return sealed_names(mine)

    files = ranks.every(write)
    gathered: list[Any] = [None] * engine.layout.world
    dist.all_gather_object(gathered, files)

    def finish() -> None:
        with _told_as_out_of_disk(target):
            entries = {name: entry for one in gathered for name, entry in one.items()}
            entries[STATE] = write_file(partial / STATE, [json.dumps(content, allow_nan=False).encode()])
            seal(partial, entries)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            sync_folder(target.parent)
        for old in sharded_steps(run)[:-keep]:
            shutil.rmtree(run / SHARDED / f"step_{old:06d}", ignore_errors=True)

    ranks.first(finish)


def consolidate_newer(run: Path, keep: int) -> int | None:
    """切开存的若比普通的新，就拼成普通的；返回是第几步，没有更新的则为 ``None``。"""
    step = newer_shards(run)
    if step is not None:
        save_checkpoint(run, read_sharded(run / SHARDED / f"step_{step:06d}"), keep=keep)
    return step


def read_sharded(folder: Path) -> Checkpoint:
    """核对、读入并拼成整个的。

    Args:
        folder: ``runs/NAME/sharded/step_N``。

    Raises:
        CheckpointError: 不是我们写的、少了或多了文件、改动过，或与它自己的配置不符。
    """
    names = {path.name for path in folder.iterdir()} - {MANIFEST} if folder.is_dir() else set()
    if strange := sorted(name for name in names - {STATE} if not _SHARD.fullmatch(name)):
        refuse(folder / strange[0], "does not belong in a sharded checkpoint")
    verify_sealed(folder, names | {STATE})
    content = read_json(folder / STATE, _MAX_STATE_BYTES)
    state, tp = content.get("state"), content.get("tp")
    if not isinstance(state, dict) or type(content.get("step")) is not int or type(tp) is not int or tp < 1:
        refuse(folder / STATE, "does not hold a step, a state and a layout")
    try:
        config, dtype = GPTConfig.from_dict(state["model"]), _DTYPES[state["settings"]["dtype"]]
        shapes = parameter_shapes(config)
        every = {**shapes, **state_shapes(shapes, state["settings"]["optimizer"])}
        whole: dict[str, Any] = {name: torch.empty(shape, dtype=dtype) for name, shape in every.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 它提醒：只有一个进程在读
            load(whole, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    except (CheckpointException, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"the sharded checkpoint does not fit its own configuration: {str(error).splitlines()[0][:160]}",
            where=str(folder),
            fix="use another checkpoint",
        ) from error
    arrays = {name: in_model_order(name, tensor, config, tp).numpy() for name, tensor in whole.items()}
    model = {name: arrays[name] for name in shapes}
    return Checkpoint(content["step"], model, {name: a for name, a in arrays.items() if name not in model}, state)


def _tensors(engine: ParallelEngine) -> dict[str, Tensor]:
    """参数与状态，名字与普通检查点的相同；切开的是 ``DTensor``，DCP 从它知道这一块在哪里。"""
    placed = dict(engine.model.named_parameters())
    found: dict[str, Tensor] = {}
    for name, mine, optimizer, kinds in engine.owned():
        found[name] = _like(placed[name], mine.detach())
        for kind in kinds:
            state = optimizer.state.get(mine, {}).get(kind)
            found[f"{kind}.{name}"] = _like(placed[name], torch.zeros_like(mine) if state is None else state)
    return found


def _like(p: Tensor, mine: Tensor) -> Tensor:
    if not isinstance(p, DTensor):
        return mine
    return DTensor.from_local(mine, p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride())


def _emptied(folder: Path) -> None:
    with _told_as_out_of_disk(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)


@contextlib.contextmanager
def _told_as_out_of_disk(target: Path) -> Any:
    """DCP 把各进程的错误装进自己的异常；里面是写不下盘的，照普通检查点的样子说。"""
    try:
        yield
    except (OSError, CheckpointException) as error:
        causes = [error] if isinstance(error, OSError) else [one for one, _ in error.failures.values()]
        reasons = [one.strerror or str(one) for one in causes if isinstance(one, OSError)]
        if not reasons:
            raise
        raise OutOfDiskError(
            f"cannot write the checkpoint: {reasons[0]}",
            where=str(target),
            fix="free some space or make the folder writable; earlier checkpoints are intact",
        ) from error
