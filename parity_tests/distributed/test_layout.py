"""网格、切法与进程之间的约定：不必起进程就查得出的。"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_llm
from parity_tests.distributed.processes import GPT2, LLAMA, SETTINGS
from tinygrad_llm.common import environment
from tinygrad_llm.common.cli import parse
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.environment import Launch, launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.ranks import shared_out
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.parallel.layout import Layout, check_model, choose_layout
from torch_llm.parallel.shards import cut_dim, head_order, piece


@pytest.mark.parametrize(
    ("world", "changes", "complaint"),
    [
        (1, {"parallel": "tp"}, "needs at least 2 processes"),
        (1, {"parallel": "ddp"}, "torchrun"),
        (2, {"parallel": "fsdp", "tp": 2}, "--tp 2 needs --parallel tp or fsdp+tp"),
        (4, {"parallel": "tp", "tp": 2}, "use fsdp+tp"),
        (4, {"parallel": "fsdp+tp"}, "needs --tp N"),
        (4, {"parallel": "fsdp+tp", "tp": 4}, "at least 2 groups"),
        (6, {"parallel": "fsdp+tp", "tp": 4}, "does not split 6"),
        (3, {}, "among 3 processes"),
        (8, {}, "use a multiple of 16"),
        (2, {"auto_batch": True}, "--accumulate"),
        (2, {"parallel": "fsdp", "compile": True}, "--parallel ddp only"),
        (2, {"parallel": "tp", "optimizer": "muon"}, "whole matrices"),
    ],
)
def test_impossible_layout_is_accepted(world: int, changes: dict[str, Any], complaint: str) -> None:
    """进程数、切法与批大小对不上，却没有在开训之前说清楚。"""
    with pytest.raises(UserError) as caught:
        choose_layout(replace(SETTINGS, **changes), Launch(0, world, 0, world))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("model", [GPT2, replace(LLAMA, hidden=21), replace(LLAMA, n_head=6, n_kv_head=3, head_dim=4)])
def test_model_that_cannot_be_cut_is_cut(model: GPTConfig) -> None:
    """头数或中间宽度不能平分，却没有说是哪一个。"""
    bad = {GPT2: "n_head=4"}.get(model, "hidden=21" if model.hidden == 21 else "n_kv_head=3")
    with pytest.raises(UserError) as caught:
        check_model(model, Layout("tp", 0, 3 if model == GPT2 else 2, 3 if model == GPT2 else 2))
    assert bad in str(caught.value)


@pytest.mark.parametrize(("kind", "tp"), [("ddp", 1), ("fsdp", 1), ("tp", 4), ("fsdp+tp", 2)])
@pytest.mark.parametrize("config", [GPT2, replace(LLAMA, n_kv_head=4, hidden=24)])
def test_pieces_lose_an_element(config: GPTConfig, kind: Any, tp: int) -> None:
    """各进程的块合起来，有的数没有人要，或（没有整个复制的参数里）有两个人要。"""
    layouts = [Layout(kind, rank, 4, tp) for rank in range(4)]
    for name, shape in parameter_shapes(config).items():
        whole = torch.arange(int(np.prod(shape))).view(shape)
        pieces = [piece(name, whole, config, layout) for layout in layouts]
        copies = (1 if kind in ("fsdp", "fsdp+tp") else 4 // tp) * (1 if tp > 1 and cut_dim(name) is not None else tp)
        found = torch.cat([one.flatten() for one in pieces]).sort().values
        expected = whole.flatten().repeat_interleave(copies if kind != "ddp" else 4)
        assert found.tolist() == expected.tolist(), name


def test_lane_holds_parts_of_other_heads() -> None:
    """切开 ``c_attn`` 之后，一个进程手里的 q、k、v 不是同一组头的。"""
    config = replace(LLAMA, head_dim=3, position="learned")
    rows = head_order(config, 2).reshape(2, -1)
    heads = np.repeat([0, 1, 2, 3, 10, 11, 20, 21], 3)
    assert heads[rows].tolist() == [
        [0] * 3 + [1] * 3 + [10] * 3 + [20] * 3,
        [2] * 3 + [3] * 3 + [11] * 3 + [21] * 3,
    ]
    assert head_order(config, 1).tolist() == list(range(24))


def test_evaluation_counts_a_batch_twice() -> None:
    """评估的批次分给几个进程：有的没有人做，有的做了两遍，或各人做的个数不同（那样会互相等下去）。"""
    batches = [(np.full((2, 3), i), np.full((2, 3), i)) for i in range(7)]

    class Part:
        is_first, part, parts = False, 0, 3

    shares = []
    for part in range(3):
        ranks: Any = Part()
        ranks.part = part
        shares.append(list(shared_out(batches, ranks)))
    assert {len(share) for share in shares} == {3}
    done = [int(y[0, 0]) for share in shares for _, y in share]
    assert sorted(i for i in done if i >= 0) == list(range(7))
    assert done.count(-100) == 2


def test_half_an_environment_makes_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """环境里只有 ``RANK`` 之类的一两个变量（别的程序留下的），却被当作几个进程之一。"""
    for name in environment._RENDEZVOUS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == Launch()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert launched() == Launch(1, 2, 1, 2)


def test_recipe_is_no_command() -> None:
    """``PARALLEL.md`` 里的做法 bash 读不通，或用了没有的 flag。"""
    page = (Path(torch_llm.__file__).parent / "PARALLEL.md").read_text(encoding="utf-8")
    recipes = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert len(recipes) == 6
    for recipe in recipes:
        subprocess.run(["bash", "-n"], input=recipe, text=True, encoding="utf-8", check=True)
        for flags in re.findall(r"pretrain (.*?)\n(?!  )", recipe.replace("\\\n", " ")):
            words = [word for word in shlex.split(flags) if word not in ("--resume", "${resume[@]}")]
            assert parse(TorchConfig, words, "recipe").parallel != "auto" or "--parallel" not in words
