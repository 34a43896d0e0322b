"""自由作答：规则判得对；成批写与一个一个写相同；pass@k 等于定义；程序在沙箱里判，提前退出的不算对。

流入：题与回答；流出：对不对。
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from parity_tests.evaluating.runs import make_run, small_tokenizer
from tinygrad_llm import evaluate as numpy_side
from tinygrad_llm.common.corpora.storyworld import instructions
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.evaluation.answering import (
    AnswerScores,
    Sampled,
    program_of,
    runs_ok,
    score_answer_task,
    write_answers,
)
from tinygrad_llm.common.evaluation.items import Item, Task
from tinygrad_llm.common.evaluation.prompts import Prompter
from tinygrad_llm.common.evaluation.rules import is_right, last_number, normalised
from tinygrad_llm.common.evaluation.stories import story_task
from torch_llm import evaluate as torch_side


@pytest.mark.parametrize(
    ("rule", "wanted", "answer", "ok"),
    [
        ("exact", "Tom", " Tom\n", True),
        ("exact", "Tom", "tom", False),
        ("text", "the red ball", "  A Red, ball!", True),
        ("text", "小雨。", "小雨", True),
        ("text", "\uff34\uff4f\uff4d", "tom", True),
        ("text", "red ball", "red balls", False),
        ("text", "?", "!", False),
        ("contains", "Paris", "It is Paris, of course.", True),
        ("contains", "Paris", "A Parisian knows.", False),
        ("contains", "小雨", "是小雨的球。", True),
        ("text", "the", "a", False),
        ("number", "1234", "So it is $1,234.00.", True),
        ("number", "0.5", "that is 1/2", True),
        ("number", "50%", "0.5", True),
        ("number", "-3", "x = −3", True),
        ("number", "3", "10-3", True),
        ("number", "7", "first 7, then 8", False),
        ("number", "7", "seven", False),
        ("regex", r"\bTom\b", "It was Tom.", True),
        ("regex", r"^Tom$", "It was Tom.", False),
    ],
)
def test_rule_misjudges(rule: str, wanted: str, answer: str, ok: bool) -> None:
    """一条规则判错了一个答案。"""
    assert is_right(Item("1", "answer", "q", answers=("never this", wanted), rule=rule), answer) is ok


def test_numbers_are_misread() -> None:
    """读错了数：除以零的略去，取它前面的一个。"""
    assert last_number("it is 4, or 1/0") == 4
    assert last_number("1e-2") == Fraction(1, 100)
    assert last_number("nothing") is None
    assert normalised("An  APPLE a day") == "apple day"


def test_story_rules_accept_wrong_or_refuse_right_answers() -> None:
    """故事世界的指令，标准答案被判错，或空的回答被判对。"""
    task = story_task("storyworld-instructions", 40)
    assert all(is_right(item, item.answers[0]) and not is_right(item, "") for item in task.items)
    assert task.items[3].user == instructions(0, "both", "test")[3].prompt


def test_pass_at_k_differs_from_its_definition() -> None:
    """pass@k 不等于「任取 k 个样本，至少一个对」的比例。"""
    correct = ((True, False, False, True), (False,) * 4, (True,) * 4, (False, False, True, False))
    items = tuple(Item(str(i), "answer", "q", answers=("x",)) for i in range(4))
    found = AnswerScores(Task("t", items, ()), (("",) * 4,) * 4, correct, 0).to_json((2, 3))
    for k in (1, 2, 3, 4):
        wanted = np.mean([np.mean([any(pick) for pick in combinations(row, k)]) for row in correct])
        assert found["pass_at_k"][str(k)]["value"] == pytest.approx(wanted, abs=1e-12)
        assert found["pass_at_k"][str(k)]["low"] <= wanted <= found["pass_at_k"][str(k)]["high"]
    assert found["seeds"]["values"] == [0.5, 0.25, 0.5, 0.5]
    assert found["items"]["values"] == [0.5, 0.0, 1.0, 0.25]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_company_or_engine_changes_an_answer(tmp_path: Path, temperature: float) -> None:
    """同时写几个、用哪个引擎，改变了写出的文字；温度 0 的几个样本各不相同。"""
    run = make_run(tmp_path / "run")
    items = tuple(Item(str(i), "answer", text, answers=("x",)) for i, text in enumerate(("The cat", "Mia", "小雨在")))
    task, how = Task("t", items, items), Sampled(samples=3, temperature=temperature, max_tokens=8, stop=("zzz",))
    prompter = Prompter(small_tokenizer())
    found = [
        write_answers(task, side.open_candidate(run), prompter, how, slots)[0]
        for side, slots in ((torch_side, 1), (torch_side, 16), (numpy_side, 4))
    ]
    assert found[0] == found[1] == found[2]
    assert all(len(set(row)) == 1 for row in found[0]) == (temperature == 0)
    alone = write_answers(Task("t", items[:1], ()), torch_side.open_candidate(run), prompter, how, 2)[0]
    assert alone[0] == found[0][0]


def test_no_room_for_a_prompt_is_not_reported(tmp_path: Path) -> None:
    """回答的长度占满了上下文，却没有报错；题面太长没有计数。"""
    candidate = torch_side.open_candidate(make_run(tmp_path / "run"))
    task = Task("t", (Item("1", "answer", "Tom. " * 60, answers=("x",)),), ())
    with pytest.raises(UserError, match="no room"):
        score_answer_task(task, candidate, Prompter(candidate.tokenizer), Sampled(max_tokens=48))
    assert score_answer_task(task, candidate, Prompter(candidate.tokenizer), Sampled(max_tokens=4)).truncated == 1


ADD = Item("1", "code", "def add(a, b):\n", tests="assert add(2, 3) == 5\nassert add(-1, 1) == 0")


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        ("    return a + b", True),
        ("    return a - b", False),
        ("    return a +", False),
        ("    raise SystemExit(0)", False),
        ("    import os\n    os._exit(0)", False),
        ("    return open('/etc/passwd') and a + b", False),
        ("    while True: pass", False),
        ("Sure!\n```python\ndef add(a, b):\n    return b + a\n```\nDone.", True),
    ],
)
def test_program_is_misjudged(answer: str, ok: bool) -> None:
    """程序判错了：对的算错，错的、提前退出的、碰文件的、不停的算对。"""
    assert runs_ok(ADD, answer, seconds=1.5) is ok
    assert "add" in program_of(ADD, answer)


def test_chat_form_differs_from_the_template(tmp_path: Path) -> None:
    """装进对话模板时，开头的 id 与模板写出的不同，示例不在其中，或选项没有接在 assistant 的标记之后。"""
    from tinygrad_llm.common.chat import CHAT_SPECIALS, Conversation, Message, render_prompt

    tokenizer = small_tokenizer().with_specials(CHAT_SPECIALS)
    items = tuple(
        Item(str(i), "choice", f"{i}?\nAnswer:", ("Tom", "Mia"), ("Tom",), user=f"{i}?", system="Be brief.")
        for i in range(2)
    )
    task = Task("t", items, items)
    prompter = Prompter(tokenizer, shots=1, template="ours")
    prompts, answers = prompter.choices(task, items[0], items[0].options)
    talk = (Message("system", "Be brief."), Message("user", "1?"), Message("assistant", "Tom"), Message("user", "0?"))
    assert prompts == [list(render_prompt(Conversation(talk), tokenizer).ids)] * 2
    assert answers == [tokenizer.encode("Tom"), tokenizer.encode("Mia")]
    assert prompter.prompt(task, items[0]) == prompts[0]
