"""切开存的检查点：拼起来与普通的逐位相同，动过的、多出来的一概不读。"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.distributed.processes import GPT2, LLAMA, SETTINGS, STEPS, together, walk
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.sharded import newer_shards, sharded_steps
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.parallel.engine import ParallelEngine
from torch_llm.parallel.ranks import TorchRanks
from torch_llm.parallel.sharded import consolidate_newer, read_sharded, save_sharded


def saved_both_ways(ranks: TorchRanks, config: GPTConfig, settings: TorchConfig) -> Any:
    """走几步，切开存两回，再照普通的办法拼出来。"""
    engine = ParallelEngine(config, settings, ranks)
    state = {"model": config.to_dict(), "settings": asdict(settings)}
    walk(engine, range(2), ranks.part, ranks.parts)
    save_sharded(engine, settings.folder, 1, 2, state)
    walk(engine, range(2, STEPS), ranks.part, ranks.parts)
    save_sharded(engine, settings.folder, 1, STEPS, state)
    return engine.export()


def _compare(world: int, cases: list[tuple[GPTConfig, TorchConfig]]) -> None:
    found = together(world, cases, saved_both_ways)
    for (_, settings), (weights, states, updates) in zip(cases, found, strict=True):
        assert sharded_steps(settings.folder) == [STEPS]
        read = read_sharded(settings.folder / "sharded" / f"step_{STEPS:06d}")
        assert (read.step, read.state["optimizer_step"]) == (STEPS, updates)
        assert list({**read.model, **read.optim}) == list({**weights, **states})
        for name, array in {**weights, **states}.items():
            np.testing.assert_array_equal({**read.model, **read.optim}[name], array, err_msg=name)


def _cases(place: Path, kinds: tuple[Any, ...], *models: GPTConfig) -> list[tuple[GPTConfig, TorchConfig]]:
    cases = []
    for kind in kinds:
        for i, model in enumerate(models):
            tp = 2 if kind == "fsdp+tp" else None
            cases.append((model, replace(SETTINGS, parallel=kind, tp=tp, runs_dir=str(place), run=f"{kind}{i}")))
    return cases


@pytest.mark.full
@pytest.mark.parametrize(("world", "kinds"), [(2, ("ddp", "fsdp", "tp")), (4, ("fsdp", "fsdp+tp"))])
def test_shards_do_not_make_the_whole(tmp_path: Path, world: int, kinds: tuple[Any, ...]) -> None:
    """切开存的拼起来，与各进程当场拼的差了哪怕一个比特。"""
    _compare(world, _cases(tmp_path, kinds, GPT2, LLAMA))


@pytest.mark.full
def test_foreign_folder_is_read(tmp_path: Path) -> None:
    """改动一个字节、少一个文件、多一个文件（比如一段 pickle 的 ``.metadata``），却照样读了。"""
    cases = _cases(tmp_path, ("fsdp",), GPT2)
    together(2, cases, saved_both_ways)
    run = cases[0][1].folder
    folder = run / "sharded" / f"step_{STEPS:06d}"
    with pytest.raises(CheckpointError) as caught:
        load_trained(run)
    assert "python -m torch_llm consolidate" in str(caught.value)
    for name in [path.name for path in folder.iterdir()]:
        for change in ("flip", "delete", "truncate"):
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            data = bytearray((copy / name).read_bytes())
            data[len(data) // 2] ^= 1
            if change == "delete":
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(data if change == "flip" else data[: len(data) // 2])
            with pytest.raises(UserError):
                read_sharded(copy)
            shutil.rmtree(copy)
    for name in (".metadata", "shard-00009-model-00001-of-00001.safetensors", "x.py"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(CheckpointError):
            read_sharded(folder)
        (folder / name).unlink()
    assert newer_shards(run) == STEPS == consolidate_newer(run, 1)
    assert newer_shards(run) is None
