"""选择题：等于手算的例子，三种比法各选各的；两个引擎选得一样；批大小与截断不改变结果。

流入：照表打分的假模型与随机权重的运行；流出：选了哪个。
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from parity_tests.evaluating.runs import fake, make_run, small_tokenizer
from tinygrad_llm import evaluate as numpy_side
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.evaluation.choosing import score_choice_task
from tinygrad_llm.common.evaluation.items import Item, Task, read_task
from tinygrad_llm.common.evaluation.prompts import Prompter, encode_pair, joint, lettered
from tinygrad_llm.common.evaluation.stories import STORY_TASKS, story_task
from torch_llm import evaluate as torch_side
from torch_llm.loading import load_model

ITEMS: list[dict[str, object]] = [
    {"prompt": "The cat sat on the", "options": ["mat", "red ball near the river", "cat."], "answer": 0},
    {"question": "Who gave it back?", "context": "Tom gave it back.", "choices": ["Mia", "Tom"], "answer": "B"},
    {"prompt": "小雨在", "options": ["菜园里。", "the river"], "answer": "菜园里。", "group": "zh"},
]


def task_file(folder: Path, items: list[dict[str, object]] | None = None, name: str = "quiz") -> Path:
    """写成 JSON lines。"""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items or ITEMS), encoding="utf-8")
    return path


def test_scores_differ_from_a_hand_computation(tmp_path: Path) -> None:
    """每个选项的对数似然，与逐个选项跑一遍模型、逐 token 相加的不同。"""
    run = make_run(tmp_path / "run")
    task = read_task(task_file(tmp_path))
    model, tokenizer = load_model(run, "cpu").model.double(), small_tokenizer()
    found = score_choice_task(task, torch_side.open_candidate(run), Prompter(tokenizer), batch_size=2)
    for item, logprobs, tokens, sizes in zip(task.items, found.logprobs, found.tokens, found.n_bytes, strict=True):
        for option, logprob, count, size in zip(item.options, logprobs, tokens, sizes, strict=True):
            gap = "" if item.prompt.startswith("小雨") else " "
            whole, head = tokenizer.encode(item.prompt + gap + option), tokenizer.encode(item.prompt)
            with torch.no_grad():
                logp = model(torch.tensor([whole[:-1]]))[0].log_softmax(-1)
            wanted = sum(logp[i - 1, whole[i]].item() for i in range(len(head), len(whole)))
            assert logprob == pytest.approx(wanted, rel=1e-9)
            assert (count, size) == (len(whole) - len(head), len(option.encode()))


def test_normalisations_choose_alike() -> None:
    """三种比法选得一样：手算的例子里，它们各选一个。

    对数似然之和 -4、-6、-9，token 数 1、3、3，字节数 2、6、18：和选第一个；除以 token 数是 -4、-2、-3，选第二个；
    除以字节数是 -2、-1、-0.5，选第三个。
    """
    from tinygrad_llm.common.evaluation.choosing import ChoiceScores

    item = Item("1", "choice", "q", ("aa", "bbbbbb", "c" * 18), ("aa",), 0)
    scores = ChoiceScores(Task("t", (item,), ()), ((-4.0, -6.0, -9.0),), ((1, 3, 3),), ((2, 6, 18),), 0)
    assert [int(scores.chosen(how)[0]) for how in ("sum", "token", "byte")] == [0, 1, 2]
    weights = np.exp([-2.0, -1.0, -0.5])
    assert scores.confidence("byte")[0] == pytest.approx(weights[2] / weights.sum(), rel=1e-12)
    assert scores.score("sum").raw.value == 1.0
    assert scores.score("sum").chance == pytest.approx(1 / 3)


def test_engines_or_batch_sizes_choose_differently(tmp_path: Path) -> None:
    """两个引擎、各种批大小打的分不同（1e-9，float64）。"""
    run = make_run(tmp_path / "run")
    task = read_task(task_file(tmp_path))
    reference = None
    for side in (torch_side.open_candidate, numpy_side.open_candidate):
        candidate = side(run)
        for batch_size in (1, 4, 50):
            found = score_choice_task(task, candidate, Prompter(candidate.tokenizer, shots=1), batch_size)
            reference = reference or found
            for ours, theirs in zip(found.logprobs, reference.logprobs, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_known_accuracy_falls_outside_its_interval() -> None:
    """正确率已知为 p 的模型，走完整个选择题的流程，1,000 次里成绩的区间盖住 p 的不到 93 %。"""
    from tinygrad_llm.common.evaluation.choosing import ChoiceScores

    draw, p, n = np.random.default_rng(12), 0.6, 80
    item = Item("1", "choice", "q", ("a", "b", "c", "d"), ("a",), 0)
    task = Task("t", (item,) * n, ())
    inside = 0
    for _ in range(1000):
        rows = []
        for knows in draw.random(n) < p:
            row = draw.standard_normal(4)
            place = int(row.argmax())
            target = 0 if knows else int(draw.integers(1, 4))
            row[place], row[target] = row[target], row[place]
            rows.append(tuple(row.tolist()))
        ones = ((1, 1, 1, 1),) * n
        raw = ChoiceScores(task, tuple(rows), ones, ones, 0).score("sum").raw
        inside += raw.low <= p <= raw.high
    assert inside >= 930


def test_long_prompts_are_cut_from_the_wrong_end(tmp_path: Path) -> None:
    """题面太长时，去掉的不是最前面的，或没有报出来。"""
    run = make_run(tmp_path / "run")
    candidate = torch_side.open_candidate(run)
    tail = "The cat sat on the"
    items = [Item("1", "choice", "Tom. " * 80 + tail, ("mat", "river"), ("mat",), 0)]
    found = score_choice_task(Task("t", tuple(items), ()), candidate, Prompter(candidate.tokenizer))
    assert found.truncated == 1
    assert all(np.isfinite(found.logprobs[0]))
    whole, head = encode_pair(candidate.tokenizer, items[0].prompt, " mat")
    kept = [*whole, *head][-candidate.likelihood.context - 1 :]
    model = load_model(run, "cpu").model.double()
    with torch.no_grad():
        logp = model(torch.tensor([kept[:-1]]))[0].log_softmax(-1)
    wanted = sum(logp[i - 1, kept[i]].item() for i in range(len(kept) - len(head), len(kept)))
    assert found.logprobs[0][0] == pytest.approx(wanted, rel=1e-9)


def test_examples_leak_the_item_or_depend_on_its_place(tmp_path: Path) -> None:
    """示例里有正在考的那道题，或换一批题、示例就变了，或种子不起作用。"""
    items = [{"prompt": f"{i} + 1 =", "options": [str(i + 1), "0"], "answer": 0} for i in range(9)]
    task = read_task(task_file(tmp_path, items))
    prompter = Prompter(small_tokenizer(), shots=3)
    for item in task.items:
        examples = prompter.examples(task, item)
        assert len({one.id for one in examples}) == 3
        assert item.id not in {one.id for one in examples}
        assert examples == prompter.examples(Task(task.name, (item,), task.pool), item)
    other = Prompter(small_tokenizer(), shots=3, seed=1)
    assert any(prompter.examples(task, item) != other.examples(task, item) for item in task.items)
    text = small_tokenizer().decode(prompter.prompt(task, task.items[0]))
    assert text.count("\n\n") == 3
    assert text.endswith("0 + 1 =")
    with pytest.raises(UserError, match="examples"):
        Prompter(small_tokenizer(), shots=9).examples(task, task.items[0])


def test_letters_form_hides_the_options() -> None:
    """列出选项、以字母作答时，选项没有列出，或答案不是字母。"""
    found = lettered(Item("1", "choice", "Who?\nAnswer:", ("Mia", "Tom"), ("Tom",), 1, user="Who?"))
    assert found.prompt == "Who?\nA. Mia\nB. Tom\nAnswer:"
    assert (found.options, found.answers, found.right) == (("A", "B"), ("B",), 1)


def test_joint_glues_or_splits_the_wrong_way() -> None:
    """题面与答案之间的空格放错：全角字之后不放，空白之后不重放。"""
    assert [joint(text) for text in ("Answer:", "Answer: ", "答案：", "在", "")] == [" ", "", "", "", ""]
    head, rest = encode_pair(small_tokenizer(), "The cat ", "sat")
    assert small_tokenizer().decode(head) == "The cat"
    assert small_tokenizer().decode(rest) == " sat"


@pytest.mark.parametrize("name", [name for name in STORY_TASKS if name.count("-") == 1])
def test_story_tasks_repeat_train_items_or_lack_answers(name: str) -> None:
    """故事世界的题与示例重复，或正确选项不在选项里。"""
    task = story_task(name, 12)
    assert len(task.items) == 12
    assert not {item.prompt for item in task.items} & {item.prompt for item in task.pool}
    for item in task.items:
        assert item.kind == "answer" or item.options[item.right] == item.answers[0]
    assert 0 <= task.chance < 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "q", "options": ["a"], "answer": 0}, "two or more"),
        ({"prompt": "q", "options": ["a", "b"], "answer": "C"}, "none of the 2"),
        ({"prompt": "q", "options": ["a", "b"], "answer": 5}, "none of the 2"),
        ({"prompt": 3, "answer": "x"}, "prompt"),
        ({"prompt": "q"}, "no answer"),
        ({"prompt": "q", "answer": "x", "rule": "magic"}, "unknown rule"),
        ([1, 2], "JSON object"),
    ],
)
def test_broken_items_pass_silently(tmp_path: Path, record: object, message: str) -> None:
    """坏的题没有报错，或没有说是第几行。"""
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"prompt": "q", "answer": "x"}) + "\n\n" + json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_task(path)
    assert "bad.jsonl:3" in error.value.where


def test_kinds_may_be_mixed(tmp_path: Path) -> None:
    """一个文件里混着两种题，却没有报错。"""
    items: list[dict[str, object]] = [
        {"prompt": "q", "answer": "x"},
        {"prompt": "q", "options": ["a", "b"], "answer": 0},
    ]
    with pytest.raises(DataError, match="mixes answer and choice"):
        read_task(task_file(tmp_path, items))


def test_impossible_option_is_scored() -> None:
    """自己就超出上下文的选项没有报错。"""
    item = Item("1", "choice", "q", ("x " * 2000, "y"), ("y",), 1)
    with pytest.raises(UserError, match="continuation"):
        score_choice_task(Task("t", (item,), ()), fake(lambda _, __: -1.0), Prompter(small_tokenizer()))
