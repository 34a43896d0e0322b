"""播放器的各个测试共用的页面：自带的例子、一个大的 GPT，与从网页里取回录制的办法。

流入：例子的名字；流出：录制、文档与网页。一个进程里每样只做一次。
"""

from __future__ import annotations

import base64
import functools
import json
import re
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.gpt import GPT
from tinygrad_llm.tracing import Trace
from tinygrad_llm.tracing.faults import faults_json
from tinygrad_llm.tracing.player import page
from tinygrad_llm.tracing.programs import run_program

Json = dict[str, Any]


@functools.cache
def toy_trace(name: str) -> Trace:
    """一个自带例子的录制，带着 torch 的梯度。"""
    return run_program(name)


@functools.cache
def toy_document(name: str) -> Json:
    """播放器要的文档：录制与弄坏的几种。"""
    trace = toy_trace(name)
    return {**trace.to_dict(), "faults": faults_json(trace)}


@functools.cache
def toy_page(name: str) -> str:
    """一个自带例子的网页。"""
    return page(toy_document(name))


@functools.cache
def big_trace() -> Trace:
    """宽 64 的 GPT，融合算子都展开：三百多次运算。"""
    tg.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=64, context=16, n_layer=4, n_head=4, n_embd=64))
    ids, targets = tg.randint(0, 64, (1, 16)), tg.randint(0, 64, (16,))
    t: Trace
    with tg.trace(title="GPT", composed=True) as t:
        tg.nn.functional.cross_entropy(model(ids).view(-1, 64), targets).backward()
    return t


@functools.cache
def big_page() -> str:
    """它的网页。"""
    return big_trace().to_html()


def recording_in(html: str) -> Json:
    """网页里装着的录制，数组还在池子里。"""
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    document: Json = json.loads(found[1])
    return document


def unpacked(document: Json) -> Json:
    """把池子里的数组放回原处，写法与 ``Trace.to_dict()`` 相同。"""
    pool = [_opened(entry) for entry in document["arrays"]]

    def restored(part: Any) -> Any:
        if isinstance(part, list):
            return [restored(one) for one in part]
        if not isinstance(part, dict):
            return part
        return pool[part["$"]] if "$" in part else {key: restored(value) for key, value in part.items()}

    return {key: restored(value) for key, value in document.items() if key != "arrays"}


def _opened(entry: Json) -> Json:
    if "base64" not in entry:
        return {"flat": None, **entry}
    numbers = np.frombuffer(base64.b64decode(entry["base64"]), dtype=entry["type"])
    flat = [float(str(x)) for x in numbers] if entry["type"] == "<f4" else numbers.tolist()
    return {"shape": entry["shape"], "flat": [_strict(x) for x in flat]}


def _strict(x: float) -> Any:
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return names.get(str(x), x)
