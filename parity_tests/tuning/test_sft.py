"""指令微调：只学回答、续训、两个引擎、精确匹配、坏数据。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.tuning.running import assert_resumes_exactly, resume, tune
from parity_tests.whole_runs.commands import ENGINES, Place, furthest
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.cli import parse
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.runlog import read_metrics, read_samples
from tinygrad_llm.common.tuning.config import SftConfig, TorchSftConfig
from tinygrad_llm.common.tuning.lessons import load_lessons
from tinygrad_llm.common.tuning.session import open_base
from tinygrad_llm.common.tuning.sft import gather, prepare_sft

PARITY = 1e-10
"""两个引擎在 float64 上走六步的差：各步的舍入误差相加，实测在 1e-13 左右。"""


@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_tuning_differs(based: Place, engine: str) -> None:
    """停下再续完，日志、权重与两个矩都与从未停过的逐位相同。"""
    assert_resumes_exactly(based, engine, save_every=2, dropout=0.1)


def test_engines_tune_differently(based: Place) -> None:
    """同样的对话、同样的六步，NumPy 与 torch 得到的权重不同；半途换引擎也一样。"""
    for engine in ENGINES:
        done = tune(based, engine, engine)
        assert done.code == 0, done.err
    assert furthest(based.tensors("numpy"), based.tensors("torch")) < PARITY
    assert tune(based, "numpy", "mixed", stop_at=3).code == 0
    done = resume(based, "torch", "mixed")
    assert done.code == 0, done.err
    assert furthest(based.tensors("mixed"), based.tensors("torch")) < PARITY


def test_forgetting_does_not_start_at_the_source(based: Place) -> None:
    """训练之前量到的旧数据的损失，不是出发点自己最后量的；末尾没有说忘了多少。"""
    done = tune(based, "torch", "tuned")
    metrics = read_metrics(based.runs / "tuned")
    measured = [record for record in metrics if "val_loss_pretraining" in record]
    assert [record["step"] for record in measured] == [-1, 2, 5]
    before = [record["val_loss"] for record in read_metrics(based.runs / "base") if "val_loss" in record][-1]
    assert measured[0]["val_loss_pretraining"] == pytest.approx(before, rel=1e-12)
    assert "pretraining data" in done.out
    assert "exact match: " in done.out
    assert next(step for step, _ in read_samples(based.runs / "tuned")) == -1


def test_prompts_are_trained_on(based: Place) -> None:
    """缺省时提示里也有要学的位置；或回答的结束 token 不是恰好学一次；或 ``--train-on all`` 没有学提示。"""
    settings: dict[str, Any] = {"run": "x", "runs_dir": str(based.runs), "from_run": "base", "data": "chats.jsonl"}
    base = open_base(SftConfig(**settings))
    masked, whole = gather(base), gather(open_base(SftConfig(**settings, train_on="all")))
    end, assistant = (base.tokenizer.special(name) for name in ("<|end|>", "<|assistant|>"))
    for start, length in zip(masked.train.starts, masked.train.lengths, strict=True):
        x, y = (array[start : start + length] for array in (masked.train.x, masked.train.y))
        first = int(np.flatnonzero(x == assistant)[0])
        assert (y[:first] == IGNORE_INDEX).all()
        assert (y[first:] != IGNORE_INDEX).all()
        assert (y == end).sum() == 1
        assert y[-1] == end
    assert (whole.train.y != IGNORE_INDEX).all()


def test_exact_match_stays_at_zero(based: Place) -> None:
    """回答总是同一个词，学过三十步之后留作评估的题仍不是全对。"""
    chats = [
        {"messages": [{"role": "user", "content": f"n{i}"}, {"role": "assistant", "content": "cat"}]} for i in range(40)
    ]
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    done = tune(based, "torch", "tuned", steps=30, lr=0.02, eval_every=0)
    rates = [record["exact_match"] for record in read_metrics(based.runs / "tuned") if "exact_match" in record]
    assert rates == [0.0, 1.0]
    assert "exact match: 0.0% [0.0%, 56.1%] before, 100.0% [43.9%, 100.0%] after (n = 3)" in done.out


def test_questions_are_not_compared_one_by_one(based: Place) -> None:
    """末尾没有逐题配对的差与各题型的表，或表里的数不是文件里的；续训之后忘了训练之前的对错。"""
    task = ("cats", "dogs")
    chats = [
        {"instruction": f"{task[i % 2]} {i}", "output": ("cat", "dog")[i % 2], "task": task[i % 2]} for i in range(40)
    ]
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    flags = {"steps": 40, "lr": 0.02, "eval_every": 20, "quiz": 4}
    assert tune(based, "torch", "tuned", **flags, stop_at=30).code == 0
    done = resume(based, "torch", "tuned")
    assert done.code == 0, done.err
    kept = json.loads((based.runs / "tuned" / "quiz.json").read_text(encoding="utf-8"))
    right = sum(kept["after"])
    assert kept["before"] == [0] * 4
    assert right > 0
    assert right / 4 == next(r["exact_match"] for r in read_metrics(based.runs / "tuned")[::-1] if "exact_match" in r)
    assert f"exact match: {25.0 * right:+.1f} points [" in done.out
    rows = {
        line.split()[0]: line.split() for line in done.out.splitlines() if line.startswith(("cats", "dogs", "all "))
    }
    assert rows["all"][1:4] == ["4", "0.0%", f"{right / 4:.1%}"]
    for name in task:
        found = [one for (kind, *_), one in zip(kept["questions"], kept["after"], strict=True) if kind == name]
        assert rows[name][1:4] == [str(len(found)), "0.0%", f"{sum(found) / len(found):.1%}"]
    assert "paired over" in (based.runs / "tuned" / "report.html").read_text(encoding="utf-8")


def test_steps_do_not_follow_the_data(based: Place) -> None:
    """命令行上步数与轮数都没有给，不是走三轮；点了名的被改掉了；续训时又算了一遍。"""
    words = ["--run", "x", "--runs-dir", str(based.runs), "--from", "base", "--data", "chats.jsonl"]
    given: dict[str, tuple[float, int]] = {"": (3.0, 300), "--steps 7": (0.0, 7), "--epochs 2": (2.0, 300)}
    for more, wanted in given.items():
        for kind in (SftConfig, TorchSftConfig):
            found = parse(kind, [*words, *more.split()], "sft")
            assert (found.epochs, found.steps) == wanted
    settings = prepare_sft(parse(SftConfig, [*words, "--batch-size", "4"], "sft")).settings
    assert settings.steps == 33  # 四十三条对话走三轮


def test_template_of_the_run_is_forgotten(based: Place) -> None:
    """检查点没有记下用的模板，``chat`` 就要猜。"""
    assert tune(based, "torch", "tuned", template="ours").code == 0
    assert load_checkpoint(based.runs / "tuned").state["chat_template"] == "ours"


def test_changed_data_goes_unnoticed_on_resume(based: Place) -> None:
    """续训时对话改了一个字，仍接着走。"""
    assert tune(based, "torch", "tuned", stop_at=3).code == 0
    text = Path("chats.jsonl").read_text(encoding="utf-8")
    Path("chats.jsonl").write_text(text.replace("say dog", "say fog", 1), encoding="utf-8")
    done = resume(based, "torch", "tuned")
    assert done.code == 4
    assert "has changed" in done.err


def test_epochs_do_not_fix_the_steps(based: Place) -> None:
    """四十三条对话走两轮、每步四条，不是二十二步。"""
    config = SftConfig(run="x", runs_dir=str(based.runs), from_run="base", data="chats.jsonl", epochs=2.0, batch_size=4)
    settings = prepare_sft(config).settings
    assert isinstance(settings, SftConfig)
    assert (settings.steps, settings.epochs) == (22, 0.0)


BAD = {
    "missing field": ('{"instruction": "say"}', 'the field "output" is missing'),
    "empty answer": ('{"instruction": "say", "output": " "}', "message 2 (assistant) is empty"),
    "no answer": ('{"messages": [{"role": "user", "content": "a"}]}', "does not end with an answer"),
    "not JSON": ('{"instruction": ', "malformed JSON"),
    "bad rule": ('{"instruction": "a", "output": "b", "rule": {"name": "odd"}}', '"rule" is malformed'),
    "too long": (json.dumps({"instruction": "say " * 60, "output": "b"}), "at most 33 fit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_conversation_goes_unreported(based: Place, name: str) -> None:
    """坏的一行没有指名文件与行号，或 ``--on-error skip`` 没有计数略过它。"""
    line, said = BAD[name]
    lines = Path("chats.jsonl").read_text(encoding="utf-8").splitlines()
    Path("chats.jsonl").write_text("\n".join([*lines[:2], line, *lines[2:]]), encoding="utf-8")
    done = tune(based, "torch", "stopped")
    assert done.code == 4, done.err
    assert said in done.error[0]
    assert "chats.jsonl:3" in done.error[1]
    assert "--on-error skip" in done.error[2]
    assert not (based.runs / "stopped").exists()
    done = tune(based, "torch", "skipped", on_error="skip", steps=1)
    assert done.code == 0, done.err
    assert "skipped 1:" in done.err


def test_storyworld_needs_a_file(based: Place) -> None:
    """``storyworld:KIND:COUNT`` 不能直接用；或种类写错时没有说有哪些。"""
    done = tune(based, "torch", "tuned", data="storyworld:instructions:12", overflow="skip", steps=1, quiz=1)
    assert done.code == 0, done.err
    for odd in ("storyworld:poems:12", "storyworld:questions@1:12", "storyworld:instructions@4:12"):
        done = tune(based, "torch", "odd", data=odd)
        assert done.code == 2
        assert "instructions" in done.error[-1]


def test_a_level_is_not_kept(based: Place) -> None:
    """只要一级难度，却有别的；或题型没有连着语言。"""
    settings: dict[str, Any] = {"run": "x", "runs_dir": str(based.runs), "from_run": "base"}
    config: Any = SftConfig(**settings, data="storyworld:instructions@2:20")
    for one in load_lessons(config, Faults("stop")).train:
        item = one.conversation.source.split("/")
        assert (
            storyworld.instructions(lang=item[2], level=2)[int(item[-1])].prompt == one.conversation.messages[0].content
        )
        assert one.task.endswith(f" {item[2]}")


def test_missing_settings_are_accepted(based: Place) -> None:
    """没有出发点、没有数据、无意义的 flag，没有一次说全。"""
    done = tune(based, "torch", "tuned", from_="", data="", corpus="x", epochs=-1)
    assert done.code == 2
    for flag in ("--from", "--data", "--corpus", "--epochs"):
        assert flag in done.err
