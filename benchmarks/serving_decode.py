"""许多序列一起解码的速度：我们的各种精度，旁边是 ``transformers`` 与 ``llama-cpp-python``，和内存带宽给出的上限。

流入：模型、各系统、各批大小；流出：第一个 token 要等多久（开头 ``prompt`` 个 token）、此后每秒多少个、占多少内存。
各系统各在自己的进程里交替着量。一步至少要把全部权重读一遍，所以一个序列每秒至多「带宽 ÷ 权重的字节数」个 token；
批里的各行共读这一遍，上限按行数翻倍，直到算力不够。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.decode import BANDWIDTH_BYTES
from benchmarks.options import Options, unknown
from benchmarks.processes import System
from benchmarks.sizes import SIZES, sized
from benchmarks.weights import SCHEMES, bytes_read, load_weights, quantised
from tinygrad_llm.common.config import PRESETS, GPTConfig
from tinygrad_llm.common.progress import format_bytes

ENGINES = (
    "torch",
    "torch-packed",
    "torch-bf16",
    "torch-int8",
    "torch-int4",
    "torch-kv8",
    "numpy",
    "numpy-kv8",
    "transformers",
    "transformers-bf16",
    "llama.cpp",
)
REFERENCE = "transformers"
HEAD = 4
"""量解码时，开头只有这么几个 token。"""


@dataclass(frozen=True)
class ServingDecodeOptions(Options):
    """成批解码的测速。"""

    size: str = "smollm2-135m"
    """规模：T、S、M，或模型预设名；权重是初值。"""
    run: Path | None = None
    """改用这个运行文件夹里的模型与权重。"""
    gguf: Path | None = None
    """llama.cpp 读的 GGUF 文件；不给就不量它。"""
    engines: tuple[str, ...] = ENGINES
    """量哪几个系统。"""
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    """同时写几个序列。"""
    tokens: int = 16
    """每一回各写几个 token。"""
    prompt: int = 256
    """量第一个 token 要等多久时，开头有几个 token。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *unknown("size", (self.size,), (*SIZES, *PRESETS))]
        found += unknown("engines", self.engines, ENGINES)
        small = [name for name in ("tokens", "prompt") if getattr(self, name) < 1]
        found += [f"--{name} must be at least 1, got {getattr(self, name)}" for name in small]
        return found + ["--batches must be at least 1"] * any(batch < 1 for batch in self.batches)


# ---- 子进程 ----

Write = Callable[[Any, int], list[list[int]]]
"""（开头 ``(B, T)``，各写几个）→ 写出的 token；取最大。"""


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """每一回从头写 ``tokens`` 个 token；``system`` 决定谁来写。"""
    model = GPTConfig.from_dict(settings["model"])
    write = _WRITERS[settings["system"].partition("-")[0]](settings, model)
    shape = (settings["batch"], settings["prompt"])
    prompts = np.random.default_rng(0).integers(model.vocab_size, size=shape)

    def once(index: int) -> dict[str, Any]:
        return {"tokens": write(prompts, settings["tokens"])[0]}

    yield once


def _slots(decoder: Any) -> Write:
    """我们的 ``BatchDecoder``：各槽从头写。"""

    def write(prompts: Any, count: int) -> list[list[int]]:
        for slot in range(len(prompts)):
            decoder.truncate(slot, 0)
        tokens, rows = [], list(enumerate(prompts))
        for _ in range(count):
            chosen = decoder.feed(rows).argmax(-1)
            tokens.append(chosen.tolist())
            rows = [(slot, chosen[slot : slot + 1]) for slot in range(len(prompts))]
        return np.array(tokens).T.tolist()  # type: ignore[no-any-return]

    return write


def _numpy(settings: dict[str, Any], model: GPTConfig) -> Write:
    from tinygrad_llm.decoding import NumpySlots
    from tinygrad_llm.train import build_model

    cache: Any = "int8" if settings["system"].endswith("kv8") else "plain"
    return _slots(
        NumpySlots(build_model(model, load_weights(settings["run"], model)), settings["batch"], kv_cache=cache)
    )


