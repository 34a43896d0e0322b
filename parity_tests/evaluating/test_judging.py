"""裁判与泄题：种下的次序裁判排得出，偏爱前一个的裁判被看穿；种下的考题查得出，没有种的不冤枉。

流入：照表打分的假裁判、种了题的训练文本；流出：次序相关、泄了几题。
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity_tests.evaluating.runs import fake, make_run, small_tokenizer
from tinygrad_llm.common.corpora.storyworld import stories
from tinygrad_llm.common.evaluation.contamination import check_contamination
from tinygrad_llm.common.evaluation.items import Item, Task
from tinygrad_llm.common.evaluation.judging import Judge, JudgeMethod, judge_task
from tinygrad_llm.common.evaluation.stories import story_task
from tinygrad_llm.common.scoring import spearman_rho
from torch_llm.evaluate import open_candidate

RESPONSES = ["!" * count for count in (3, 0, 5, 1, 4, 2)]


def by_marks(context: list[int], token: int) -> float:
    """叹号越多越好的裁判：「Yes」与「A」的对数概率随叹号增加。

    成对比时，数「Answer A」与「Answer B」之间的叹号，减去它之后的。
    """
    text = small_tokenizer().decode(context)
    word = small_tokenizer().decode([token]).strip()
    if "Answer A:" in text:
        first, second = text.split("Answer A:")[1].split("Answer B:")
        lead = first.count("!") - second.count("!")
        return 0.1 * lead if word == "A" else -0.1 * lead
    return 0.1 * text.count("!") * (1 if word in ("Y", "Yes") else -1 if word in ("N", "No") else 0)


def labelled() -> Task:
    """六个回答，标签就是叹号的个数。"""
    items = [
        Item(str(i), "judge", "Say it loudly.", response=text, label=float(len(text)))
        for i, text in enumerate(RESPONSES)
    ]
    return Task("loud", tuple(items), ())


@pytest.mark.parametrize("method", ["verdict", "pairwise"])
def test_planted_order_is_not_found(method: JudgeMethod) -> None:
    """裁判的分与种下的次序不一致，或一致而没有报成 1。"""
    found = judge_task(labelled(), Judge(fake(by_marks), method))
    assert found["spearman"]["value"] == pytest.approx(1.0)
    assert found["kendall"] == pytest.approx(1.0)
    assert found["chance"] == 0
    if method == "pairwise":
        assert found["consistency"]["value"] == 1.0
        assert found["consistency"]["n"] == 15
        assert found["first_wins"] == 0.5


def test_noisy_judge_is_off_its_known_correlation() -> None:
    """掺了噪声的裁判，报出的相关与照定义另算的不同，或区间不含它。"""
    draw = np.random.default_rng(5)
    labels = np.arange(60.0)
    noise = 25 * draw.standard_normal(60)
    items = [Item(str(i), "judge", "q", response="!" * i, label=float(label)) for i, label in enumerate(labels)]

    def rule(context: list[int], token: int) -> float:
        marks = small_tokenizer().decode(context).count("!")
        return 0.01 * (marks + noise[marks]) if small_tokenizer().decode([token]).strip() in ("Y", "Yes") else 0.0

    found = judge_task(Task("t", tuple(items), ()), Judge(fake(rule)))
    wanted = spearman_rho(labels + noise, labels)
    assert found["spearman"]["value"] == pytest.approx(wanted, abs=1e-9)
    assert found["spearman"]["low"] < wanted < found["spearman"]["high"]


def test_judge_that_always_says_a_looks_consistent() -> None:
    """总说前一个好的裁判，位置一致率不是 0，或给了高低。"""
    found = judge_task(
        labelled(),
        Judge(fake(lambda _, token: 1.0 if small_tokenizer().decode([token]).strip() == "A" else 0.0), "pairwise"),
    )
    assert found["consistency"]["value"] == 0.0
    assert found["first_wins"] == 1.0
    assert found["items"]["values"] == [0.0] * len(RESPONSES)


def test_batches_change_a_verdict(tmp_path: Path) -> None:
    """分批改变了真模型的裁决；``likelihood`` 与选择题的打分不是一回事。"""
    candidate = open_candidate(make_run(tmp_path / "run"))
    prompts, answers = ["The cat sat on the"] * 3, ["mat", "red ball", ""]
    for method in ("verdict", "pairwise", "likelihood"):
        one, many = (Judge(candidate, method, size).judge(prompts, answers).scores for size in (1, 16))
        np.testing.assert_allclose(one, many, rtol=1e-9, atol=1e-12)


def test_planted_items_are_missed_or_others_accused() -> None:
    """种进训练文本的题没有全查出，或没有种的被冤枉。"""
    task = story_task("storyworld-questions", 60)
    training = [story.text for story in stories(0, "both", "train").take(200)]
    planted = [item for item in task.items if len(item.question.split()) > 20 or len(item.question) > 60][:7]
    for place, item in enumerate(planted):
        noise = f"Once upon a time. {item.question.upper()}  --  {item.answers[0]}. The end."
        training.insert(20 * place, noise)
    clean = check_contamination(task, (story.text for story in stories(0, "both", "train").take(200)))
    found = check_contamination(task, training)
    ids = {item.id for item in planted}
    assert {item.id for item, leaked in zip(task.items, found.is_leaked, strict=True) if leaked} >= ids
    accused = {item.id for item, leaked in zip(task.items, found.is_leaked & ~clean.is_leaked, strict=True) if leaked}
    assert accused == ids
    result = found.to_json(np.array([float(item.id in ids) for item in task.items]))
    assert result["documents"] == 207
    assert set(result["ids"]) >= ids
    assert result["share"]["low"] <= result["share"]["value"] <= result["share"]["high"]
    assert result["leaked_mean"] > result["clean_mean"]


def test_short_items_are_guessed_at() -> None:
    """太短的题本不该查，却算进了泄或没泄。"""
    task = Task("t", (Item("1", "answer", "Who?", answers=("Tom",)),), ())
    found = check_contamination(task, ["Who? Tom."])
    assert np.isnan(found.shares).all()
    assert found.to_json()["too_short"] == 1
