"""生成：两个引擎逐 token 相同；KV 缓存不改变结果；超出上下文也走得下去。"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_llm as tg
from parity_tests.whole_runs.commands import ENGINES, Place
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.single import Decoder, decode
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.decoding import NumpyDecoder
from tinygrad_llm.gpt import GPT
from tinygrad_llm.train import build_model
from torch_llm.engine import TorchDecoder
from torch_llm.loop import build_model as build_torch_model

SAMPLINGS = [
    Sampling(temperature, top_k, top_p, seed=seed)
    for temperature, top_k, top_p, seed in itertools.product((0.0, 0.5, 1.3), (None, 5), (None, 0.7), (0, 1))
]
CONTEXT = 16


@pytest.fixture(scope="module", params=["toy", "toy-llama"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """一次训练好的运行；GPT-2 与 Llama 两种形状各一次。"""
    from parity_tests.whole_runs.commands import TINY, as_flags, text_of
    from tinygrad_llm.common import cli
    from tinygrad_llm.common.train_config import TrainConfig
    from tinygrad_llm.train import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.txt").write_text(text_of(150), encoding="utf-8")
    family = {"preset": request.param, "n_kv_head": 1 if request.param == "toy-llama" else None}
    flags = {"run": "a", "runs_dir": folder, "corpus": folder / "small.txt", **TINY, "steps": 40, "lr": 0.01, **family}
    main(cli.parse(TrainConfig, as_flags(flags), "train"))
    return folder / "a"


def decoders(run: Path) -> dict[str, Decoder]:
    """两个引擎的生成器，出自同一个检查点。"""
    config, _, checkpoint = load_trained(run)
    return {
        "numpy": NumpyDecoder(build_model(config, checkpoint.model)),
        "torch": TorchDecoder(build_torch_model(config, checkpoint.model)),
    }


class Uncached:
    """不用缓存的生成器：每次都把至今的全部 token 从头算一遍。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, decoder: Any) -> None:
        self.decoder, self.context = decoder, decoder.context
        self.reset()

    def reset(self) -> None:
        """忘掉至今的 token。"""
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """把新 token 接在后面，整段重新喂进去。"""
        self.ids = np.concatenate([self.ids, ids])
        self.decoder.reset()
        logits: NDArray[Any] = self.decoder.feed(self.ids)
        return logits


def test_engines_choose_different_tokens(trained: Path) -> None:
    """温度、top-k、top-p 与种子的各种组合下，两个引擎选出同样的 token，长度越过上下文。"""
    ours, theirs = decoders(trained).values()
    for sampling in SAMPLINGS:
        found = list(decode(ours, [72, 101], 24, sampling))
        assert found == list(decode(theirs, [72, 101], 24, sampling)), sampling


@pytest.mark.parametrize("engine", ENGINES)
def test_the_cache_changes_the_tokens(trained: Path, engine: str) -> None:
    """带缓存与每次从头算，token 相同，logits 相差不过 1e-5；40 个 token 越过上下文两次。"""
    decoder = decoders(trained)[engine]
    cached = list(watched(decoder, 40))
    uncached = list(watched(Uncached(decoder), 40))
    assert [token for token, _ in cached] == [token for token, _ in uncached]
    for (_, ours), (_, theirs) in zip(cached, uncached, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def watched(decoder: Any, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """逐个产生 token 与选它时的 logits。"""
    seen: list[NDArray[Any]] = []

    class Watch:
        context = decoder.context
        reset = decoder.reset

        @staticmethod
        def feed(ids: NDArray[np.int64]) -> NDArray[Any]:
            seen.append(decoder.feed(ids))
            return seen[-1]

    for token in decode(Watch(), [72, 101], count, Sampling(temperature=1.0, seed=3)):
        yield token, seen[-1]


SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"norm": "rmsnorm", "mlp": "swiglu", "position": "rope", "n_kv_head": 2, "qk_norm": True, "bias": False},
    "tanh": {"mlp": "gelu_tanh", "bias": False, "tie_head": False},
    "mixed": {"norm": "rmsnorm", "mlp": "gelu", "position": "rope", "n_kv_head": 1},
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_one_token_at_a_time_computes_something_else(shape: str) -> None:
    """逐个喂与一次喂完，某个位置的 logits 不同：数组上的那份算式与模型走散了。"""
    tg.manual_seed(0)
    config = GPTConfig(vocab_size=50, context=12, n_layer=2, n_head=4, n_embd=32, **SHAPES[shape])
    model, ids = GPT(config).to(tg.float64).eval(), np.arange(12) * 7 % 50
    with tg.no_grad():
        expected = model(tg.from_numpy(ids[None])).array[0]
    decoder = NumpyDecoder(model)
    decoder.feed(ids[:3])
    for i in range(3, 12):
        np.testing.assert_allclose(decoder.feed(ids[i : i + 1]), expected[i], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="longer than the model's context"):
        decoder.feed(ids[:1])


@pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 3 * CONTEXT])
def test_long_prompt_stops_the_generation(trained: Path, length: int) -> None:
    """开头短于、等于、长于上下文都能接着写，两个引擎相同；只有最后一个上下文起作用。"""
    prompt = [int(id) for id in np.random.default_rng(length).integers(0, 256, length)]
    ours, theirs = decoders(trained).values()
    found = list(decode(ours, prompt, 5, Sampling(0.0)))
    assert found == list(decode(theirs, prompt, 5, Sampling(0.0)))
    assert found == list(decode(ours, prompt[-CONTEXT:], 5, Sampling(0.0)))


