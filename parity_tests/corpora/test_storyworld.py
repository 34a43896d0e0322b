"""故事世界是纯函数：同一项处处相同；划分之间没有一项相同；故事里的状态前后一致。"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from tinygrad_llm.common.corpora import storyworld as world
from tinygrad_llm.common.corpora.storyworld.draws import Draws, split_of
from tinygrad_llm.common.corpora.storyworld.items import Answerable, Choice, Dialogue, Labelled, Policy, Preference
from tinygrad_llm.common.corpora.storyworld.reading import documents, text
from tinygrad_llm.common.corpora.storyworld.world import world_of
from tinygrad_llm.common.errors import UserError

KINDS: dict[str, Callable[..., world.Lazy[Any]]] = {
    "stories": world.stories,
    "questions": world.questions,
    "instructions": world.instructions,
    "preferences": world.preferences,
    "choices": world.choices,
    "policy": world.policy,
    "dialogues": world.dialogues,
    "topic": lambda *a: world.labelled(*a, task="topic"),
    "sentiment": lambda *a: world.labelled(*a, task="sentiment"),
    "spam": lambda *a: world.labelled(*a, task="spam"),
}

# 各种数据（种子 0，训练划分）前 200 项的 SHA-256 前 16 位。数据有意改变时：VERSION 加一，再改这里。
PINNED_VERSION = 2
PINNED: dict[str, str] = {
    "stories/en": "716f7688fcba6c1e",
    "stories/zh": "10188d7caa4b6e79",
    "questions/en": "4034c77d01af384f",
    "questions/zh": "4cf705dd0d115609",
    "instructions/en": "cd0310836364f1a0",
    "instructions/zh": "4dbda671db9e5453",
    "preferences/en": "80fe1d3097ae1651",
    "preferences/zh": "7cf5719f6c5ce269",
    "choices/en": "b017c38fa90616cc",
    "choices/zh": "4acdb952a77e82ef",
    "policy/en": "c71ea5cd8548fc4e",
    "policy/zh": "14dc40112ca02ff7",
    "dialogues/en": "50d2edf2d7edc58f",
    "dialogues/zh": "1e0eeafb9cf38086",
    "topic/en": "dfa595e76b0d0266",
    "topic/zh": "7be0794dff586db8",
    "sentiment/en": "075bb504e8481fa1",
    "sentiment/zh": "01f002c3006960a5",
    "spam/en": "26497f6959b82877",
    "spam/zh": "1b658e33dc254407",
}


def digest(kind: str, lang: str, count: int = 200) -> str:
    """一种数据前若干项的摘要。"""
    lines = (json.dumps(item.to_json(), sort_keys=True) for item in KINDS[kind](0, lang, "train").take(count))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("lang", world.LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_data_changes_only_with_the_version(kind: str, lang: str) -> None:
    """数据变了而版本没变：别人复现不了旧的结果。"""
    assert world.VERSION == PINNED_VERSION
    assert digest(kind, lang) == PINNED[f"{kind}/{lang}"]


def test_items_do_not_depend_on_order_hash_seed_or_process() -> None:
    """换一个进程、换一个哈希种子、倒着取，都得是同样的数据。"""
    program = (
        "from tinygrad_llm.common.corpora import storyworld as w\n"
        "for kind in (w.stories, w.questions, w.preferences, w.dialogues):\n"
        "    for i in reversed(range(20)):\n"
        "        print(hash(kind) * 0 or repr(kind(3, 'both', 'val')[i].to_json()))\n"
    )
    outputs = []
    for hash_seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        outputs.append(done.stdout.decode().split("\n"))
    here = [
        repr(kind(3, "both", "val")[i].to_json())
        for kind in (world.stories, world.questions, world.preferences, world.dialogues)
        for i in reversed(range(20))
    ]
    assert outputs[0][:-1] == outputs[1][:-1] == here


def test_draws_are_those_of_plain_philox() -> None:
    """抽签换了随机数的来源：所有数据都会变。"""
    import numpy as np

    key = np.array([5, int.from_bytes(hashlib.blake2b(b"s", digest_size=8).digest(), "little")], dtype=np.uint64)
    raw = np.random.Philox(counter=np.array([0, 0, 9, 1], dtype=np.uint64), key=key).random_raw(100)
    draws = Draws(5, "s", "val", 9)
    assert [draws.below(1000) for _ in range(100)] == [int(value) * 1000 >> 64 for value in raw.tolist()]


def test_sequences_pickle_and_slice_alike() -> None:
    """送进别的进程后，或成段地取，内容变了。"""
    for name, kind in KINDS.items():
        if name in ("topic", "sentiment", "spam"):
            kind = world.labelled
        sequence = kind(1, "both", "test")
        copy = pickle.loads(pickle.dumps(sequence))  # noqa: S301  自己刚写的
        assert copy.take(4, start=10) == [sequence[i] for i in range(10, 14)]
    assert list(islice(world.stories(1), 3)) == world.stories(1).take(3)


def test_both_languages_alternate() -> None:
    """both 不是一项英文、一项中文。"""
    mixed = world.questions(0, "both").take(6)
    assert [item.lang for item in mixed] == ["en", "zh"] * 3
    assert mixed[2] == world.questions(0, "en")[1]
    assert mixed[3] == world.questions(0, "zh")[1]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: world.stories(-1), "seed"),
        (lambda: world.stories(2**64), "seed"),
        (lambda: world.stories(0, "fr"), "fr"),
        (lambda: world.stories(0, "en", "dev"), "dev"),
        (lambda: world.questions(0, about="moon"), "moon"),
        (lambda: world.labelled(0, task="mood"), "mood"),
        (lambda: world.instructions(0, tasks=("dance",)), "dance"),
        (lambda: world.instructions(0, "zh", tasks=("upper",)), "upper"),
        (lambda: world.instructions(0, level=4), "level"),
        (lambda: text(characters=0), "characters"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], object], word: str) -> None:
    """参数错了，消息里却没有说是哪一个。"""
    with pytest.raises(UserError, match=word):
        call()


def test_index_outside_is_an_index_error() -> None:
    """负的序号悄悄给出了别的数据。"""
    with pytest.raises(IndexError):
        world.stories()[-1]


# ---- 划分 ----


def keys_of(item: Any) -> Iterator[str]:
    """一项里不许跨划分出现的内容：全文，以及问与答。"""
    if isinstance(item, Choice):
        question = f"{item.context}\n{item.question}".strip()
        yield f"qa/{question}/{item.options[item.answer_index]}"
    elif isinstance(item, Policy):
        yield f"policy/{item.system}/{item.prompt}/{item.answer}"
    elif isinstance(item, Answerable):
        yield f"prompt/{item.id.split('/')[-2]}/{item.prompt}"  # 换了种子就是另一个世界，「谁是铁匠」可以再问
        yield f"qa/{item.prompt}/{item.answer}"
    elif isinstance(item, Preference):
        yield f"prompt/{item.id.split('/')[-2]}/{item.prompt}"
        yield f"qa/{item.prompt}/{item.chosen}"
    elif isinstance(item, Labelled):
        yield f"{item.task}/{item.text}"
    elif isinstance(item, Dialogue):
        yield repr(item.turns)
    else:
        yield item.text


def assert_disjoint(total: int) -> None:
    """各种数据、两种语言、三个划分，共 ``total`` 项；问答、提示与全文都不跨划分，种类之间也不跨。"""
    each = total // (len(KINDS) * 3)
    owner: dict[str, str] = {}
    seen = 0
    for kind in KINDS.values():
        for split in world.SPLITS:
            for seed in (0, 7):  # 种子不同，划分也不许相混
                for item in kind(seed, "both", split).take(each // 2):
                    seen += 1
                    for key in keys_of(item):
                        assert owner.setdefault(key, split) == split, key
    assert seen >= total * 0.95


def test_splits_share_no_item() -> None:
    """测试集里有训练集见过的题：分数是背出来的。"""
    assert_disjoint(5_000)


@pytest.mark.full
def test_splits_share_no_item_in_a_hundred_thousand() -> None:
    """同上，十万项。"""
    assert_disjoint(100_000)


def test_split_shares_are_as_promised() -> None:
    """训练、验证、测试不是八比一比一。"""
    counts = dict.fromkeys(world.SPLITS, 0)
    for i in range(20_000):
        counts[split_of(f"content {i}")] += 1
    assert abs(counts["train"] - 16_000) < 400  # 二项分布的七个标准差
    assert abs(counts["val"] - 2_000) < 300
    assert abs(counts["test"] - 2_000) < 300


# ---- 故事 ----


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_world_is_consistent_and_depends_on_the_seed(lang: str) -> None:
    """世界里重名、一人两职、家人不在一处，或换了种子还是同一个世界。"""
    for seed in range(30):
        here = world_of(seed, lang)
        assert len({person.name for person in here.people}) == len(here.people) == 50
        jobs = [person.job for person in here.people if person.job]
        assert len(set(jobs)) == len(jobs) == 20
        for person in here.people:
            assert all(kin.town == person.town for group in here.family_of(person).values() for kin in group)
    assert world_of(0, lang).people != world_of(1, lang).people


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_stories_are_finished_sentences_without_gaps(lang: str) -> None:
    """故事里漏出了没填的槽、双空格、小写的句首或断头的引号。"""
    for story in world.stories(0, lang).take(600):
        assert not re.search(r"[{}\[\]|@]", story.text), story.text
        assert "  " not in story.text
        for line in story.text.split("\n"):
            if lang == "en":
                assert re.fullmatch(r"[A-Z\"].*[.!?]\"?", line), line
                assert line.count('"') % 2 == 0, line
                assert not re.search(r"[.!?] [a-z]", re.sub(r"\"[^\"]*\"", "", line)), line
                assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n (?!hour)[^aeiou]", line), line
            else:
                assert re.fullmatch(r".*[。！？”]", line), line
                assert line.count("“") == line.count("”"), line
                assert not re.search(r"[，。！？：]{2,}", line), line
                assert not re.search(r"[a-zA-Z0-9 ]", line), line


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_stories_are_varied(lang: str) -> None:
    """千篇一律：故事重样，或哪种情节几乎不出现。"""
    stories = world.stories(0, lang).take(1_200)
    assert len({story.text for story in stories}) == len(stories)
    plots = [story.plot for story in stories]
    for plot in world.PLOTS:
        assert plots.count(plot) > len(stories) / len(world.PLOTS) / 2, plot
    sentences = {part for story in stories for part in re.split(r"(?<=[.!?。！？])", story.text)}
    assert len(sentences) > 5_000


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_answers_about_stories_stand_in_the_story(lang: str) -> None:
    """答案在短文里没有出现过：问题答不了，或状态与文字各说各话。"""
    for item in world.questions(0, lang, about="story").take(800):
        kind = item.task.removeprefix("story.")
        if kind in ("who", "holder", "what"):
            assert item.answer.removeprefix("the ") in item.context, item.prompt
        elif kind == "where":
            noun = item.answer.split(" the ")[-1] if lang == "en" else re.sub("[里上]$", "", item.answer)
            assert noun in item.context, item.prompt
        elif kind == "why":
            fact = item.answer.removeprefix("because ").removeprefix("因为")
            assert fact.lower() in item.context.lower(), item.prompt
        assert item.answer not in item.wrong


_NUMBERS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    "zh": ["零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"],
}
_GIVEN = {"en": r"gave (?:\w+ )?(\w+) {noun}", "zh": r"(?:分给|给了)\w{{2}}?({numbers}){noun}"}


@pytest.mark.parametrize("lang", world.LANGUAGES)
def test_sums_in_stories_come_out_right(lang: str) -> None:
    """跑腿回来的数目，或买完礼物剩下的钱，与文字里的数算不到一起。"""
    words = _NUMBERS[lang]
    numbers = "|".join(sorted(words, key=len, reverse=True))
    checked = 0
    for item in islice(world.questions(0, lang, about="story"), 4_000):
        if item.task != "story.count" or not re.search("left|bring home|还剩|带回家", item.question):
            continue
        found = re.fullmatch(rf"({numbers}) ?(.*?)", item.answer)
        assert found is not None, item.answer
        noun = re.sub("e?s$", "", found[2])  # 英文的单复数都认
        every = re.findall(rf"({numbers}) ?{noun}", item.context)
        if noun in ("coin", "个铜板"):
            total, taken = every[:2]
        else:
            given = re.search(_GIVEN[lang].format(noun=noun, numbers=numbers), item.context)
            assert given is not None, item.context
            total, taken = every[0], given[1]
        assert words.index(total) - words.index(taken) == words.index(found[1]), item.prompt
        checked += 1
        if checked == 30:
            return
    pytest.fail(f"only {checked} sums were found")


def test_text_is_long_enough_and_made_of_whole_stories() -> None:
    """文本比要的短，或停在句子中间。"""
    found = text(2, "both", 20_000)
    assert len(found) >= 20_000
    assert found.endswith("\n")
    stories = found[:-1].split("\n\n")
    assert stories == [story.text for story in world.stories(2).take(len(stories))]
    assert [document.text for document in documents(2, "both", 20_000)] == stories
    assert next(iter(documents(2, "zh"))).source == "storyworld-zh#0"
