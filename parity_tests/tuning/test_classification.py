"""分类：特征取对位置、两个引擎相等、续训逐位相同、坏标签指名到行、比靠猜强。"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tuning.running import FLAGS, resume
from parity_tests.whole_runs.commands import ENGINES, Ended, Place, as_flags, assert_bit_equal, furthest
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Batch
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.tuning.classification import bag_of_words
from tinygrad_llm.common.tuning.config import ClassifyConfig
from tinygrad_llm.common.tuning.confusion import load_held_out, macro_f1
from tinygrad_llm.common.tuning.labelled_data import load_labelled
from tinygrad_llm.common.tuning.labelled_rows import LabelledRows, Padding, Pool, Reading
from tinygrad_llm.objectives_classification import Classification as NumpyClassification
from tinygrad_llm.train import build_model as build_numpy_model
from torch_llm.loop import build_model
from torch_llm.objectives_classification import Classification

POOLS: tuple[Pool, ...] = ("last", "first", "mean")
SIDES: tuple[Padding, ...] = ("right", "left")
PARITY = 1e-10
"""两个引擎在 float64 上走十步的差。"""


def classify(place: Place, engine: str, run: str, **changes: Any) -> Ended:
    """跑一次分类。"""
    kept = {name: value for name, value in FLAGS.items() if name not in ("quiz", "answer_tokens", "shown")}
    settings = {"run": run, "runs_dir": place.runs, **kept, "data": "texts.jsonl", "steps": 10, "lr": 0.01, **changes}
    return place.call(engine, "classify", *as_flags(settings))


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
    for pool, where in zip(POOLS, ([[2], [5]], [[0], [0]], [[0, 1, 2], [0, 1, 2, 3, 4, 5]]), strict=True):
        data = LabelledRows(rows, [1, 0], batch_size=2, seed=0, pad=10, reading=Reading(pool=pool))
        x, y = data.take(np.array([0, 1]))
        assert [np.flatnonzero(row != IGNORE_INDEX).tolist() for row in y] == where
        both = method.logits(model, torch.from_numpy(x), torch.from_numpy(y))
        for i in (0, 1):
            alone = method.logits(model, *map(torch.from_numpy, data.take(np.array([i]))))
            assert torch.allclose(both[i], alone[0], rtol=1e-12)


SHAPES: dict[str, dict[str, Any]] = {
    "learned positions": {},
    "rope, window, documents": {"position": "rope", "window": 3, "document_start": 10},
}
READINGS = [
    Reading(pool, side, to, causal=causal)
    for pool in POOLS for side in SIDES for to in (0, 8) for causal in (True, False)
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_masked_padding_changes_the_features(engine: str, shape: str) -> None:
    """填充有掩码时，填充在哪边、填充多长、看不看得见后文，同一行的分数与不填充时的不同；或两个引擎的不同。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=2, n_head=2, n_embd=8, **SHAPES[shape])
    scores, expected = scorer(engine, config), scorer("torch", config)
    rows = [np.array([1, 2, 3]), np.array([4, 5, 6, 7, 8, 9]), np.array([3])]
    for reading in READINGS:
        data = labelled_rows(rows, reading, config)
        found = scores(data.take(np.arange(3)))
        alone = [labelled_rows([row], replace(reading, padding="right", pad_to=0), config) for row in rows]
        assert np.allclose(found, np.concatenate([expected(one.take(np.array([0]))) for one in alone]), atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_unmasked_padding_is_no_text(engine: str) -> None:
    """填充不掩去时，它不是如同一段普通的文字。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=2, n_head=2, n_embd=8)
    scores = scorer(engine, config)
    for side in SIDES:
        filled = [1, 2, 3, 10, 10] if side == "right" else [10, 10, 1, 2, 3]
        for pool in POOLS:
            for causal in (True, False):
                reading = Reading(pool, side, 5, False, causal)
                found = scores(labelled_rows([np.array([1, 2, 3])], reading, config).take(np.array([0])))
                plain = Reading(pool, causal=causal)
                expected = scores(labelled_rows([np.array(filled)], plain, config).take(np.array([0])))
                assert np.allclose(found, expected, atol=1e-12)


def test_later_tokens_stay_hidden_without_the_causal_mask() -> None:
    """关掉因果的掩码，头一个 token 的特征仍看不见后文；或开着时看得见。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=1, n_head=2, n_embd=8)
    scores = scorer("torch", config)
    for causal in (True, False):
        first, second = (
            scores(labelled_rows([np.array(row)], Reading("first", causal=causal), config).take(np.array([0])))
            for row in ([1, 2, 3], [1, 2, 4])
        )
        assert np.array_equal(first, second) == causal


def labelled_rows(rows: list[Any], reading: Reading, config: GPTConfig) -> LabelledRows:
    """各行都是第 0 类。"""
    labels = [0] * len(rows)
    return LabelledRows(rows, labels, batch_size=1, seed=0, pad=10, reading=reading, window=config.window)


