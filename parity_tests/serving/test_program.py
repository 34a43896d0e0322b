"""整个程序：``python -m torch_llm serve`` 与 ``python -m tinygrad_llm serve``，真的进程、真的模型、真的信号。

流入：一个随机的小模型；流出：两个引擎不同的回答，没有写完的回答，或不是 0 的退出码。
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.contract.cases import weights
from parity_tests.house.repo import ROOT
from parity_tests.serving.echo import TOKENIZER, Opener
from parity_tests.serving.running import running
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.lineage import weights_digest
from tinygrad_llm.common.serving.config import ServeConfig

START_S = 60.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """随机的模型，一个字节一个 token。"""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = GPTConfig(
        vocab_size=TOKENIZER.vocab_size, context=512, n_layer=2, n_head=2, n_embd=32, position="rope", norm="rmsnorm",
        mlp="swiglu", bias=False,
    )  # fmt: skip
    state = {"model": config.to_dict(), "tokenizer": TOKENIZER.digest, "chat_template": "ours"}
    save_checkpoint(folder, Checkpoint(0, weights(config, "float32"), {}, state))
    TOKENIZER.save(folder / "tokenizer.json")
    return folder


class Program:
    """一个进程里的服务器。"""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """一次请求。"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """一次流式的请求；流出：到 ``[DONE]`` 为止的各段，没有等到它就断了则失败。"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
            yield _parts(connection.getresponse())
        finally:
            connection.close()


def _parts(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    assert response.status == 200
    while line := response.readline().decode():
        if line == "data: [DONE]\n":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    pytest.fail("the stream ended without [DONE]")


LONG = {
    "model": "m", "prompt": "x", "max_tokens": 400, "logit_bias": {str(TOKENIZER.vocab_size - 1): -100},
    "stream_options": {"include_usage": True},
}  # fmt: skip
"""一次写得久的请求。"""


@contextmanager
def served(run: Path, *flags: str, package: str = "torch_llm") -> Iterator[Program]:
    """启动，等到它说在听哪个端口；离开时保证它不在了。"""
    command = [sys.executable, "-m", package, "serve", "--model", f"m={run}", "--port", "0", "--log", "none", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(START_S, process.kill)
    killer.start()
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r":(\d+)$", line.strip())
        assert found, line + process.stderr.read()
        yield Program(process, int(found[1]))
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_engines_answer_differently_or_drop_answers_at_sigterm(run: Path) -> None:
    """``--engine numpy`` 的回答与 torch 的不同；SIGTERM 之后没有写完在写的，还收新的，或退出码不是 0。"""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "seed": 5, "max_tokens": 40}
    words = {"model": "m", "input": "some words"}
    said, vectors = [], []
    for flags in ((), ("--engine", "numpy")):
        with served(run, *flags) as program:
            said.append(program.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"])
            vectors.append(program.post("/v1/embeddings", words)[1]["data"][0]["embedding"])
            with program.stream("/v1/completions", LONG) as parts:
                next(parts)
                program.process.send_signal(signal.SIGTERM)
                *_, last, usage = parts
            assert program.process.wait(timeout=30) == 0
            assert usage["usage"]["completion_tokens"] == 400 or last["choices"][0]["finish_reason"] == "stop"
    assert said[0] == said[1]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_an_adapter_is_not_merged(engine: str, run: Path) -> None:
    """只存了 LoRA 支路的运行，服务出来的不是底座加上支路。"""
    open_model = importlib.import_module(f"{'torch_llm' if engine == 'torch' else 'tinygrad_llm'}.serve").open_model
    base = load_checkpoint(run)
    rng, layer = np.random.default_rng(0), "h.0.attn.c_attn"
    out, inner = base.model[f"{layer}.weight"].shape
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, inner), (out, 2)))
    branches = {f"{layer}.lora_A": a, f"{layer}.lora_B": b}
    method = {"trained": {name: list(one.shape) for name, one in branches.items()}, "adapter": {"rank": 2, "alpha": 4}}
    source = {"run": str(run), "step": 0, "weights_sha256": weights_digest(base.model)}
    adapted, merged = run.parent / f"adapted-{engine}", run.parent / f"merged-{engine}"
    save_checkpoint(adapted, Checkpoint(0, branches, {}, {**base.state, "method": method, "source": source}))
    whole = {**base.model, f"{layer}.weight": base.model[f"{layer}.weight"] + 2 * b @ a}
    save_checkpoint(merged, Checkpoint(0, whole, {}, base.state))
    logits = []
    for folder in (run, adapted, merged):
        TOKENIZER.save(folder / "tokenizer.json")
        logits.append(open_model(folder, ServeConfig(model=("m",))).decoder.feed([(0, np.arange(5))]))
    np.testing.assert_allclose(logits[1], logits[2], rtol=1e-4, atol=1e-5)
    assert not np.allclose(logits[0], logits[1], atol=1e-3)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", ["README.md", "torch_llm/SERVING.md"])
def test_a_curl_command_of_the_documents_fails(page: str) -> None:
    """文档里的 curl 命令照抄下来不能用；换掉的只有端口。"""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("curl http://127.0.0.1:8000/")]
    assert commands
    with running(Opener(), model=("smollm2",), max_tokens=40) as server:
        for command in commands:
            words = shlex.split(command.replace(":8000/", f":{server.port}/"))
            found = subprocess.run([*words, "-sS", "--fail"], capture_output=True, text=True, timeout=60)
            assert found.returncode == 0, command + found.stdout + found.stderr
            assert found.stdout


@pytest.mark.parametrize(
    "flags",
    [
        [], ["--model", "no-such-run"], ["--model", "a", "--model", "a"], ["--model", "a b"], ["--port", "70000"],
        ["--host", "8.8.8.8"], ["--slots", "0"], ["--model", "m=x", "--input-filter", "words:none"], ["--prot", "1"],
        ["--deadline-s", "nan"], ["--engine", "jax"], ["--max-tokens", "-1"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_not_explained(
    flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """写错的命令没有以 2 或 4 退出，说了不止三行，或没有说怎么办。"""
    import torch_llm.__main__ as program
    from tinygrad_llm.common import cli

    given = flags if "--model" in flags or not flags else ["--model", "m", *flags]
    code = cli.main(
        "python -m torch_llm", "", program.VERBS, ["serve", "--runs-dir", str(tmp_path), "--port", "0", *given]
    )
    told = capsys.readouterr().err
    assert code in (2, 4)
    assert len(told.strip().splitlines()) <= 3
    assert "fix:" in told
