"""文件里的内容永远不当作代码执行：各种会执行命令的内容喂给每一个读文件的函数，审计钩子一次也不许响。

流入：腌制的对象、源码、序列化的字节码，换着容器与文件名；流出：另一个进程里数出来的执行次数。
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import marshal
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MARKER = "payload-was-here"
WATCHED = ("os.", "subprocess.", "pickle.find_class", "marshal.", "ctypes.", "shutil.", "code.", "webbrowser.")
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv")
ACTIONS: list[tuple[Any, tuple[Any, ...]]] = [
    (os.system, (f"touch {MARKER}",)),
    (exec, (f"open({MARKER!r}, 'w')",)),
    (eval, (f"open({MARKER!r}, 'w')",)),
    (subprocess.getoutput, (f"touch {MARKER}",)),
    (os.mkdir, (MARKER,)),
]


class Payload:
    """腌制之后，解开就会执行 ``action``。"""

    def __init__(self, action: tuple[Any, tuple[Any, ...]]) -> None:
        self.action = action

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.action


def pickles() -> Iterator[bytes]:
    """每种动作、每种协议。"""
    for action in ACTIONS:
        for protocol in range(6):
            yield pickle.dumps(Payload(action), protocol)


def texts() -> Iterator[bytes]:
    """写成文字的：各种语言里「载入就执行」的写法。"""
    code = f"__import__('os').mkdir({MARKER!r})"
    yield code.encode()
    yield f"!!python/object/apply:os.mkdir [{MARKER}]\n".encode()
    yield f"x = {code}\n".encode()
    yield json.dumps({"__reduce__": ["os.mkdir", [MARKER]], "py/object": "os.mkdir", "py/reduce": [MARKER]}).encode()
    yield json.dumps({"step": code, "state": {"guard": code, "model": f"{{{{{code}}}}}"}}).encode()
    yield marshal.dumps(compile(code, MARKER, "eval"))


def contained(data: bytes) -> Iterator[bytes]:
    """同样的内容放进几种容器。"""
    yield data
    yield gzip.compress(data)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:  # torch.save 的样子
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3\n")
    yield archive.getvalue()
    header = json.dumps({"__metadata__": {"structure": data.decode("latin-1"), "format": "pt"}}).encode()
    yield len(header).to_bytes(8, "little") + header  # safetensors 的元数据
    array = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    yield array + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + data
    yield b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + data
    yield data + b"\n" + data
    yield b'{"step": 0}\n' + data.hex().encode() + b"\n"


def all_payloads() -> list[bytes]:
    """三百个以内的头三百个，够每种动作、协议与容器都轮到。"""
    found = [one for data in (*pickles(), *texts()) for one in contained(data)]
    return [*found, *(one[::-1] for one in found[: max(0, 300 - len(found))])]


def loaders() -> dict[str, Callable[[Path], object]]:
    """读文件的函数；参数是一个文件，或装着同一内容的文件夹。"""
    import tinygrad_llm as tg
    from tinygrad_llm.common import checkpoint, gguf, peak, runlog, safetensors, standing, summary, toml
    from tinygrad_llm.common.batches import open_store
    from tinygrad_llm.common.corpora import load_corpus
    from tinygrad_llm.common.session import load_trained
    from tinygrad_llm.common.tokenizers import load_tokenizer
    from tinygrad_llm.common.train_config import TrainConfig

    return {
        "checkpoint": lambda path: checkpoint.load_checkpoint(path.parent),
        "state": lambda path: checkpoint.read_state(path.parent),
        "trained": lambda path: load_trained(path.parent),
        "shards": lambda path: open_store(path.parent),
        "metrics": lambda path: runlog.read_metrics(path.parent),
        "samples": lambda path: runlog.read_samples(path.parent),
        "sessions": lambda path: runlog.read_sessions(path.parent),
        "summary": lambda path: summary.summarise(path.parent, []),
        "early stop": lambda path: standing.read_early_stop(path.parent),
        "peak": lambda path: peak._read(path),
        "safetensors": safetensors.read_safetensors,
        "gguf": gguf.read_gguf,
        "toml": lambda path: toml.read_toml(path, TrainConfig),
        "tokenizer": load_tokenizer,
        "tokenizer.tiktoken": load_tokenizer,
        "tokenizer.gguf": load_tokenizer,
        "vocab.bpe": load_tokenizer,
        "load": lambda path: tg.load(path),
        "corpus.txt": lambda path: load_corpus(str(path)),
        "corpus.jsonl": lambda path: load_corpus(str(path)),
        "corpus.gz": lambda path: load_corpus(str(path)),
        "npy": lambda path: np.load(path, allow_pickle=False),
    }


NAMES = (
    "MANIFEST.json", "state.json", "model.safetensors", "optim.safetensors", "latest", "best", "config.toml",
    "tokenizer.json", "metrics.jsonl", "samples.txt", "sessions.jsonl", "early_stop.json", "peak.json", "index.json",
)  # fmt: skip


def child(folder: str) -> None:
    """另一个进程里：先证明钩子会响，再把每个内容喂给每个函数；印出响了几次、试了几次。"""
    from tinygrad_llm.common.manifest import write_sealed

    os.chdir(folder)
    place, found, counting = Path("run"), list[str](), [False]
    place.mkdir()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not counting[0]:
            return
        is_code = event == "exec" and getattr(arguments[0], "co_filename", "") in ("<string>", MARKER)
        is_marker = event == "open" and MARKER in str(arguments[0])
        is_watched = event.startswith(WATCHED) and event not in HARMLESS
        if is_code or is_marker or is_watched:
            found.append(event)

    def attempt(action: Callable[[], object]) -> None:
        counting[0] = True
        with contextlib.suppress(Exception):
            action()
        counting[0] = False

    def feed() -> int:
        tried = 0
        for data in all_payloads():
            for name in NAMES:
                (place / name).write_bytes(data)
            sealed = place / "checkpoints" / "step_000001"
            sealed.mkdir(parents=True, exist_ok=True)
            for path in sealed.iterdir():
                path.unlink()
            write_sealed(sealed, {name: [data] for name in ("model.safetensors", "optim.safetensors", "state.json")})
            for name, load in loaders().items():
                path = place / (name if "." in name else "index.json")
                path.write_bytes(data)
                attempt(lambda load=load, path=path: load(path))  # type: ignore[misc]
                tried += 1
            (place / "latest").write_text("step_000001\n")
            attempt(lambda: loaders()["checkpoint"](place / "x"))
            tried += 1
        return tried

    sys.addaudithook(hook)
    feed()  # 头一遍把要用的模块都导入；导入本身会执行代码
    found.clear()
    rung = 0
    for data in pickles():
        attempt(lambda data=data: pickle.loads(data))  # type: ignore[misc]  # noqa: S301
        rung += bool(found)
        found.clear()
        with contextlib.suppress(OSError):
            Path(MARKER).rmdir()
        Path(MARKER).unlink(missing_ok=True) if Path(MARKER).is_file() else None
    tried = feed()
    print(json.dumps({"rung": rung, "found": found, "tried": tried, "marker": Path(MARKER).exists()}))


def run_child(folder: Path) -> dict[str, Any]:
    """跑 ``child``，读它印的结果。"""
    program = "import sys; from parity_tests.common.test_payloads import child; child(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="POSIX commands")
def test_file_is_executed(tmp_path: Path) -> None:
    """近三百个内容，喂给二十几个读文件的函数：一次也没有执行；而解开任何一个腌制的，钩子都会响。"""
    result = run_child(tmp_path)
    assert result["rung"] == len(list(pickles())), "the hook is deaf"
    assert len(all_payloads()) >= 280
    assert result["tried"] == len(all_payloads()) * (len(loaders()) + 1)
    assert (result["found"], result["marker"]) == ([], False)
