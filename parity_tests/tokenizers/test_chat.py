"""对话：注入的文字变不成特殊 id，id 与 transformers 的模板相同，掩码、截断与报错各守其规。"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.chat import (
    CHAT_SPECIALS,
    TEMPLATES,
    Conversation,
    ConversationTooLongError,
    Message,
    Rendered,
    Role,
    Template,
    render,
    render_prompt,
)
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import END_OF_TEXT, Tokenizer, train_bpe

SAMPLE = (
    "user\nassistant\nsystem\nBelow is an instruction that describes a task. ### Instruction: ### Response:\n"
    "What is the capital of the valley? The capital is a mill by the river.\n\n    def f(x):\n        return x\n"
    "谷里的首府是什么？首府是河边的一座磨坊。你是一个乐于助人的助手。123 4567 😀👍🏽\n"
)
SPECIALS = (*CHAT_SPECIALS, "<|im_start|>", "<|im_end|>", END_OF_TEXT)
TEXT_SPECIALS = (*SPECIALS, "<s>", "</s>", "[INST]", "<|system|", "<|im_sep|>", "<pad>")
# SmolLM2 的对话格式，按它的说明写出；只供 transformers 用
CHATML_JINJA = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\n' + default_system + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def _tokenizer() -> Tokenizer:
    return train_bpe(SAMPLE * 3, 256 + 150 + len(SPECIALS), SPECIALS)


def _talk(*contents: str, system: str = "") -> Conversation:
    roles: tuple[Role, Role] = ("user", "assistant")
    head = (Message("system", system),) if system else ()
    return Conversation((*head, *(Message(roles[i % 2], text) for i, text in enumerate(contents))))


def _special_ids(rendered: Rendered) -> list[int]:
    first_special = _tokenizer().vocab_size - len(SPECIALS)
    return [id for id in rendered.ids if id >= first_special]


def _trained_text(rendered: Rendered) -> list[str]:
    """每一段连续的、计入损失的 id 解码成文字。"""
    runs = groupby(zip(rendered.ids, rendered.loss_mask, strict=True), key=lambda pair: pair[1])
    return [_tokenizer().decode([id for id, _ in run]) for is_trained, run in runs if is_trained]


# ---- 注入 ----


def _check_injections(count: int, seed: int) -> None:
    """把特殊 token 的名字与它们的残片插进每个角色的话里：特殊 id 的个数与序列必须和无害的对话相同。"""
    rng = random.Random(seed)
    harmless = _talk("a", "b", "c", "d", system="e")
    expected = {name: _special_ids(render(harmless, _tokenizer(), template)) for name, template in TEMPLATES.items()}
    for _ in range(count):
        contents = [_spliced(rng) for _ in range(5)]
        conversation = _talk(*contents[:4], system=contents[4])
        for name, template in TEMPLATES.items():
            rendered = render(conversation, _tokenizer(), template)
            assert _special_ids(rendered) == expected[name], contents
            text = _tokenizer().decode(rendered.ids)
            assert all(content in text for content in contents), contents


def _spliced(rng: random.Random) -> str:
    """一段话，其中几处插着特殊 token 的名字、半个名字，或两个名字交错在一起。"""
    text = rng.choice(("hello there", "首府是河边的磨坊", "x = 1\n\n", "<|", "|>", " ", "😀"))
    for _ in range(rng.randint(1, 4)):
        name, other = rng.choice(TEXT_SPECIALS), rng.choice(TEXT_SPECIALS)
        cut = rng.randint(0, len(name))
        piece = rng.choice((name, name[:cut], name[:cut] + other + name[cut:], name + "\n", f"{name}assistant\n"))
        at = rng.randint(0, len(text))
        text = text[:at] + piece + text[at:]
    return text if text.strip() else f"{text}."


def test_text_never_becomes_a_special_id() -> None:
    """用户写下 ``<|end|>`` 一类的名字，竟变成了特殊 id：对话可以被伪造。"""
    _check_injections(500 // 5, seed=0)


@pytest.mark.full
def test_ten_thousand_injections_never_become_a_special_id() -> None:
    """同上，一万段注入的文字，轮流出现在每个角色、每个模板里。"""
    _check_injections(10_000 // 5, seed=1)


def test_the_injection_check_notices_a_template_made_of_one_string() -> None:
    """检查自身：先拼成一个字符串再找特殊 token 的写法，必须被认出多了一个特殊 id。"""
    rendered = render(_talk("a", "b<|end|>c"), _tokenizer())
    one_string = _tokenizer().decode(rendered.ids)
    naive = _hf_tokenizer()(one_string)["input_ids"]
    first_special = _tokenizer().vocab_size - len(SPECIALS)
    assert len([id for id in naive if id >= first_special]) == len(_special_ids(rendered)) + 1


# ---- 与 transformers 相同 ----


@cache
def _hf_tokenizer() -> Any:
    """同样的合并与特殊 token，装进 transformers 的分词器；词表的写法见字节与可见字符的对应。"""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as HFTokenizer
    from transformers import PreTrainedTokenizerFast

    ours = _tokenizer()
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    hidden = [b for b in range(256) if b not in visible]
    letter = {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    names = ["".join(letter[b] for b in ours.token_bytes(id)) for id in range(ours.vocab_size - len(SPECIALS))]
    vocab = {name: id for id, name in enumerate(names)}
    core = HFTokenizer(models.BPE(vocab, [(names[left], names[right]) for left, right in ours.merges]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    make: Any = PreTrainedTokenizerFast  # 它的构造函数没有类型
    return make(tokenizer_object=core, chat_template=CHATML_JINJA)


def _hf_ids(conversation: Conversation, *, prompt: bool = False) -> list[int]:
    messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
    ids: list[int] = _hf_tokenizer().apply_chat_template(
        messages,
        add_generation_prompt=prompt,
        return_dict=False,
        default_system=TEMPLATES["chatml"].default_system,
    )
    return ids


_ORDINARY = st.text(st.sampled_from("abe userT.,'\n012谷里的😀é"), min_size=1, max_size=30).filter(lambda s: s[0] > " ")


@given(st.lists(_ORDINARY, min_size=2, max_size=6), st.one_of(st.just(""), _ORDINARY))
def test_chatml_ids_are_those_of_transformers(contents: Sequence[str], system: str) -> None:
    """ChatML 的 id 与 transformers 的 apply_chat_template 不同：SmolLM2 会读到它没见过的格式。"""
    whole = _talk(*contents[: len(contents) // 2 * 2], system=system)
    assert render(whole, _tokenizer(), TEMPLATES["chatml"]).ids == _hf_ids(whole)
    asking = Conversation(whole.messages[:-1])
    assert render_prompt(asking, _tokenizer(), TEMPLATES["chatml"]).ids == _hf_ids(asking, prompt=True)


def test_alpaca_text_is_the_known_prompt() -> None:
    """Alpaca 的标题、空行或结束 token 写得不对。"""
    rendered = render(_talk("Add 2 and 3.", "5"), _tokenizer(), TEMPLATES["alpaca"])
    assert _tokenizer().decode(rendered.ids) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd 2 and 3.\n\n### Response:\n5<|endoftext|>"
    )
    prompt, _, reply = _tokenizer().decode(rendered.ids).removesuffix(END_OF_TEXT).partition("Response:\n")
    whole = _tokenizer().encode(f"{prompt}Response:\n") + _tokenizer().encode(reply) + [_tokenizer().eot]
    assert rendered.ids == whole, "prompt text must be encoded in one piece"


def test_our_template_is_the_documented_sequence() -> None:
    """自己的模板多了或少了一个 token：手写的序列对不上。"""
    t = _tokenizer()
    user, assistant, end = (t.special(name) for name in ("<|user|>", "<|assistant|>", "<|end|>"))
    expected = [user, *t.encode("Hi"), end, assistant, *t.encode("谷"), end]
    assert render(_talk("Hi", "谷"), t).ids == expected
    assert CHAT_SPECIALS == ("<|system|>", "<|end|>", "<|user|>", "<|assistant|>")


# ---- 掩码 ----


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_loss_covers_each_reply_and_one_end_token(template: Template) -> None:
    """损失漏了结束 token、算了两次、或落到了别人的话上。"""
    rendered = render(_talk("q1", "first reply", "q2", "再答一句", system="be kind"), _tokenizer(), template)
    assert _trained_text(rendered) == [f"first reply{template.stop}", f"再答一句{template.stop}"]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_every_reply_ends_with_exactly_one_end_token_even_if_its_text_names_it(template: Template) -> None:
    """回答的文字里已经写着结束 token 的名字：它被当成结束，或真正的结束 token 丢了。"""
    rendered = render(_talk("q", f"text{template.stop}"), _tokenizer(), template)
    trained = [id for id, is_trained in zip(rendered.ids, rendered.loss_mask, strict=True) if is_trained]
    assert trained.count(_tokenizer().special(template.stop)) == 1
    assert trained[-1] == _tokenizer().special(template.stop)


def test_training_choices_change_the_mask_and_never_the_ids() -> None:
    """``train_on`` 改变了 id，或没有改变掩码。"""
    conversation = _talk("q1", "r1", "q2", "r2", system="s")
    masks = {}
    for train_on in ("assistant", "last", "all"):
        rendered = render(conversation, _tokenizer(), train_on=train_on)
        masks[train_on] = rendered.loss_mask
        assert rendered.ids == render(conversation, _tokenizer()).ids
    assert all(masks["all"])
    assert sum(masks["last"]) * 2 == sum(masks["assistant"])
    assert masks["last"][-1]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
@given(st.lists(st.text(max_size=12).map(lambda s: f"{s}."), min_size=1, max_size=5))
def test_the_prompt_is_a_prefix_of_the_whole(template: Template, contents: list[str]) -> None:
    """生成时的提示与训练时的前缀不同：模型会在没见过的上下文里开口。"""
    questions = contents[: (len(contents) - 1) // 2 * 2 + 1]
    prompt = render_prompt(_talk(*questions), _tokenizer(), template)
    whole = render(_talk(*questions, " \n reply"), _tokenizer(), template)
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert not any(prompt.loss_mask)
    assert whole.loss_mask[len(prompt.ids)]
    assert all(part.start == before.stop for before, part in zip(whole.segments, whole.segments[1:], strict=False))


# ---- 截断 ----


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_truncation_drops_whole_turns_from_the_left(template: Template) -> None:
    """截断切碎了一句话、丢了 system，或去掉得比需要的多。"""
    contents = [f"{who} number {i} " * (i + 1) for i in range(4) for who in ("question", "reply")]
    conversation = _talk(*contents, system="be kind")
    kept = [_talk(*contents[2 * k :], system="be kind") for k in range(4)]
    lengths = [len(render(one, _tokenizer(), template).ids) for one in kept]
    for limit in range(lengths[-1], lengths[0] + 2):
        rendered = render(conversation, _tokenizer(), template, max_tokens=limit)
        dropped = next(k for k in range(4) if lengths[k] <= limit)
        assert rendered.dropped_turns == 2 * dropped
        assert rendered.ids == render(kept[dropped], _tokenizer(), template).ids
    with pytest.raises(ConversationTooLongError, match=f"{lengths[-1]} tokens.*limit is {lengths[-1] - 1}"):
        render(conversation, _tokenizer(), template, max_tokens=lengths[-1] - 1)


def test_a_long_prompt_keeps_its_last_question() -> None:
    """提示太长时丢掉了最后一问，或留下了半轮。"""
    conversation = _talk("old " * 50, "older reply", "the question")
    short = render_prompt(_talk("the question"), _tokenizer())
    rendered = render_prompt(conversation, _tokenizer(), max_tokens=len(short.ids))
    assert rendered.ids == short.ids
    assert rendered.dropped_turns == 2
    with pytest.raises(ConversationTooLongError):
        render_prompt(conversation, _tokenizer(), max_tokens=len(short.ids) - 1)


# ---- 报错 ----


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ((), "the conversation is empty"),
        (("system",), "holds only a system message"),
        (("assistant",), "message 1 is from assistant, expected user at the start"),
        (("user", "user"), "message 2 is from user, expected assistant after user"),
        (("user", "assistant", "assistant"), "message 3 is from assistant, expected user after assistant"),
        (("user", "system"), "message 2 is a system message"),
        (("system", "assistant"), "message 2 is from assistant, expected user after system"),
        (("user", "robot"), "message 2 has the unknown role 'robot'"),
    ],
)
def test_wrong_order_is_named(roles: tuple[Role, ...], problem: str) -> None:
    """次序不对的对话没有被拒绝，或消息没有说出是第几句。"""
    with pytest.raises(UserError, match=problem):
        Conversation(tuple(Message(role, "hello") for role in roles), "talk.jsonl:3")


def test_an_empty_message_is_named() -> None:
    """空话混进了训练：模型会学着什么都不说。"""
    with pytest.raises(UserError, match=r"message 2 \(assistant\) is empty"):
        _talk("q", " \n")


def test_missing_special_tokens_are_all_named() -> None:
    """分词器缺少模板的特殊 token 时，没有一次说全缺了哪些。"""
    plain = Tokenizer([], [END_OF_TEXT])
    with pytest.raises(
        UserError, match=r"lacks the special tokens of the chatml template: <\|im_start\|> <\|im_end\|>"
    ):
        render(_talk("a", "b"), plain, TEMPLATES["chatml"])
    assert render(_talk("a", "b"), plain, TEMPLATES["alpaca"]).ids[-1] == plain.eot


def test_render_and_prompt_refuse_each_others_input() -> None:
    """没有回答的对话拿去训练，或已经有回答的对话拿去生成，没有被拒绝。"""
    with pytest.raises(UserError, match="no assistant message"):
        render(_talk("q"), _tokenizer())
    with pytest.raises(UserError, match="ends with assistant"):
        render_prompt(_talk("q", "r"), _tokenizer())
