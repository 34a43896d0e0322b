"""``generate`` 的输出：边生成边打印，可以按把握大小着色，可以逐个 token 写成 JSON，也可以是 beam search 的几条。

流入：``GenerateConfig``、分词器、开解码器的函数；流出：标准输出上的文字。
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

from tinygrad_llm.common.decoding.beam import beam_search
from tinygrad_llm.common.decoding.drafting import OpenDraft, described, drafter
from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.request import Request
from tinygrad_llm.common.decoding.settings import GenerateConfig
from tinygrad_llm.common.decoding.single import decode, steps_of
from tinygrad_llm.common.decoding.slots import BatchDecoder, OneSlot
from tinygrad_llm.common.decoding.speculative import Tally, speculate
from tinygrad_llm.common.decoding.text import TextStream
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["print_generation"]

OpenSlots = Callable[[int], BatchDecoder]
SHADES = ((0.5, "green"), (0.1, "yellow"), (0.0, "red"))
"""概率至少多少，用什么颜色。"""


def print_generation(
    config: GenerateConfig, tokenizer: TextTokenizer, open_slots: OpenSlots, open_draft: OpenDraft
) -> None:
    """按设置生成，边生成边打印到标准输出。

    Args:
        config: 生成设置。
        tokenizer: 分词器。
        open_slots: 打开有这么多个槽的解码器。
        open_draft: 打开猜测者的运行。
    """
    prompt = tokenizer.encode(config.prompt) or [tokenizer.special(END_OF_TEXT)]
    if config.slide:
        return _print_sliding(config, prompt, tokenizer, open_slots)
    ends = {tokenizer.special(name) for name in {END_OF_TEXT} & set(tokenizer.specials)}
    request = Request(
        prompt=tuple(prompt),
        max_tokens=config.tokens,
        sampling=config.sampling,
        stop=config.stop,
        stop_ids=frozenset(ends),
        logprobs=None if config.logprobs == "none" else config.top_logprobs,
        constraint=config.constraint(tokenizer),
    )
    if config.beams > 1:
        return _print_beams(config, request, tokenizer, open_slots)
    new_draft, tally = drafter(config, tokenizer, open_draft), Tally()
    slots = open_slots(1)
    generation = Generation(request, tokenizer, slots.context)
    if new_draft is None:
        steps = steps_of(OneSlot(slots), generation)
    else:
        steps = speculate(slots, generation, new_draft(config.sampling), config.guesses, tally)
    show = _json(tokenizer) if config.logprobs == "json" else _coloured() if config.logprobs == "colour" else _plain
    if config.logprobs != "json":
        sys.stdout.write(config.prompt)
    for step in steps:
        show(step)
        sys.stdout.flush()
    sys.stdout.write("" if config.logprobs == "json" else "\n")
    if len(generation.tokens) < config.tokens and generation.finish == "length":
        _tell(f"stopped: the context of {slots.context} tokens is full; --slide drops the older half and goes on")
    if new_draft is not None:
        _tell(described(tally))


def _print_sliding(config: GenerateConfig, prompt: list[int], tokenizer: TextTokenizer, open_slots: OpenSlots) -> None:
    """不管上下文多长，一直写下去。"""
    sys.stdout.write(config.prompt)
    stream = TextStream(tokenizer)
    for token in decode(OneSlot(open_slots(1)), prompt, config.tokens, config.sampling, tokenizer.vocab_size):
        sys.stdout.write(stream.push(token))
        sys.stdout.flush()
    sys.stdout.write(stream.finish() + "\n")


def _print_beams(config: GenerateConfig, request: Request, tokenizer: TextTokenizer, open_slots: OpenSlots) -> None:
    found = beam_search(
        open_slots(config.beams), request, tokenizer, beams=config.beams, length_penalty=config.length_penalty
    )
    for one in found[: config.best]:
        if config.best > 1:
            print(f"[score {one.score:.4f}, log p {one.logprob:.4f}, {len(one.tokens)} tokens]")
        print(config.prompt + one.text)


def _plain(step: Step) -> None:
    sys.stdout.write(step.text)


def _coloured() -> Callable[[Step], None]:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def show(step: Step) -> None:
        probability = math.exp(step.logprob or 0.0)
        colour = next(colour for least, colour in SHADES if probability >= least)
        console.print(Text(step.text, style=colour), end="")

    return show


def _json(tokenizer: TextTokenizer) -> Callable[[Step], None]:
    def show(step: Step) -> None:
        top = [{"token": id, "text": tokenizer.decode([id]), "logprob": logprob} for id, logprob in step.top]
        line = {"token": step.token, "text": step.text, "logprob": step.logprob, "entropy": step.entropy, "top": top}
        print(json.dumps({**line, "finish": step.finish}, ensure_ascii=False))

    return show


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
