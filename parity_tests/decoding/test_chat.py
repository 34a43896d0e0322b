"""对话：两个引擎逐字相同；缓存只喂新的；上下文满了按轮次略去；命令、管道与打断。"""

from __future__ import annotations

import io
import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.contract.cases import weights
from parity_tests.decoding.markov import MarkovSlots, random_table
from parity_tests.whole_runs.commands import ENGINES, Ended
from tinygrad_llm.common import cli
from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.chat.dialogue import Dialogue, OpenedModel, template_of
from tinygrad_llm.common.chat.render import ConversationTooLongError, render_prompt
from tinygrad_llm.common.chat.templates import TEMPLATES
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.slots import OneSlot
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.safety.tools import quoted
from tinygrad_llm.common.tokenizers import Tokenizer

TOKENIZER = Tokenizer([], [*TEMPLATES["ours"].specials, "<|endoftext|>"])
CONTEXT = 160


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """两个随机的模型，一个字节一个 token，有对话用的特殊 token。"""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("a", "b")):
        config = GPTConfig(
            vocab_size=TOKENIZER.vocab_size, context=CONTEXT, n_layer=1 + seed, n_head=2, n_embd=16, position="rope",
            norm="rmsnorm", mlp="swiglu", bias=False,
        )  # fmt: skip
        state = {"model": config.to_dict(), "tokenizer": TOKENIZER.digest, "chat_template": "ours"}
        save_checkpoint(folder / name, Checkpoint(0, weights(config, "float32"), {}, state))
        TOKENIZER.save(folder / name / "tokenizer.json")
    return folder


Chat = Callable[..., Ended]