def test_greedy_depends_on_the_seed(trained: Path) -> None:
    """温度为 0 时与种子无关；温度大于 0 时换种子得到不同的文字。"""
    decoder = decoders(trained)["numpy"]
    texts = {kind: {tuple(decode(decoder, [72], 20, Sampling(kind, seed=s))) for s in range(4)} for kind in (0.0, 1.0)}
    assert len(texts[0.0]) == 1
    assert len(texts[1.0]) > 1


def test_generate_commands_print_different_text(place: Place) -> None:
    """两个引擎的 generate 命令打印同样的文字，以 --prompt 开头；打印两次也一样。"""
    assert place.train("numpy", "a", steps=40, lr=0.01).code == 0
    flags: dict[str, Any] = {"prompt": "the 猫 ", "tokens": 30, "top_k": 20, "top_p": 0.9, "seed": 5, "slide": True}
    ended = [place.generate(engine, "a", **flags) for engine in (*ENGINES, "numpy")]
    assert [e.code for e in ended] == [0, 0, 0]
    assert {e.err for e in ended} == {""}
    assert len({e.out for e in ended}) == 1
    assert ended[0].out.startswith("the 猫 ")
    assert ended[0].out != place.generate("numpy", "a", **{**flags, "seed": 6}).out


def test_generate_takes_no_folder(place: Place) -> None:
    """--run 也可以是运行文件夹或检查点文件夹的路径；较早的检查点写出不同的文字。"""
    assert place.train("torch", "a", save_every=10, steps=40, lr=0.01, keep=9).code == 0
    run = place.runs / "a"
    texts = [
        place.generate("numpy", str(path), runs_dir=None, tokens=30, slide=True).out
        for path in (run, run / "checkpoints" / "step_000040", run / "checkpoints" / "step_000010")
    ]
    assert texts[0] == texts[1] != texts[2]
    assert load_checkpoint(run).step == 40


def test_text_becomes_a_special_token(place: Place) -> None:
    """开头里写着结束符的名字，也只是几个普通的字节。"""
    assert place.train("numpy", "a", steps=2).code == 0
    _, tokenizer, _ = load_trained(place.runs / "a")
    assert tokenizer.eot not in tokenizer.encode("<|endoftext|>")
    ended = place.generate("numpy", "a", prompt="<|endoftext|>", tokens=3)
    assert ended.code == 0
    assert ended.out.startswith("<|endoftext|>")


@pytest.mark.parametrize("engine", ENGINES)
def test_generation_runs_past_the_context_unasked(place: Place, engine: str) -> None:
    """没有 ``--slide``：写满上下文就停下并说明；开头装不下的当场报错，一个字也不写。"""
    assert place.train("numpy", "a", steps=2).code == 0
    _, tokenizer, _ = load_trained(place.runs / "a")
    ended = place.generate(engine, "a", prompt="the", tokens=99, temperature=0)
    assert (ended.code, ended.err.startswith("stopped: the context of 16 tokens is full")) == (0, True)
    room = 16 - len(tokenizer.encode("the"))
    assert place.generate(engine, "a", prompt="the", tokens=room, temperature=0).out == ended.out
    refused = place.generate(engine, "a", prompt="the cat " * 16, tokens=1)
    assert (refused.code, refused.out) == (2, "")
    assert "contexts of 16" in refused.err


def test_a_flag_of_generate_does_nothing(place: Place, tmp_path: Path) -> None:
    """惩罚、约束、beam、对数概率各自起作用，两个引擎的输出相同。"""
    assert place.train("numpy", "a", steps=40, lr=0.01, context=64).code == 0
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    (tmp_path / "g.ebnf").write_text('root ::= "yes" | "no"')
    flags: list[dict[str, Any]] = [
        {},
        {"repetition_penalty": 3.0},
        {"presence_penalty": 2.0},
        {"frequency_penalty": -3.0},
        {"min_p": 0.5},
        {"stop": "e"},
        {"regex": "[0-9]{3}"},
        {"schema": tmp_path / "s.json"},
        {"grammar": tmp_path / "g.ebnf"},
        {"beams": 3, "best": 2},
        {"beams": 3, "best": 2, "length_penalty": 0.0},
        {"logprobs": "json", "top_logprobs": 2},
    ]
    shown = []
    for one in flags:
        ours, theirs = (place.generate(e, "a", prompt="the ", tokens=40, seed=1, **one) for e in ENGINES)
        assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
        if "logprobs" not in one and "beams" not in one:
            assert ours.out == theirs.out, one
        shown.append(ours.out)
    same = [(a, b) for a, b in itertools.combinations(range(len(flags)), 2) if shown[a] == shown[b]]
    assert not same, [(flags[a], flags[b]) for a, b in same]
    assert "e" not in shown[5].removeprefix("the ")
    assert re.fullmatch(r"the [0-9]{3}\n", shown[6])
    assert type(json.loads(shown[7].removeprefix("the "))["n"]) is int
    assert shown[8] in ("the yes\n", "the no\n")
    lines = [json.loads(line) for line in shown[11].splitlines()]
    assert "".join(line["text"] for line in lines) == shown[0].removeprefix("the ")[:-1]
    assert all(line["logprob"] <= line["top"][0]["logprob"] + 1e-9 and len(line["top"]) == 2 for line in lines)
    assert lines[-1]["finish"] in ("length", "stop")


def test_contradicting_flags_are_accepted(place: Place) -> None:
    """互相排斥的 flag 没有报错。"""
    for wrong in ({"slide": True, "stop": "a"}, {"best": 2}, {"beams": 2, "logprobs": "json"}, {"regex": "a("}):
        assert place.train("numpy", "a", steps=1).code in (0, 2)
        ended = place.generate("numpy", "a", prompt="the", **wrong)
        assert (ended.code, ended.out) == (2, ""), wrong
