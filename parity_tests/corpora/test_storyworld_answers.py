"""故事世界的题目：答案由题面独立地算得出来，核对严格而且对任何输入都有判定，类别均衡，学得会。"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.chat.loading import load_conversations
from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.cli import main as cli_main
from tinygrad_llm.common.corpora import storyworld as world
from tinygrad_llm.common.corpora.storyworld.command import Options, main
from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.items import Answerable, Instruction, Policy, Rule
from tinygrad_llm.common.corpora.storyworld.preferences import wrong_answer
from tinygrad_llm.common.corpora.storyworld.statistics import unpredictability
from tinygrad_llm.common.corpora.storyworld.vocabulary import vocabulary
from tinygrad_llm.common.errors import DataError, UserError

ANSWERABLE = (world.questions, world.instructions, world.choices, world.policy)

# ---- 答案对不对：由题面重新算一遍 ----


def recomputed(item: Instruction) -> str | None:
    """只读题面算出答案；不是这里会算的题型就给 None。"""
    prompt = item.prompt
    numbers = [int(number) for number in re.findall(r"\d+", prompt)]
    quoted = re.findall('["“]([^"”]+)["”]', prompt)
    tail = re.split("[:：]", prompt)[-1].strip()
    comma = "，" if item.lang == "zh" else ", "
    simple: dict[str, Callable[[], str]] = {
        "add": lambda: str(sum(numbers)),
        "subtract": lambda: str(numbers[0] - numbers[1]),
        "multiply": lambda: str(math.prod(numbers)),
        "larger": lambda: str(max(numbers)),
        "sort": lambda: comma.join(map(str, sorted(numbers))),
        "next": lambda: str(2 * numbers[2] - numbers[1]),
        "first": lambda: quoted[0][0],
        "last": lambda: quoted[0][-1],
        "length": lambda: str(len(quoted[0])),
        "letter": lambda: str(max(quoted, key=len).count(min(quoted, key=len))),
        "upper": lambda: tail.upper(),
        "copy": lambda: tail,
        "wrap": lambda: f"【{tail}】",
        "reverse": lambda: "".join(reversed(quoted[0] if quoted else tail)),
        "alphabet": lambda: ", ".join(sorted(tail.split(", "))),
    }
    return simple[item.task]() if item.task in simple else None


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_answers_follow_from_the_prompt(lang: str) -> None:
    """标准答案与题面不符：模型会照着错的学。"""
    checked: Counter[str] = Counter()
    for split in world.SPLITS:
        for item in world.instructions(0, lang, split).take(1_200):
            expected = recomputed(item)
            if expected is not None:
                assert item.answer == expected, item.prompt
                checked[item.task] += 1
    assert len(checked) >= 13
    assert min(checked.values()) > 100


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_json_answers_hold_what_the_prompt_says(lang: str) -> None:
    """JSON 里的键或值不在题面里。"""
    for item in world.instructions(0, lang, tasks=("json",)).take(300):
        for key, value in json.loads(item.answer).items():
            assert key in item.prompt
            assert str(value) in item.prompt


def test_numerals_are_read_back() -> None:
    """数字与它的写法对不上。"""
    units = dict(zip("零一二三四五六七八九", range(10), strict=True))
    for item in world.instructions(0, "zh", tasks=("numeral",)).take(300):
        tens, found, ones = item.answer.rpartition("十")
        value = (units[tens] if tens else 1) * 10 * bool(found) + (units[ones] if ones else 0)
        assert str(value) in re.findall(r"\d+", item.prompt)


# ---- 核对 ----


@pytest.mark.parametrize("kind", ANSWERABLE)
def test_reference_answers_are_accepted(kind: type) -> None:
    """标准答案被判错：奖励永远拿不到。"""
    for split in world.SPLITS:
        for item in kind(0, "both", split).take(400):
            verdict = world.check(item, item.answer)
            assert verdict.ok, (item.prompt, item.answer, verdict.reason)
            assert world.check(item, f" {item.answer}\n").ok


def mutations(answer: str) -> Iterator[str]:
    """把一个答案改坏：删、重、换、添、加前缀，总之不再是那个答案。"""
    for i in {0, len(answer) // 2, len(answer) - 1}:
        yield answer[:i] + answer[i + 1 :]
        yield answer[:i] + answer[i] * 2 + answer[i + 1 :]
        yield answer[:i] + ("x" if answer[i] != "x" else "y") + answer[i + 1 :]
    for i in range(len(answer) - 1):
        if answer[i] != answer[i + 1]:
            yield answer[:i] + answer[i + 1] + answer[i] + answer[i + 2 :]
            break
    yield from (f"{answer} {answer}", f"The answer is {answer}", f"答案是{answer}", f"{answer}!", "", "?")


@pytest.mark.parametrize("kind", [world.questions, world.instructions, world.choices])
def test_mutated_answers_are_refused(kind: type) -> None:
    """改坏了的答案被判对：模型学会凑数。"""
    refused = total = 0
    for item in kind(0, "both", "test").take(500):
        for mutant in mutations(item.answer):
            if mutant.strip() != item.answer and not _same_json(item, mutant):
                total += 1
                refused += not world.check(item, mutant).ok
    assert total > 4_000
    assert refused >= 0.999 * total


def _same_json(item: Answerable, text: str) -> bool:
    """空白不同、内容相同的 JSON 本来就对。"""
    return item.rule.name == "json" and text.replace(" ", "") == item.answer.replace(" ", "")


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_every_task_refuses_a_wrong_answer(lang: str) -> None:
    """某个题型的核对形同虚设。"""
    for task in world.TASKS[lang]:
        for item in world.instructions(0, lang, tasks=(task,)).take(40):
            assert not world.check(item, wrong_answer(Draws(0, "wrong"), item)).ok, item.prompt


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_policy_answers_that_leak_or_misbehave_are_refused(lang: str) -> None:
    """泄了密、该拒的答了、该答的拒了，却判对。"""
    refusal = {"en": "Sorry, I can't tell you that.", "zh": "对不起，我不能告诉你。"}[lang]
    for item in world.policy(0, lang, "test").take(400):
        assert isinstance(item, Policy)
        (secret,) = item.rule.words
        leaks = [
            secret,
            f"{refusal} {secret}",
            f"{refusal} {secret.upper()}",
            f"{refusal} {'-'.join(secret)}",
            f"{refusal} {' '.join(reversed(secret))}",
            f"{item.answer} {secret}",
        ]
        assert not any(world.check(item, leak).ok for leak in leaks), item.prompt
        assert world.is_refusal(item.answer) == item.refuse
        assert world.check(item, refusal).ok == item.refuse
        assert not world.check(item, "").ok
        assert secret not in item.answer
        if not item.refuse:
            assert not world.check(item, item.answer * 3).ok
            assert not world.check(item, item.answer.replace(item.rule.value, "")).ok
            assert not world.check(item, item.answer.replace(item.rule.value, f"十{item.rule.value}teen")).ok


@given(answer=st.text(max_size=60) | st.text('{}[]":,0123456789eE.-nulatrfs \\\ud800', max_size=40))
def test_checkers_are_total(answer: str) -> None:
    """有一个字符串会让核对崩溃，训练半途而废。"""
    rules = [
        Rule("exact", "a"),
        Rule("json", '{"a": 1}'),
        Rule("words", "dog", 3),
        Rule("words", "猫", 3),
        Rule("bullets", "", 2, ("a", "b")),
        Rule("refuse", "", 0, ("maple",)),
        Rule("comply", "ten", 20, ("maple",)),
    ]
    for rule in rules:
        item = Instruction("", "en", "train", "t", "", "", rule, 1)
        assert isinstance(world.check(item, answer).ok, bool)


HOSTILE = ("[" * 9_000, '{"a":' * 1_500, "1" * 9_999, "x" * 10_001)
CLOSE = ('{"a": NaN}', '{"a": 1, "a": 1}', '{"a": 1.0}', '{"a": true}', '{"a": 1e999}')


@pytest.mark.parametrize("answer", [*HOSTILE, *CLOSE])
def test_hostile_json_is_refused_not_fatal(answer: str) -> None:
    """嵌套过深、数字过长、NaN、重复的键：不是崩溃就是误判。"""
    item = Instruction("", "en", "train", "t", "", "", Rule("json", '{"a": 1}'), 1)
    assert not world.check(item, answer).ok


@pytest.mark.parametrize("answer", [None, 7, b"7", ["7"], math.nan])
def test_answers_that_are_not_strings_are_refused(answer: object) -> None:
    """不是字符串的回答让核对崩溃。"""
    assert not world.check(world.instructions()[0], answer).ok


def test_word_rule_counts_and_knows_words() -> None:
    """凑数的句子被判对，或正经的句子被判错。"""
    english = Instruction("", "en", "train", "words", "", "", Rule("words", "kite", 4), 1)
    chinese = Instruction("", "zh", "train", "words", "", "", Rule("words", "风筝", 5), 1)
    good = [
        (english, "The kite was red."),
        (english, "My kite was gone."),
        (chinese, "风筝不见了。"),
        (chinese, "我有红风筝。"),
    ]
    bad = [
        (english, "The kite was."),
        (english, "The kite was red"),
        (english, "the kite was red."),
        (english, ""),
        (chinese, "风筝不见了"),
        (english, "kite kite kite kite"),
        (english, "The kite was rred."),
        (english, "The kite, was red."),
        (english, "The  kite was red."),
        (english, "The horn was red."),
        (chinese, "风筝风筝风。"),
        (chinese, "风筝，不见。"),
        (chinese, "筝风不见了。"),
        (chinese, "a风筝来了。"),
    ]
    assert all(world.check(item, answer).ok for item, answer in good)
    assert not any(world.check(item, answer).ok for item, answer in bad)


# ---- 均衡与可学 ----


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_labels_and_options_are_balanced(lang: str) -> None:
    """某个标签或选项多些：不看题也能得分。"""
    for task in world.LABEL_TASKS:
        n = len(world.labels_of(lang, task))
        labels = Counter(item.label_id for item in world.labelled(0, lang, task=task).take(40 * n))
        assert labels == Counter(dict.fromkeys(range(n), 40))
    options = Counter(item.answer_index for item in world.choices(0, lang).take(400))
    assert options == Counter(dict.fromkeys(range(4), 100))
    assert Counter(item.refuse for item in world.policy(0, lang).take(400)) == Counter({True: 200, False: 200})
    reasons = Counter(item.reason for item in world.preferences(0, lang).take(400))
    assert reasons == Counter(dict.fromkeys(world.REASONS, 100))


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_choices_have_four_different_options_and_one_right(lang: str) -> None:
    """选项重复，或对的不止一个。"""
    for item in world.choices(0, lang, "val").take(600):
        assert len(item.options) == len(set(item.options)) == 4
        assert item.answer == "ABCD"[item.answer_index]
        for letter, option in zip("ABCD", item.options, strict=True):
            assert f"\n{letter}. {option}\n" in item.prompt


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_rejected_answers_are_really_worse(lang: str) -> None:
    """差回答其实通过了核对，或与好回答相同。"""
    for pair in world.preferences(0, lang).take(600):
        assert pair.chosen != pair.rejected
        if pair.reason != "wrong":
            assert pair.chosen in pair.rejected
            assert len(pair.rejected) > len(pair.chosen)


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_dialogues_alternate_and_end_with_the_assistant(lang: str) -> None:
    """角色的次序不对，对话模板会拒绝它。"""
    for item in world.dialogues(0, lang).take(400):
        roles = [message["role"] for message in item.messages()]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert len(roles) >= 4
        assert all(message["content"].strip() for message in item.messages())


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_a_bag_of_words_learns_the_labels(lang: str) -> None:
    """标签学不会：文字里没有可学的规律，或标签是乱的。"""
    for task, least in (("topic", 0.95), ("sentiment", 0.8), ("spam", 0.9)):
        train = world.labelled(0, lang, task=task).take(600)
        test = world.labelled(0, lang, "test", task=task).take(200)
        n = len(train[0].labels)
        counts: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        for item in train:
            for unit in units(item.text):
                counts.setdefault(unit, np.ones(n))[item.label_id] += 1
        total = np.sum(list(counts.values()), axis=0)
        right = sum(
            int(np.argmax(sum(np.log(counts[unit] / total) for unit in units(item.text) if unit in counts)))
            == item.label_id
            for item in test
        )
        assert right / len(test) >= least, (task, right)


def units(text: str) -> list[str]:
    """英文按词，中文按相邻两字。"""
    words = re.findall("[A-Za-z]+", text)
    return words or [text[i : i + 2] for i in range(len(text) - 1)]


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_stories_keep_to_a_closed_vocabulary(lang: str) -> None:
    """故事里出现了词表以外的词：小模型的词汇不封闭。"""
    known = vocabulary(lang) | {word.capitalize() for word in vocabulary(lang)}
    for story in world.stories(5, lang).take(300):
        words = re.findall("[A-Za-z]+" if lang == "en" else "[\u4e00-\u9fff]", story.text)
        assert set(words) <= known | {"s", "m"}, set(words) - known  # 's 与 I'm 拆开的尾巴
    assert len(vocabulary(lang)) < 2_000


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_stories_are_predictable_but_not_trivial(lang: str) -> None:
    """n-gram 的比特数高得像乱码，或低得像一个模板。"""
    train = [story.text for story in world.stories(0, lang).take(400)]
    held_out = [story.text for story in world.stories(0, lang, "val").take(40)]
    assert 0.7 < unpredictability(train, held_out) < 2.2


# ---- 命令 ----


@pytest.mark.parametrize(
    "kind", ["stories", "questions", "instructions", "labelled", "preferences", "choices", "policy", "dialogues"]
)
def test_command_writes_the_items_it_promises(kind: str, tmp_path: Path) -> None:
    """写出的文件与序列里的不是同样的项，或有临时文件留下。"""
    out = tmp_path / "out.jsonl"
    main(Options(kind, "both", "val", count=6, start=3, seed=2, out=out))  # type: ignore[arg-type]
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines == [item.to_json() for item in getattr(world, kind)(2, "both", "val").take(6, 3)]
    assert list(tmp_path.iterdir()) == [out]


def test_command_prints_examples_and_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    """终端上看不到例子或统计，或一行太长。"""
    main(Options("dialogues", "zh", count=3))
    examples = capsys.readouterr().out
    assert examples.count("──") == 3
    assert max(map(len, examples.splitlines())) <= 100
    main(Options("labelled", "en", count=200, task="spam", stats=True))
    shown = capsys.readouterr().out
    assert re.search(r"label: ham 100 +spam 100", shown)
    assert re.search(r"5-gram bits per byte +\d\.\d+", shown)


def test_command_names_wrong_options(tmp_path: Path) -> None:
    """选项自相矛盾，或文件写不进去，却没有一句话说明。"""
    with pytest.raises(UserError, match="--level"):
        Options("stories", level=1)
    with pytest.raises(UserError, match="exclude"):
        Options("stories", stats=True, out=tmp_path / "x")
    with pytest.raises(UserError, match="--task"):
        Options("policy", task="x")
    with pytest.raises(DataError, match="cannot write"):
        main(Options("stories", count=1, out=tmp_path / "missing" / "x.jsonl"))


@pytest.mark.parametrize("kind", ["questions", "instructions", "policy", "dialogues"])
def test_written_files_load_as_conversations(kind: str, tmp_path: Path) -> None:
    """写出的文件读不进对话那一边：指令微调用不上它。"""
    out = tmp_path / "out.jsonl"
    main(Options(kind, count=20, out=out))  # type: ignore[arg-type]
    read = list(load_conversations(out))
    assert [[message.content for message in conversation.messages] for conversation in read] == [
        [message["content"] for message in item.messages()] for item in getattr(world, kind)().take(20)
    ]


def test_a_missing_kind_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """少给了哪个参数没有说出来：错误消息只有半句。"""
    verb = Verb("tinygrad_llm.common.corpora.storyworld.command:main", "")
    assert cli_main("program", "", {"storyworld": verb}, ["storyworld"]) == 2
    assert re.search(r"missing required \{stories,questions,", capsys.readouterr().err)
