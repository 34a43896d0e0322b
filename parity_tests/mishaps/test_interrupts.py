"""被打断的训练：Ctrl-C 与 SIGTERM 存好再走，kill -9 至多退回一个检查点；接起来与从未打断的逐位相同。"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, TRAIN, Ended, Place, assert_bit_equal, finish, wait_for_steps
from tinygrad_llm.common import session
from tinygrad_llm.common.checkpoint import list_checkpoints, load_checkpoint
from tinygrad_llm.common.tokenizers import Tokenizer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

LONG: dict[str, Any] = {"steps": 100_000, "eval_every": 0, "sample_every": 0}
"""不打断就走不完。"""


def interrupted(place: Place, engine: str, run: str, number: int, after: int, **changes: Any) -> Ended:
    """开训，日志有 ``after`` 行之后发一个信号，等它结束。"""
    process = place.spawn(engine, TRAIN[engine], *place.flags(run, {**LONG, **changes}))
    wait_for_steps(process, place.runs / run, after)
    process.send_signal(number)
    return finish(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.fused  # 一部分步在另一个进程里，那里照常用融合算子
def test_interrupted_run_loses_a_step(place: Place, engine: str, number: signal.Signals) -> None:
    """信号之后退出码为 128 + 编号，消息三行，检查点停在最后记录的那一步，续训与从未打断的逐位相同。"""
    ended = interrupted(place, engine, "a", number, after=3, dropout=0.2)
    assert ended.code == 128 + number, ended
    assert (len(ended.error), ended.out) == (3, "")
    assert "stopping after this step" in ended.err
    saved = load_checkpoint(place.runs / "a").step
    assert saved == len(place.curve("a")) >= 3
    assert f"after step {saved}" in ended.error[0]
    assert ended.error[2] == f"  fix: continue with --resume --run a --runs-dir {place.runs}"
    flags = ended.error[2].partition("continue with ")[2].split()
    assert place.call(engine, TRAIN[engine], *flags, f"--stop-at={saved + 3}").code == 0
    assert place.train(engine, "straight", **LONG, dropout=0.2, stop_at=saved + 3).code == 0
    assert place.columns("a") == place.columns("straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))


def test_second_signal_waits(place: Place) -> None:
    """再按一次立即退出；先前的检查点仍能载入。"""
    process = place.spawn("numpy", "train", *place.flags("a", {**LONG, "n_layer": 4, "n_embd": 128, "batch_size": 64}))
    wait_for_steps(process, place.runs / "a", 1)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        time.sleep(0.001)
        process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_signal_before_the_first_step_leaves_half_a_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """还在训练分词器时按 Ctrl-C：退出码 130，一行消息，什么也没写，同样的命令可以再来一次。"""

    def press(text: str, vocab_size: int) -> Tokenizer:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal was ignored")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # 从后台启动的测试继承的是「不理会」
    try:
        with monkeypatch.context() as patched:
            patched.setattr(session, "train_bpe", press)
            ended = place.train("numpy", "a")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.code, ended.err) == (130, "interrupted\n")
    assert place.contents() == {}
    assert place.train("numpy", "a").code == 0


def test_run_killed_while_opening_its_log_blocks_its_name(place: Place) -> None:
    """恰在打开日志之后、写下配置之前被杀：只留下空文件，同样的命令可以再来一次。"""
    (place.runs / "a").mkdir(parents=True)
    for name in ("metrics.jsonl", "samples.txt"):
        (place.runs / "a" / name).touch()
    assert place.train("numpy", "a").code == 0


# ---- kill -9 ----


def survive(place: Place, engine: str, kills: int, *, seed: int) -> int:
    """反复 kill -9 再续训，最后一次走完：每次至多退回一个间隔，日志与权重同从未被杀的逐位相同。

    Returns:
        有几次恰好杀在保存途中。
    """
    rng = random.Random(seed)
    changes = {"save_every": 3, "steps": 100_000, "eval_every": 0, "sample_every": 0, "dropout": 0.2}
    flags = place.flags("a", changes)
    reached, inside = 0, 0
    for kill in range(kills):
        process = place.spawn(engine, TRAIN[engine], *flags)
        wait_for_steps(process, place.runs / "a", reached + rng.randint(1, 6))
        time.sleep(rng.uniform(0, 0.02))  # 有时落在保存途中
        process.kill()
        ended = finish(process)
        assert (ended.code, ended.error) == (-signal.SIGKILL, []), (kill, ended)
        inside += any(".tmp-" in name or ".old-" in name for name in place.contents())
        logged = len(place.curve("a"))
        saved = load_checkpoint(place.runs / "a").step if list_checkpoints(place.runs / "a") else 0
        assert logged - 3 <= saved <= logged, f"kill {kill} lost more than one interval"
        assert saved >= reached, f"kill {kill} lost a checkpoint"
        reached = saved
        flags = ["--resume", "--run=a", f"--runs-dir={place.runs}"]
    stop_at = reached + 2
    assert place.resume(engine, "a", stop_at=stop_at).code == 0
    assert place.train(engine, "straight", **changes, stop_at=stop_at).code == 0
    assert place.columns("a") == place.columns("straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))
    assert not [name for name in place.contents() if ".tmp-" in name or ".old-" in name]
    return inside


@pytest.mark.parametrize(("engine", "kills"), [("numpy", 6), ("torch", 2)])
@pytest.mark.fused  # 一部分步在另一个进程里，那里照常用融合算子
def test_killed_run_differs_from_the_unbroken_one(place: Place, engine: str, kills: int) -> None:
    """kill -9 数次，第一次常在首个检查点之前。"""
    survive(place, engine, kills, seed=1)
