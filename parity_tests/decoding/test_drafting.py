"""``--draft`` 与 ``--kv-cache``：抢先猜不改变写出的文字，词表没有的 id 从不写出。

流入：随机的模型与命令行；流出：两种跑法的输出。
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.contract.cases import weights
from parity_tests.decoding.markov import MarkovSlots, random_table
from parity_tests.decoding.test_chat import TOKENIZER, Chat, chat, dialogue, runs
from parity_tests.whole_runs.commands import ENGINES, PROGRAMS, VERBS
from tinygrad_llm.common import cli
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.generation import Generation
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.single import decode
from tinygrad_llm.common.decoding.slots import OneSlot
from tinygrad_llm.common.decoding.speculative import ModelDraft, NgramDraft
from tinygrad_llm.common.tokenizers import train_bpe

__all__ = ["chat", "runs"]
DRAFTS = (("--draft", "ngram"), ("--draft", "b", "--guesses", "3"))


def generated(engine: str, runs: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    """一次 ``generate`` 的退出码与输出。"""
    capsys.readouterr()
    argv = ["generate", "--run", "a", "--runs-dir", str(runs), "--prompt", "so so so", "--tokens", "20", *flags]
    code = cli.main(f"python -m {PROGRAMS[engine]}", "", VERBS[engine], argv)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("flags", DRAFTS)
def test_guessing_changes_what_is_written(
    engine: str, flags: tuple[str, ...], runs: Path, chat: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    """``generate`` 与 ``chat`` 抢先猜，写出的文字与不猜时不同，或没有报告猜得怎样。"""
    plain, guessed = (generated(engine, runs, capsys, "--seed", "2", *extra) for extra in ((), flags))
    assert plain[:2] == guessed[:2]
    assert plain[0] == 0
    assert "tokens per pass of the model" in guessed[2]
    typed = "hello\n/retry\nmore more more\n/undo\nagain\n"
    assert chat(engine, typed).out == chat(engine, typed, *flags).out != ""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_int8_cache_is_not_used(
    engine: str, runs: Path, chat: Chat, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--kv-cache int8`` 没有换成 int8 的缓存，或只在 ``generate``、``chat`` 之一里换。"""
    import tinygrad_llm.decoding
    import torch_llm.decoding.slots

    module: Any = tinygrad_llm.decoding if engine == "numpy" else torch_llm.decoding.slots
    made = list[Any]()
    original = module.Int8Cache

    def counted(*given: Any) -> Any:
        made.append(given)
        return original(*given)

    monkeypatch.setattr(module, "Int8Cache", counted)
    assert generated(engine, runs, capsys, "--kv-cache", "int8")[0] == 0
    assert len(made) == 1
    assert chat(engine, "hi\n", "--kv-cache", "int8").code == 0
    assert len(made) == 2


def test_a_wrong_draft_is_accepted(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """分词器不同的、没有的猜测者，与它合不来的 flag，没有报错。"""
    other = train_bpe("the cat sat on the mat. " * 9, 264)
    config = GPTConfig(vocab_size=264, context=32, n_layer=1, n_head=2, n_embd=16)
    state = {"model": config.to_dict(), "tokenizer": other.digest}
    save_checkpoint(tmp_path / "c", Checkpoint(0, weights(config, "float32"), {}, state))
    other.save(tmp_path / "c" / "tokenizer.json")
    code, _, said = generated("numpy", runs, capsys, "--draft", str(tmp_path / "c"))
    assert code == 2
    assert "another tokenizer" in said
    assert generated("torch", runs, capsys, "--draft", "nowhere")[0] == 4
    for flags in (("--slide",), ("--beams", "2"), ("--guesses", "0")):
        assert generated("numpy", runs, capsys, "--draft", "ngram", *flags)[0] == 2


def test_stopping_while_guessing_loses_tokens() -> None:
    """边猜边写时打断：显示的与记下的不同，或接着问时缓存与记下的不符。"""
    talk, slots = dialogue(200, max_tokens=50, new_draft=lambda sampling: NgramDraft(2, 1), guesses=3)
    asked = itertools.count()
    steps = list(talk.ask("abcabcabcabc", lambda: next(asked) >= 4))
    assert (talk.finish, steps[-1].finish) == ("cancelled", "cancelled")
    assert talk.messages[-1].content == "".join(step.text for step in steps)
    assert slots.held[0] == talk.fed
    list(talk.ask("more"))
    assert slots.held[0] == talk.fed


@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1.5, seed=1)])
def test_an_id_that_the_tokenizer_lacks_is_written(sampling: Sampling) -> None:
    """模型比词表多出的行被选中、被猜中，或出现在候选里；它们的分数最高也不行。"""
    size = TOKENIZER.vocab_size
    table = random_table(size + 7, 0)
    table[..., size:] += 100
    request = Request((1, 2), 30, sampling, logprobs=5)
    generation, slots = Generation(request, TOKENIZER), MarkovSlots(table)
    while not generation.finish:
        step = generation.advance(slots.feed([(0, np.array(generation.pending))])[0])
        assert step.token < size
        assert all(id < size for id, _ in step.top)
    assert max(decode(OneSlot(MarkovSlots(table)), [1], 40, sampling, size)) < size
    assert max(ModelDraft(MarkovSlots(table), replace(sampling), size).propose([1, 2], 20)) < size