def _torch(settings: dict[str, Any], model: GPTConfig) -> Write:
    import torch

    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loop import build_model

    weights, format = load_weights(settings["run"], model), settings["system"].rpartition("-")[2]
    built = quantised(model, weights, format) if format in SCHEMES else build_model(model, weights)
    if format == "bf16":
        built = built.to(torch.bfloat16)
    cache: Any = "int8" if settings["system"].endswith("kv8") else "plain"
    is_packed = settings["system"].endswith("packed")
    return _slots(TorchSlots(built, settings["batch"], kv_cache=cache, packed=is_packed))


def _transformers(settings: dict[str, Any], model: GPTConfig) -> Write:
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"  # 只造模型，不下载
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs = LlamaForCausalLM(LlamaConfig(
        vocab_size=model.vocab_size, hidden_size=model.n_embd, intermediate_size=model.hidden_size,
        num_hidden_layers=model.n_layer, num_attention_heads=model.n_head, num_key_value_heads=model.kv_heads,
        head_dim=model.head_size, max_position_embeddings=model.context, rms_norm_eps=model.norm_eps,
        rope_theta=model.rope_theta, tie_word_embeddings=model.tie_head, attention_bias=model.bias, mlp_bias=model.bias,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )).eval()  # fmt: skip
    theirs.load_state_dict(
        {name: torch.from_numpy(array) for name, array in llama_names(load_weights(settings["run"], model), model)}
    )
    if settings["system"].endswith("bf16"):
        theirs = theirs.to(torch.bfloat16)

    def write(prompts: Any, count: int) -> list[list[int]]:
        ids = torch.from_numpy(prompts)
        found = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
        return found[:, ids.shape[1] :].tolist()  # type: ignore[no-any-return]

    return write


def llama_names(weights: Any, model: GPTConfig) -> Iterator[tuple[str, Any]]:
    """我们的权重，换成 ``transformers`` 的 Llama 的名字；合成的 q、k、v 拆开。"""
    sizes = np.cumsum([model.n_head, model.kv_heads, model.kv_heads]) * model.head_size
    within = {
        "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj",
        "mlp.c_gate": "mlp.gate_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj",
    }  # fmt: skip
    outside = {
        "wte.weight": "model.embed_tokens.weight",
        "ln_f.weight": "model.norm.weight",
        "lm_head.weight": "lm_head.weight",
    }
    for name, array in weights.items():
        if name in outside:
            yield outside[name], array
            if name == "wte.weight" and model.tie_head:
                yield "lm_head.weight", array
            continue
        _, layer, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        prefix = f"model.layers.{layer}."
        if part == "attn.c_attn":
            for letter, piece in zip("qkv", np.split(array, sizes[:2]), strict=True):
                yield f"{prefix}self_attn.{letter}_proj.{kind}", piece
        else:
            yield f"{prefix}{within[part]}.{kind}", array


def _llama_cpp(settings: dict[str, Any], model: GPTConfig) -> Write:
    import llama_cpp

    threads = settings["cores"]
    theirs = llama_cpp.Llama(settings["gguf"], n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)

    def write(prompts: Any, count: int) -> list[list[int]]:
        theirs.reset()
        tokens = theirs.generate(prompts[0].tolist(), temp=0.0, repeat_penalty=1.0)
        return [[int(next(tokens)) for _ in range(count)]]

    return write


_WRITERS: dict[str, Callable[[dict[str, Any], GPTConfig], Write]] = {
    "numpy": _numpy, "torch": _torch, "transformers": _transformers, "llama.cpp": _llama_cpp,
}  # fmt: skip


# ---- 主进程 ----


