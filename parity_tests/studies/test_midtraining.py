"""中段训练：新旧数据的份额、遗忘曲线、续训与报错。"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.batches.test_training import shard
from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal, text_of
from tinygrad_llm.common.batches import Mixture, evaluation_batches, open_store
from tinygrad_llm.common.batches.dialogues import Dialogues
from tinygrad_llm.common.batches.shard import ShardConfig, main
from tinygrad_llm.common.chat import CHAT_SPECIALS
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.corpora import Faults, storyworld
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.forgetting import forgetting
from tinygrad_llm.common.midtraining import MidtrainConfig, prepare_midtraining
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.tokenizers import load_tokenizer, train_bpe

MODEL: dict[str, Any] = {"n_layer": 1, "n_embd": 32, "n_head": 2, "context": 16}
FLAGS: dict[str, Any] = {"from": "base", "steps": 8, "batch_size": 10, "warmup_steps": 2, "eval_every": 4}


@pytest.fixture
def based(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """当前目录里有分片 ``a``、``b``、``c``，与在 ``a`` 上训练的 ``base``。"""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_bpe(text_of(200), 300)
    for seed, name in enumerate("abc"):
        shard(name, tokenizer, seed=seed)
    assert place.train("torch", "base", data="a", corpus=None, vocab_size=None).code == 0
    return place


def midtrain(place: Place, engine: str, run: str, **changes: Any) -> Any:
    """跑一次中段训练。"""
    settings = {"run": run, "runs_dir": place.runs, **FLAGS, **changes}
    flags = [
        f"--{name.replace('_', '-')}={value}" if value is not True else f"--{name}" for name, value in settings.items()
    ]
    return place.call(engine, "midtrain", *flags)


@pytest.mark.parametrize("engine", ENGINES)
def test_forgetting_curve_does_not_start_at_the_source(based: Place, engine: str) -> None:
    """第 -1 步记着训练之前新旧两个验证集的损失；旧的那一个正是出发点自己最后量的。"""
    done = midtrain(based, engine, "mid", data="b=0.7,c=0.3")
    assert done.code == 0, done.err
    metrics = read_metrics(based.runs / "mid")
    measured = [record for record in metrics if "val_loss_old" in record]
    assert [record["step"] for record in measured] == [-1, 3, 7]
    before = [record["val_loss"] for record in read_metrics(based.runs / "base") if "val_loss" in record][-1]
    assert measured[0]["val_loss_old"] == pytest.approx(before, rel=1e-5)
    found = forgetting(metrics)
    assert found is not None
    assert found.describe() in done.out
    assert found.new_after < found.new_before
    assert "forget" not in done.err
    assert "re-warm" in done.err


def test_shares_of_old_and_new_data_differ_from_the_flags(based: Place) -> None:
    """一个周期里旧数据恰占 --replay，新数据之间恰按 --data 的权重。"""
    settings = MidtrainConfig(
        run="mid", runs_dir=str(based.runs), from_run="base", data="b=0.7,c=0.3", replay=0.2, batch_size=10
    )
    session = prepare_midtraining(settings)
    assert isinstance(session.train, Mixture)
    shares = [Fraction(share, session.train.period) for share in session.train.shares]
    assert shares == [Fraction("0.56"), Fraction("0.24"), Fraction("0.2")]
    assert [source.name for source in session.train.sources] == ["b", "c", "a (replay)"]
    counts = np.bincount(np.concatenate([session.train.chosen(step)[0] for step in range(50)]))
    assert counts.tolist() == [280, 120, 100]
    assert np.array_equal(
        np.concatenate([x for x, _ in evaluation_batches(session.watched["old"], 16, 4)]),
        np.concatenate([x for x, _ in evaluation_batches(open_store(Path("a")).split("val").tokens, 16, 4)]),
    )


@pytest.mark.parametrize("replay", [0.0, 0.5])
@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_midtraining_differs(based: Place, engine: str, replay: float) -> None:
    """停下再续完，日志、权重与两个矩都与从未停过的逐位相同；出发点不必还在。"""
    flags = {"data": "b", "replay": replay, "save_every": 3}
    assert midtrain(based, engine, "straight", **flags).code == 0
    assert midtrain(based, engine, "broken", **flags, stop_at=5).code == 0
    (based.runs / "base").rename(based.runs / "moved")
    done = based.call(engine, "midtrain", "--resume", "--run=broken", f"--runs-dir={based.runs}")
    assert done.code == 0, done.err
    assert_bit_equal(based.tensors("broken"), based.tensors("straight"))
    assert based.columns("broken") == based.columns("straight")
    curves = [
        {
            record["step"]: record["val_loss_old"]
            for record in read_metrics(based.runs / run)
            if "val_loss_old" in record
        }
        for run in ("broken", "straight")
    ]
    assert set(curves[0]) == {-1, 3, 4, 7}  # 停下时另量了一次
    assert curves[1].items() <= curves[0].items()


def test_midtraining_changes_engines(based: Place) -> None:
    """torch 起头、NumPy 接着走：设置、数据与权重都对得上。"""
    assert midtrain(based, "torch", "mixed", data="b", stop_at=4).code == 0
    done = based.call("numpy", "midtrain", "--resume", "--run=mixed", f"--runs-dir={based.runs}")
    assert done.code == 0, done.err
    assert load_checkpoint(based.runs / "mixed").step == 8


def test_text_cannot_be_midtrained_on(place: Place, tmp_path: Path) -> None:
    """新旧数据都是文本，不做分片：旧文本取自出发点，验证的一段也与它相同。"""
    other = tmp_path / "other.txt"
    other.write_text(text_of(100, seed=7), encoding="utf-8")
    assert place.train("torch", "base").code == 0
    done = midtrain(place, "torch", "mid", corpus=other)
    assert done.code == 0, done.err
    first = next(record for record in read_metrics(place.runs / "mid") if "val_loss_old" in record)
    before = [record["val_loss"] for record in read_metrics(place.runs / "base") if "val_loss" in record][-1]
    assert first["val_loss_old"] == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"data": "b", "replay": 1.0}, "--replay must be"),
        ({"data": "b", "from": ""}, "--from is missing"),
        ({"data": "b", "n_embd": 64}, "--n-embd 64"),
        ({"data": "d"}, "another tokenizer"),
        ({"data": "b", "replay_data": "d"}, "another tokenizer"),
    ],
)
def test_mistake_of_the_user_is_not_told(based: Place, flags: dict[str, Any], told: str) -> None:
    """用户弄错的事，三行之内说清；什么也没写下。"""
    shard("d", train_bpe(text_of(50, seed=9), 280), seed=3)
    before = based.contents()
    done = midtrain(based, "torch", "mid", **flags)
    assert done.code == 2
    assert told in done.err
    assert len(done.error) <= 3
    assert based.contents() == before


def test_dialogue_shards_lose_or_add_an_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """对话的分片解码回来，每句话与角色的标记都在，文档以 eot 开头；验证集按整个对话分。"""
    items = storyworld.dialogues(0, "both", "train").take(20, 0)
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(item.to_json(), ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    tokenizer = train_bpe(text_of(50), 300, ("<|endoftext|>", *CHAT_SPECIALS))
    tokenizer.save(tmp_path / "t.json")
    main(ShardConfig(str(path), tmp_path / "t.json", tmp_path / "s", val_fraction=0.1, chat="ours", workers=1))
    store = open_store(tmp_path / "s")
    assert {name: len(split.starts) for name, split in store.splits.items()} == {"val": 2, "train": 18}
    train = store.split("train")
    ids = train.tokens.read(int(train.starts[0]), int(train.starts[1]))
    assert ids[0] == tokenizer.eot
    _, second, *_ = items
    marked = "".join(f"<|{turn['role']}|>{turn['content']}<|end|>" for turn in second.messages())
    assert load_tokenizer(tmp_path / "t.json").decode(ids[1:].tolist()) == marked
    assert store.split("val").text_bytes == sum(
        len(turn["content"].encode()) for item in (items[0], items[10]) for turn in item.messages()
    )
    capsys.readouterr()


def test_dialogues_without_special_tokens_are_written(tmp_path: Path) -> None:
    """分词器缺少模板的特殊 token：说怎样添上；没有这个文件：也说清。"""
    plain = train_bpe(text_of(50), 300)
    with pytest.raises(UserError, match="lacks the special tokens"):
        Dialogues(plain, "ours")
    able = plain.with_specials(CHAT_SPECIALS)
    with pytest.raises(UserError, match="no such file of conversations"):
        list(Dialogues(able, "ours").documents(tmp_path / "none.jsonl", Faults()))