@pytest.fixture
def chat(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chat:
    """把几行话送进 ``chat`` 的标准输入。"""
    from parity_tests.whole_runs.commands import PROGRAMS, VERBS

    def run(engine: str, typed: str, *flags: str) -> Ended:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        capsys.readouterr()
        argv = ["chat", "--run", "a", "--runs-dir", str(runs), "--tokens", "12", *flags]
        code = cli.main(f"python -m {PROGRAMS[engine]}", "", VERBS[engine], argv)
        return Ended(code, *capsys.readouterr())

    return run


def test_engines_answer_differently(chat: Chat) -> None:
    """同一种子、同样的三句话，两个引擎的回答不同；或换了种子回答不变。"""
    typed = "hello\nmore \\\nthan one line\n/retry\n/undo\nagain\n/tokens\n"
    ended = [chat(engine, typed, "--seed", "3") for engine in ENGINES]
    assert ended[0] == ended[1]
    assert ended[0].code == 0
    assert ended[0].out
    assert ended[0].out != chat("numpy", typed, "--seed", "4").out


@pytest.mark.parametrize("engine", ENGINES)
def test_one_question_is_a_conversation(engine: str, chat: Chat, runs: Path) -> None:
    """``--prompt`` 的回答与对话里的第一句不同，或接着读了标准输入；``/model`` 换了模型却答得一样。"""
    once = chat(engine, "not read\n", "--prompt", "hi", "--temperature", "0")
    assert once.out == chat(engine, "hi\n", "--temperature", "0").out
    other = chat(engine, "/model b\nhi\n", "--temperature", "0")
    assert other.out == chat(engine, "hi\n", "--temperature", "0", "--run", str(runs / "b")).out


def test_a_command_does_something_else(chat: Chat, tmp_path: Path) -> None:
    """存下再读回的对话不同；``/system`` 没有记下；写错的命令与文件没有说清，或就此退出。"""
    file = tmp_path / "talk.jsonl"
    typed = f'/system be brief\n"""\ntwo\nlines\n"""\n/save {file}\n/nonsense\n/load {tmp_path}/none\n/save\n/help\n'
    ended = chat("numpy", typed, "--temperature", "0.5")
    messages = json.loads(file.read_text(encoding="utf-8"))["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"] == "be brief"
    assert messages[1]["content"] == "two\nlines"
    assert messages[2]["content"] + "\n" == ended.out
    for said in ("unknown command /nonsense", "none", "/save needs a file name", "/retry"):
        assert said in ended.err
    assert ended.code == 0
    again = chat("numpy", "more\n", "--load", str(file), "--temperature", "0.5")
    assert "nothing has been said yet" in chat("numpy", "/history\n").err
    told = chat("numpy", "/history\n", "--load", str(file)).err
    assert "\n\n".join(f"{one['role']}: {one['content']}" for one in messages) in told
    direct = chat("numpy", '/system be brief\n"""\ntwo\nlines\n"""\nmore\n', "--temperature", "0.5")
    assert again.out == direct.out.removeprefix(ended.out)


def test_a_wrong_flag_is_accepted(chat: Chat) -> None:
    """没有的运行、没有的模板、互相矛盾的约束没有报错。"""
    assert chat("numpy", "", "--run", "nowhere").code == 4
    assert "--template must be one of" in chat("numpy", "", "--template", "mine").err
    assert "exclude each other" in chat("numpy", "", "--regex", "a", "--schema", "b.json").err


def test_an_answer_leaves_the_schema(chat: Chat, tmp_path: Path) -> None:
    """对话里的回答也受 ``--schema`` 约束。"""
    (tmp_path / "s.json").write_text('{"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}')
    ended = chat("numpy", "a\nb\n", "--schema", str(tmp_path / "s.json"), "--tokens", "90")
    decoder, found, rest = json.JSONDecoder(), [], ended.out.strip()
    while rest:
        value, stop = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[stop:].strip()
    assert len(found) == 2
    assert all(len(value) == 2 and set(value) <= {1, 2} for value in found)


def test_a_tool_call_is_answered_with_a_quotation(chat: Chat, tmp_path: Path) -> None:
    """回答是代码块而没有运行，结果不是以 user 的引文交回，没有尽头，或没有要工具也照样运行。"""
    file, call = tmp_path / "talk.jsonl", r"```python\nprint\(6\*7\)\n```"
    flags = ("--regex", call, "--tokens", "40")
    ended = chat("numpy", f"compute\n/save {file}\n", *flags, "--tools", "python")
    messages = json.loads(file.read_text(encoding="utf-8"))["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant"] * 4
    assert {one["content"] for one in messages[2::2]} == {quoted("42")}
    assert ended.err.count("> 42") == 3
    assert "42" not in chat("numpy", "compute\n", *flags).err


# ---- 对话的状态，用可以手算的模型 ----


def dialogue(context: int = 64, **settings: Any) -> tuple[Dialogue, MarkovSlots]:
    """查表的模型上的一次对话。"""
    size = TOKENIZER.vocab_size
    logits = np.random.default_rng(0).normal(size=(size, size)) - 20 * (np.arange(size) > 127)  # 写 ASCII
    table = np.broadcast_to(logits, (size, size, size))
    slots = MarkovSlots(table, context=context)
    model = OpenedModel("table", TOKENIZER, OneSlot(slots))
    return Dialogue(model, template_of(model), Sampling(1.0), **{"max_tokens": 6, **settings}), slots


def test_a_turn_feeds_the_whole_conversation_again() -> None:
    """第二问又把第一轮喂了一遍：应当只喂上次的末一个 token、结束标记与新的一问。"""
    talk, slots = dialogue(200)
    list(talk.ask("hello"))
    before, held = slots.fed, list(talk.fed)
    list(talk.ask("more"))
    rendered = render_prompt(Conversation((*talk.messages[:2], Message("user", "more"))), TOKENIZER)
    assert talk.reused == len(held)
    assert slots.fed - before == len(rendered.ids) - len(held) + 5
    assert slots.held[0] == talk.fed == [*rendered.ids, *TOKENIZER.encode(talk.messages[-1].content)[:5]]


def test_the_cache_survives_an_undo_wrongly() -> None:
    """退回、换 system 之后再问，与从头另谈一次的回答不同：缓存里混进了不该有的。"""
    talk, _ = dialogue(200)
    list(talk.ask("one"))
    list(talk.ask("two"))
    talk.undo()
    talk.system = "be brief"
    found = "".join(step.text for step in talk.ask("three"))
    fresh, _ = dialogue(200)
    fresh.messages = talk.messages[:3]
    assert found == "".join(step.text for step in fresh.ask("three"))


def test_a_full_context_cuts_inside_a_message() -> None:
    """上下文满了：略去的不是最早的整轮，或略去之后仍超出，或没有告诉。"""
    talk, slots = dialogue(40)
    for number in range(6):
        list(talk.ask(f"q{number}"))
        assert len(slots.held[0]) <= 40
    assert talk.dropped > 0
    assert talk.dropped % 2 == 0
    assert len(talk.messages) == 12
    with pytest.raises(ConversationTooLongError):
        list(talk.ask("x" * 50))
    assert len(talk.messages) == 12


def test_stopping_an_answer_loses_the_conversation() -> None:
    """打断：已写出的一半没有记下，或接着问时缓存与记下的不符。"""
    talk, slots = dialogue(200, max_tokens=50)
    asked = itertools.count()
    steps = list(talk.ask("hello", lambda: next(asked) >= 3))
    assert (talk.finish, steps[-1].finish) == ("cancelled", "cancelled")
    assert talk.messages[-1].content == "".join(step.text for step in steps)
    list(talk.ask("more"))
    assert slots.held[0] == talk.fed
    talk, _ = dialogue(200)
    list(talk.ask("hello", lambda: True))
    assert talk.messages == []


def test_ctrl_c_leaves_the_program(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """生成时的 Ctrl-C 没有停下回答，或连程序也停了；之后的处理方式没有还原。"""
    from tinygrad_llm.chat import open_model
    from tinygrad_llm.common.chat.console import Console
    from tinygrad_llm.common.chat.settings import ChatConfig

    console = Console(ChatConfig(run="a", runs_dir=str(runs), tokens=50), open_model)
    feed, before = console.dialogue.model.decoder.feed, signal.getsignal(signal.SIGINT)

    def interrupting(ids: Any) -> Any:
        if len(ids) == 1:
            signal.raise_signal(signal.SIGINT)
        return feed(ids)

    monkeypatch.setattr(console.dialogue.model.decoder, "feed", interrupting)
    console.answer(lambda: console.dialogue.ask("hello", console.is_stopped))
    assert console.dialogue.finish == "cancelled"
    assert len(console.dialogue.messages) in (0, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_model_without_chat_tokens_is_accepted() -> None:
    """词表没有任何模板的特殊 token，没有说怎样添上。"""
    with pytest.raises(UserError, match="no chat template"):
        template_of(OpenedModel("m", Tokenizer([], ["<|x|>"]), OneSlot(MarkovSlots(random_table(4, 0)))))