def measure(options: ServingDecodeOptions) -> dict[str, Any]:
    """先量第一个 token 要等多久，再逐个批大小量解码，最后量带宽。"""
    model = sized(options.size)[0]
    if options.run is not None:
        from tinygrad_llm.common.session import load_trained

        model = load_trained(options.run)[0]
    shared = {
        "model": model.to_dict(),
        "run": options.run and str(options.run),
        "gguf": str(options.gguf),
        "cores": options.core_count,
    }

    def compared(batch: int, prompt: int, tokens: int) -> dict[str, Any]:
        settings = {**shared, "batch": batch, "prompt": prompt, "tokens": tokens}
        names = [name for name in options.engines if _can(name, model, options, batch)]
        reference = REFERENCE if REFERENCE in names else names[0]
        systems = [System(name, "serving_decode", {**settings, "system": name}) for name in names]
        found = compare(systems, options.plan, reference, warmup=options.warmup, check=_same_work)
        for one in found["systems"].values():
            one["tokens_per_s"] = batch * tokens / one["median_s"]
        return {**found, "reference": reference}

    prefill = compared(1, options.prompt, 1)
    decode = {str(batch): compared(batch, HEAD, options.tokens) for batch in options.batches}
    reader = System(
        "bandwidth", "decode", {"engine": "bandwidth", "cores": None, "threads": 1}, processes=options.core_count
    )
    read = compare([reader], options.plan, reader.name, warmup=options.warmup)["systems"][reader.name]
    rate = options.core_count * BANDWIDTH_BYTES / read["median_s"]
    weights = {name: bytes_read(name, model, options.gguf) for name in options.engines}
    bound = {"read_bytes_per_s": rate, "weight_bytes": weights, "noisy": read["noisy"]}
    return {"prompt": options.prompt, "prefill": prefill, "decode": decode, "bound": bound}


def _can(name: str, model: GPTConfig, options: ServingDecodeOptions, batch: int) -> bool:
    """这个系统做得了这件事：我们只替 ``transformers`` 造 Llama，llama.cpp 要有文件，且一次只写一个序列。"""
    if name == "llama.cpp":
        return options.gguf is not None and batch == 1
    llama = (model.norm, model.position, model.mlp, model.window, model.qk_norm)
    return not name.startswith("transformers") or llama == ("rmsnorm", "rope", "swiglu", None, False)


def _same_work(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str | None:
    """写出的个数不同，做的就不是同一件事；精度不同，token 可以不同。"""
    mine, other = len(found[0]["tokens"]), len(reference[0]["tokens"])
    return None if mine == other else f"it wrote {mine} tokens, not {other}"


def text(result: dict[str, Any]) -> str:
    """两张表与带宽的上限。"""
    bound, prompt = result["bound"], result["prompt"]
    lines = [_table(f"prompt of {prompt}", result["prefill"], prompt, None, bound)]
    for batch, found in result["decode"].items():
        lines.append(_table(f"decode, batch {batch}", found, None, int(batch), bound))
    noisy = " (noisy)" * bound["noisy"]
    lines.append(
        f"bound: memory read at {format_bytes(bound['read_bytes_per_s'])}/s{noisy}, all weights once a step: "
        + ", ".join(f"{name} {format_bytes(int(size))}" for name, size in bound["weight_bytes"].items())
    )
    return "\n\n".join(lines)


def _table(title: str, found: dict[str, Any], prompt: int | None, batch: int | None, bound: dict[str, Any]) -> str:
    rows = []
    for name, one in found["systems"].items():
        rate = prompt / one["median_s"] if prompt else one["tokens_per_s"]
        limit = bound["read_bytes_per_s"] / bound["weight_bytes"][name] * (batch or 0)
        share = (f"{limit:.3g}", f"{rate / limit:.0%}") if batch else ("-", "-")
        first = report.milliseconds(one["median_s"]) if prompt else "-"
        rows.append([
            name + "*" * one["noisy"], first, f"{rate:.3g}",
            report.times(one["ratio"] and 1 / one["ratio"], noisy=one["noisy"]), *share,
            format_bytes(one["peak_memory_bytes"]), report.turns(one),
        ])  # fmt: skip
    head = [
        title,
        "first token",
        "tokens/s",
        f"x {found['reference']}",
        "bound",
        "of the bound",
        "peak memory",
        "turns",
    ]
    return "\n".join([report.table(head, rows), *(f"{name}: {why}" for name, why in found["unavailable"].items())])


def main(options: ServingDecodeOptions) -> None:
    """``python -m benchmarks serving_decode``。"""
    result = measure(options)
    print(f"{text(result)}\n\n{report.CAVEATS}")
    report.publish(report.document("serving_decode", options, result), options)