def scorer(engine: str, config: GPTConfig) -> Callable[[Batch], Any]:
    """由批次得出对数概率；两个引擎的权重与头都相同。"""
    head = np.arange(16.0).reshape(2, 8)
    weights = initial_weights(config, 1, "float64")
    if engine == "torch":
        method, model = Classification([1.0, 1.0]), build_model(config, weights)
        method.attach(model)
        model.classifier.weight.data.copy_(torch.from_numpy(head).sin())  # type: ignore[union-attr,operator]
        return lambda batch: method.predict(model, *map(torch.from_numpy, batch))
    own, numpy_model = NumpyClassification([1.0, 1.0]), build_numpy_model(config, weights)
    own.attach(numpy_model)
    with tg.no_grad():
        numpy_model.classifier.weight.copy_(tg.from_numpy(np.sin(head)))
    return lambda batch: own.predict(numpy_model, *map(tg.from_numpy, batch))


READ: dict[str, dict[str, Any]] = {
    "left": {"padding": "left"},
    "both ways": {"causal": "no", "pool": "mean", "pad_to": 12},
    "unmasked": {"pad_mask": "no", "padding": "left", "pad_to": 12, "pool": "first"},
}


@pytest.mark.parametrize("name", READ)
def test_engines_read_differently(labelled: Place, name: str) -> None:
    """填充与掩码的某一种读法上，两个引擎学出的不同，或检查点没有记下读法。"""
    flags = {**READ[name], "lora_rank": 2}
    off = {f"no_{flag}": True for flag in flags if flags[flag] == "no"}
    given = {flag: value for flag, value in flags.items() if value != "no"} | off
    for engine in ENGINES:
        done = classify(labelled, engine, engine, **given)
        assert done.code == 0, done.err
    assert furthest(labelled.tensors("numpy"), labelled.tensors("torch")) < PARITY
    kept = load_checkpoint(labelled.runs / "torch").state["method"]
    assert {flag: kept[flag] for flag in READ[name]} == {
        flag: False if value == "no" else value for flag, value in READ[name].items()
    }


def test_confusion_is_not_what_was_guessed(labelled: Place) -> None:
    """存下的猜测与日志里的正确率不符，或报告里没有混淆图。"""
    assert classify(labelled, "torch", "tuned").code == 0
    found = load_held_out(labelled.runs / "tuned")
    last = [record for record in read_metrics(labelled.runs / "tuned") if "accuracy" in record][-1]
    assert (found.guesses == found.truth).mean() == last["accuracy"]
    assert found.updates == 10
    page = (labelled.runs / "tuned" / "report.html").read_text(encoding="utf-8")
    assert "混淆图" in page
    assert page.count(">模型<") == 1


def test_weighted_loss_is_not_the_weighted_mean() -> None:
    """加权的损失不是 torch 的加权平均。"""
    config = GPTConfig(vocab_size=11, context=8, n_layer=1, n_head=2, n_embd=8)
    model = build_model(config, initial_weights(config, 1, "float64"))
    method = Classification([0.5, 2.0])
    method.attach(model)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.arange(16.0).view(2, 8).cos())  # type: ignore[union-attr,operator]
    data = LabelledRows(
        [np.array([i, i + 1]) for i in range(6)], [0, 1, 0, 0, 1, 0], batch_size=6, seed=0, pad=0, reading=Reading()
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
    train = LabelledRows([np.array([1, 1]), np.array([2])], [0, 1], batch_size=1, seed=0, pad=0, reading=Reading())
    held_out = LabelledRows([np.array([2, 2]), np.array([1])], [1, 0], batch_size=1, seed=0, pad=0, reading=Reading())
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


def test_held_out_texts_depend_on_the_order(labelled: Place) -> None:
    """照类别排好的文件只留下了末一类；或留作评估的随次序、种子而变；或同样的文字两边都有。"""
    rows = [{"text": f"the {word} {i // 2}", "label": word} for word in ("cat", "dog", "sun") for i in range(40)]
    kept = []
    for name, order in (("sorted", rows), ("turned", rows[::-1])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in order), encoding="utf-8")
        found = load_labelled(ClassifyConfig(from_run="base", data=f"{name}.jsonl"), Faults())
        assert Counter(one.label for one in found.held_out) == {"cat": 4, "dog": 4, "sun": 4}
        assert not {one.text for one in found.train} & {one.text for one in found.held_out}
        kept.append({one.text for one in found.held_out})
    assert kept[0] == kept[1]


def test_useless_data_is_not_explained(labelled: Place) -> None:
    """只有一类的数据、全被略过的数据，没有说出为什么。"""
    Path("one.jsonl").write_text('{"text": "a", "label": "cat"}\n{"text": "b", "label": "cat"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="the data has 'cat'"):
        load_labelled(ClassifyConfig(from_run="base", data="one.jsonl"), Faults())
    Path("csv.jsonl").write_text("text,label\na,cat\n", encoding="utf-8")
    with pytest.raises(DataError, match="the data has none; skipped 2: malformed JSON"):
        load_labelled(ClassifyConfig(from_run="base", data="csv.jsonl", on_error="skip"), Faults("skip"))
