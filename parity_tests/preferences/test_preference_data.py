"""偏好的数据：认得的格式、坏的一行报出文件与行号、id 与批次摆得对不对。

流入：写在临时文件里的几行；流出：偏好、id、批次，或错误。
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity_tests.preferences.base import CONTEXT, tokenizer
from tinygrad_llm.common.bad_batches import keep_batch
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.batches.preferences import Preferences
from tinygrad_llm.common.chat.templates import OURS
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tuning.preference_batches import PairRows, RewardRows, digest_of, reference_of
from tinygrad_llm.common.tuning.preference_data import (
    Compared,
    compared_of,
    encoded_pairs,
    load_compared,
    mismatched_pairs,
)

USER, GOOD, BAD = ({"role": role, "content": text} for role, text in
                   (("user", "Hi?"), ("assistant", "yes"), ("assistant", "no")))  # fmt: skip
SAME = [
    {"prompt": "Hi?", "chosen": "yes", "rejected": "no"},
    {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": "Hi?", "chosen": [GOOD], "rejected": "no"},
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
]
BROKEN: dict[str, Any] = {
    '"rejected" is missing': {"prompt": "a", "chosen": "b"},
    '"prompt" is missing': {"chosen": "b", "rejected": "c"},
    '"chosen" is empty': {"prompt": "a", "chosen": " ", "rejected": "c"},
    "are the same": {"prompt": "a", "chosen": "b", "rejected": "b"},
    "differ before": {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "x"}, BAD]},
    '"label" must be': {"prompt": "a", "completion": "b", "label": 1},
    "message 1 (user) is empty": {"prompt": "", "chosen": "b", "rejected": "c"},
    "not from assistant": {"prompt": "a", "chosen": [USER], "rejected": "c"},
    "one assistant message": {"prompt": "a", "chosen": [USER, GOOD], "rejected": "c"},
    'known "role"': {"prompt": [{"role": "ghost", "content": "x"}], "chosen": "b", "rejected": "c"},
    "neither a string nor a list": {"prompt": "a", "chosen": 3, "rejected": "c"},
    "does not hold a JSON object": 7,
}


def lines(path: Path, *records: Any) -> str:
    """写成 JSONL。"""
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return str(path)


def loaded(data: str, faults: Faults | None = None, **changed: Any) -> tuple[list[Compared], list[Compared]]:
    """读出训练与留作评估的偏好。"""
    given = {"data": data, "val_data": "", "val_fraction": 0.25, "reasons": (), **changed}
    return load_compared(SimpleNamespace(**given), faults or Faults())


@pytest.mark.parametrize("number", range(len(SAME)))
def test_a_usual_format_is_not_understood(number: int) -> None:
    """四种写法是同一对偏好。"""
    found = compared_of(SAME[number], "x:1")
    assert [(one.role, one.content) for one in found.prompt] == [("user", "Hi?")]
    assert (found.good, found.bad) == ("yes", "no")


def test_an_unpaired_answer_is_read_the_wrong_way_round() -> None:
    """不成对的：好的在 ``good``，差的在 ``bad``。"""
    for label in (True, False):
        found = compared_of({"prompt": "Hi?", "completion": "so", "label": label})
        assert (found.good, found.bad) == (("so", "") if label else ("", "so"))


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_record_is_not_named(problem: str, tmp_path: Path) -> None:
    """坏的一行：消息里有文件、行号与原因；``skip`` 时计数，别的行照用。"""
    path = lines(tmp_path / "p.jsonl", SAME[0], SAME[1], BROKEN[problem], SAME[2])
    with pytest.raises(DataError) as caught:
        loaded(path)
    assert problem in str(caught.value)
    assert f"{path}:3" in str(caught.value)
    faults = Faults("skip")
    train, held_out = loaded(path, faults)
    assert len(train) + len(held_out) == 3
    assert sum(faults.counts.values()) == 1


def test_held_out_preferences_are_trained_on(tmp_path: Path) -> None:
    """文件留下末尾一段；故事世界用它的 val 划分，与训练没有一项相同，只取要的差法。"""
    records = [{"prompt": f"{i}", "chosen": "yes", "rejected": "no"} for i in range(8)]
    train, held_out = loaded(lines(tmp_path / "p.jsonl", *records))
    assert [one.prompt[0].content for one in held_out] == ["6", "7"]
    assert len(train) == 6
    train, held_out = loaded("storyworld:preferences:30", reasons=("too_long",))
    assert len(train) == 30
    assert {one.prompt[0].content for one in train}.isdisjoint(one.prompt[0].content for one in held_out)
    assert all(len(one.bad) > len(one.good) + 20 for one in train)


def test_an_answer_does_not_end_once() -> None:
    """提示的 id 到回答开口之处，回答以恰好一个结束符收尾；不成对的数据指明该用哪种损失。"""
    words = tokenizer()
    pair = next(encoded_pairs([compared_of(SAME[0])], words, OURS, Faults()))
    end, opening = words.special("<|end|>"), words.special("<|assistant|>")
    assert pair.prompt[-1] == opening
    for ids, text in ((pair.chosen, "yes"), (pair.rejected, "no")):
        assert words.decode(list(ids[:-1])) == text
        assert list(ids).count(end) == 1
        assert ids[-1] == end
    alone = compared_of({"prompt": "Hi?", "completion": "so", "label": True}, "x:1")
    with pytest.raises(DataError, match="--loss kto"):
        list(encoded_pairs([alone], words, OURS, Faults()))


def test_kto_pairs_a_prompt_with_its_own_answer() -> None:
    """配错的回答总是另一个提示的；一对算两条，好坏各一；只有一个提示时说明白。"""
    words = tokenizer()
    items = [compared_of({"prompt": f"q{i}", "chosen": f"good{i}", "rejected": f"bad{i}"}) for i in range(5)]
    items.append(compared_of({"prompt": "q5", "completion": "alone", "label": False}))
    for seed in range(4):
        found = list(mismatched_pairs(items, words, OURS, seed))
        assert [one.desirable for one in found] == [True, False] * 5 + [False]
        for number, one in enumerate(found):
            own, other = (words.decode(list(ids[:-1])) for ids in (one.chosen, one.rejected))
            assert own == [f"good{number // 2}", f"bad{number // 2}", "alone"][min(number % 2 + number // 10 * 2, 2)]
            assert other[-1] != str(number // 2)
    with pytest.raises(DataError, match="one prompt"):
        list(mismatched_pairs(items[:1], words, OURS, 0))


def pairs(context: int = CONTEXT, batch_size: int = 4) -> Preferences:
    """十几对，长短不一。"""
    texts = [(f"q{i}" * (1 + i % 3), "g" * (1 + i % 5) + f"{i}", "b" * (1 + i % 4) + f"{i}") for i in range(13)]
    items = [compared_of({"prompt": p, "chosen": g, "rejected": b}) for p, g, b in texts]
    words = tokenizer()
    ids = encoded_pairs(items, words, OURS, Faults())
    return Preferences(ids, vocab_size=words.vocab_size, context=context, batch_size=batch_size, seed=3, pad=words.eot)


def test_the_reference_lies_beside_another_token() -> None:
    """参考的对数概率与它的目标对齐，不论怎样打乱、填充；两个进程的份合起来是整个批次。"""
    made = pairs()
    reference = reference_of(made, lambda _, y: np.where(y == IGNORE_INDEX, 0, y + 0.5), 0)
    rows = PairRows(made, reference, "float64")
    for step in range(5):
        x, y, values, _ = rows.batch(step)
        assert x.shape[:2] == (4, 2)
        assert (values == np.where(y == IGNORE_INDEX, 0, y + 0.5)).all()
        halves = [rows.batch(step, rank, 2) for rank in range(2)]
        for whole, *parts in zip((x, y, values), *(half[:3] for half in halves), strict=True):
            assert (np.concatenate(parts) == whole).all()
    assert digest_of(made) == digest_of(pairs(batch_size=2))
    assert digest_of(made) != digest_of(pairs(), made)


def test_the_reward_is_read_before_the_end() -> None:
    """奖励的批次里，``last`` 处恰是结束符，之前是整个提示与回答。"""
    made, end = pairs(CONTEXT - 1), tokenizer().special("<|end|>")
    ids, last = RewardRows(made).batch(0)
    x, _, _, _ = PairRows(made, None, "float64").batch(0)
    for row in range(4):
        for side in range(2):
            assert ids[row, side, last[row, side]] == end
            assert (ids[row, side, : last[row, side]] == x[row, side, : last[row, side]]).all()


def test_a_task_of_preferences_is_not_the_one_asked_for() -> None:
    """故事世界只出要的题型：提示都是那一类；没有的题型、这种语言没有的题型各有说明；不给题型时数据没有变。"""
    for item in storyworld.preferences(lang="en", tasks=("larger",)).take(12):
        assert "larger" in item.prompt or "bigger" in item.prompt or "greater" in item.prompt
        assert item.chosen.isdigit()
    with pytest.raises(UserError, match="unknown tasks"):
        storyworld.preferences(tasks=("dance",))
    with pytest.raises(UserError, match="zh has none"):
        storyworld.preferences(tasks=("upper",))


def test_a_bad_batch_of_pairs_is_not_kept(tmp_path: Path) -> None:
    """守卫跳过的一批，不论是成对的还是奖励的，都写得下来、读得出是哪些回答。"""
    made = pairs(CONTEXT - 1)
    for step, batch in enumerate((PairRows(made, None, "float64").batch(0), RewardRows(made).batch(0))):
        path = keep_batch(tmp_path, step, "why", batch[0], batch[1], tokenizer())
        assert path is not None
        assert path.with_suffix(".txt").read_text(encoding="utf-8").count("--- row") == 8
