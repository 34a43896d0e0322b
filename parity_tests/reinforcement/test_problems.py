"""题目与奖励：答案得满分，别的得零分；训练与留出的题不相同；坏文件说得出在哪一行。

流入：题目的名字与文件；流出：分数与消息。
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.rl.problems import TASKS, open_problems
from tinygrad_llm.common.rl.rewards import CHECKS, REWARDS, Problem


def write(path: Path, *lines: Any) -> str:
    """写一个 JSONL 文件。"""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("task", [*TASKS, "storyworld:first+sort"])
def test_the_right_answer_earns_nothing(task: str, lang: str) -> None:
    """标准答案没有得满分，乱答却得了分；或训练的题里有留出的题。"""
    train, held_out = open_problems(task, lang=lang)
    problems = train.draw(0, 60, 0)
    assert all(one.verify(one.answer) == one.verify(f" {one.answer}\n") == 1.0 for one in problems)
    assert not any(one.verify(f"{one.answer} zzz 7") or one.verify("") for one in problems)
    assert not {one.prompt for one in problems} & {one.prompt for one in held_out.head(60)}
    assert problems[7].prompt == train.draw(7, 1, 0)[0].prompt


@pytest.mark.parametrize(
    ("check", "answer", "right", "wrong"),
    [
        ("exact", "blue", " blue\n", "Blue"),
        ("number", "#### 1,000", "so it is 1000.0", "1000 or 10"),
        ("number", "-3", "The answer is -3.", "3"),
        ("number", "5", "5", "1.2.5"),
        ("contains", "7", "maybe 17", "16"),
    ],
)
def test_a_check_judges_otherwise(check: str, answer: str, right: str, wrong: str) -> None:
    """一种核对把对的判成错，或把错的判成对。"""
    assert CHECKS[check](right, answer) == 1.0
    assert CHECKS[check](wrong, answer) == 0.0


def test_a_reward_is_not_as_described() -> None:
    """三种奖励不合说明：核对过的、出现过就算的、越短越好的。"""
    problem = Problem("2 + 5 =", "7", "", lambda text: float(text.strip() == "7"))
    listed = "0 1 2 3 4 5 6 7"
    found = {name: (reward(problem, "7"), reward(problem, listed)) for name, reward in REWARDS.items()}
    assert found == {"verified": (1.0, 0.0), "contains": (1.0, 1.0), "short": (pytest.approx(0.99), 0.0)}


def test_problems_from_a_file_are_lost(tmp_path: Path) -> None:
    """文件里的题少了，或末尾留出的也拿来训练；故事世界写出的文件不照规则核对。"""
    plain = [{"prompt": f"say {i}", "answer": str(i), "check": "number"} for i in range(8)]
    item = storyworld.instructions(0, "en", tasks=("json",))[0]
    path = write(tmp_path / "a.jsonl", *plain, item.to_json(), "", plain[0])
    train, held_out = open_problems(path, val_fraction=0.2)
    assert (train.size, held_out.size) == (8, 2)
    assert sorted(one.prompt for one in train.draw(0, 8, 3)) == sorted(one["prompt"] for one in plain)
    assert held_out.at(0).verify(item.answer.replace(" ", "")) == 1.0
    assert held_out.at(0).verify("{}") == 0.0
    assert train.digest != open_problems(path, val_fraction=0.3)[0].digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "malformed JSON"),
        ('["a"]', '"prompt" and "answer"'),
        ({"prompt": "a"}, '"prompt" and "answer"'),
        ({"prompt": " ", "answer": "b"}, "the prompt is empty"),
        ({"prompt": "a", "answer": "b", "check": "vibes"}, "unknown check 'vibes'"),
        ({"prompt": "a", "answer": "b", "rule": {"name": "eval"}}, "the rule is malformed"),
        ({"prompt": "a", "answer": "b", "rule": {"name": "json", "value": "{"}}, "the rule is malformed"),
    ],
)
def test_a_bad_line_is_not_named(tmp_path: Path, line: Any, said: str) -> None:
    """坏的一行没有说出文件、行号与原因。"""
    path = write(tmp_path / "bad.jsonl", {"prompt": "a", "answer": "b"}, line)
    with pytest.raises(DataError, match=said) as caught:
        open_problems(path)
    assert caught.value.where == f"{path}:2"


def test_a_missing_task_is_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有这种题目、没有文件、题太少、没有装 reasoning-gym，各有各的说明。"""
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    for task, said in {
        "sums": "no such task",
        str(tmp_path / "no.jsonl"): "cannot read the problems",
        write(tmp_path / "one.jsonl", {"prompt": "a", "answer": "b"}): "too few",
        "gym:chain_sum": "reasoning-gym is not installed",
        "storyworld:juggle": "tasks",
    }.items():
        with pytest.raises(UserError, match=said):
            open_problems(task)


def test_reasoning_gym_is_not_asked_for_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """reasoning-gym 的题不是它出的，或分数不是它给的。"""

    class Sums:
        """照 reasoning-gym 的接口写的一种题目。"""

        def __init__(self, seed: int) -> None:
            self.seed = seed

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"question": f"{self.seed} + {index} = ?", "answer": str(self.seed + index)}

        def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
            return 1.0 if answer == entry["answer"] else 0.01

    def create_dataset(name: str, size: int, seed: int) -> Sums:
        if name != "sums":
            raise ValueError(f"Dataset '{name}' not registered")
        return Sums(seed)

    monkeypatch.setitem(sys.modules, "reasoning_gym", SimpleNamespace(create_dataset=create_dataset))
    train, held_out = open_problems("gym:sums", seed=5)
    assert train.at(2).prompt == "5 + 2 = ?"
    assert (train.at(2).verify("7\n"), train.at(2).verify("8")) == (1.0, 0.01)
    assert held_out.at(2).prompt == "6 + 2 = ?"
    with pytest.raises(UserError, match="not registered"):
        open_problems("gym:riddles")
