"""分类：特征取对位置、两个引擎相等、续训逐位相同、坏标签指名到行、比靠猜强。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity_tests.tuning.running import FLAGS, resume
from parity_tests.whole_runs.commands import ENGINES, Ended, Place, as_flags, assert_bit_equal, furthest
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.tuning.classification import LabelledRows, bag_of_words, macro_f1
from torch_llm.loop import build_model
from torch_llm.objectives_classification import Classification

PARITY = 1e-10
"""两个引擎在 float64 上走十步的差。"""


def classify(place: Place, engine: str, run: str, **changes: Any) -> Ended:
    """跑一次分类。"""
    kept = {name: value for name, value in FLAGS.items() if name not in ("quiz", "answer_tokens", "shown")}
    settings = {"run": run, "runs_dir": place.runs, **kept, "data": "texts.jsonl", "steps": 10, "lr": 0.01, **changes}
    return place.call(engine, "classify", *as_flags(settings))


@pytest.fixture
def labelled(based: Place) -> Place:
    """六十段文字，两类：含 cat 的与含 dog 的；长短不一。"""
    words = ("cat", "dog")
    rows = [{"text": f"the {words[i % 2]} {'ran ' * (i % 5)}", "label": words[i % 2]} for i in range(60)]
    Path("texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return based


@pytest.mark.parametrize("flags", [{}, {"lora_rank": 2}, {"last_layers": 0, "class_weights": True}], ids=str)
def test_engines_classify_differently(labelled: Place, flags: dict[str, Any]) -> None:
    """两个引擎学出的头与参数不同；半途换引擎也一样。"""
    for engine in ENGINES:
        done = classify(labelled, engine, engine, **flags)
        assert done.code == 0, done.err
    assert furthest(labelled.tensors("numpy"), labelled.tensors("torch")) < PARITY
    assert classify(labelled, "numpy", "mixed", **flags, stop_at=4).code == 0
    done = resume(labelled, "torch", "mixed", "classify")
    assert done.code == 0, done.err
    assert furthest(labelled.tensors("mixed"), labelled.tensors("torch")) < PARITY


@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_classifier_differs(labelled: Place, engine: str) -> None:
    """停下再续完，与从未停过的不是逐位相同。"""
    assert classify(labelled, engine, "straight", save_every=2).code == 0
    assert classify(labelled, engine, "broken", save_every=2, stop_at=5).code == 0
    done = resume(labelled, engine, "broken", "classify")
    assert done.code == 0, done.err
    assert_bit_equal(labelled.tensors("broken"), labelled.tensors("straight"))


def test_classifier_learns_nothing(labelled: Place) -> None:
    """一个词就分得开的两类，四十步之后仍没有全对；或旁边没有词袋基线。"""
    done = classify(labelled, "torch", "tuned", steps=40)
    assert done.code == 0, done.err
    last = [record for record in read_metrics(labelled.runs / "tuned") if "accuracy" in record][-1]
    assert (last["accuracy"], last["macro_f1"], last["bag_of_words"]) == (1.0, 1.0, 1.0)
    assert "bag of words: 100.0%" in done.out
    assert "accuracy: " in done.out


def test_padding_changes_the_features() -> None:
    """特征取的不是最后一个真正的 token：同一行单独成批与填充之后的分数不同。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=2, n_head=2, n_embd=8)
    model = build_model(config, initial_weights(config, 1, "float64"))
    method = Classification([1.0, 1.0])
    method.attach(model)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.arange(16.0).view(2, 8).sin())  # type: ignore[union-attr,operator]
    rows = [np.array([1, 2, 3]), np.array([4, 5, 6, 7, 8, 9])]
    for pool, where in (("last", [[2], [5]]), ("first", [[0], [0]]), ("mean", [[0, 1, 2], [0, 1, 2, 3, 4, 5]])):
        data = LabelledRows(rows, [1, 0], batch_size=2, seed=0, pad=10, pool=pool)
        x, y = data.take(np.array([0, 1]))
        assert [np.flatnonzero(row != IGNORE_INDEX).tolist() for row in y] == where
        both = method.logits(model, torch.from_numpy(x), torch.from_numpy(y))
        for i in (0, 1):
            alone = method.logits(model, *map(torch.from_numpy, data.take(np.array([i]))))
            assert torch.allclose(both[i], alone[0], rtol=1e-12)


def test_weighted_loss_is_not_the_weighted_mean() -> None:
    """加权的损失不是 torch 的加权平均。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=1, n_head=2, n_embd=8)
    model = build_model(config, initial_weights(config, 1, "float64"))
    method = Classification([0.5, 2.0])
    method.attach(model)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.arange(16.0).view(2, 8).cos())  # type: ignore[union-attr,operator]
    data = LabelledRows(
        [np.array([i, i + 1]) for i in range(6)], [0, 1, 0, 0, 1, 0], batch_size=6, seed=0, pad=0, pool="last"
    )
    batch = data.take(np.arange(6))
    x, y = map(torch.from_numpy, batch)
    found = method.loss(model, x, y)[0] / method.units(batch)
    weights, labels = torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([0, 1, 0, 0, 1, 0])
    expected = torch.nn.functional.cross_entropy(method.logits(model, x, y), labels, weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_f1_and_bag_of_words_miscount() -> None:
    """手算的例子上，宏平均 F1 或词袋基线错了。"""
    assert macro_f1(np.array([[3, 1], [2, 4]])) == pytest.approx((6 / 9 + 8 / 11) / 2)
    train = LabelledRows([np.array([1, 1]), np.array([2])], [0, 1], batch_size=1, seed=0, pad=0, pool="last")
    held_out = LabelledRows([np.array([2, 2]), np.array([1])], [1, 0], batch_size=1, seed=0, pad=0, pool="last")
    assert bag_of_words(train, 2, 3, held_out).tolist() == [1, 0]


BAD = {
    "missing": ('{"text": "a"}', 'the field "label" is missing'),
    "empty": ('{"text": " ", "label": "cat"}', "the text is empty"),
    "out of range": ('{"text": "a", "label": 7}', "the label '7' is out of range"),
    "unknown": ('{"text": "a", "label": "cow"}', "the label 'cow' is out of range"),
    "too long": (json.dumps({"text": "cat " * 90, "label": "cat"}), "at most 32 fit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_label_goes_unreported(labelled: Place, name: str) -> None:
    """坏的一行没有指名文件与行号，或 ``--on-error skip`` 没有计数略过它。"""
    line, said = BAD[name]
    lines = Path("texts.jsonl").read_text(encoding="utf-8").splitlines()
    Path("texts.jsonl").write_text("\n".join([*lines[:2], line, *lines[2:]]), encoding="utf-8")
    flags = [*as_flags({"run": "x", "runs_dir": labelled.runs, "from": "base", "data": "texts.jsonl", "steps": 1})]
    flags += ["--labels", "cat", "dog"]
    done = labelled.call("torch", "classify", *flags)
    assert done.code == 4, done.err
    assert said in done.error[0]
    assert "texts.jsonl:3" in done.error[1]
    done = labelled.call("torch", "classify", *flags, "--on-error", "skip")
    assert done.code == 0, done.err
    assert "skipped 1:" in done.err
