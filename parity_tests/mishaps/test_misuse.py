"""用户弄错的种种：退出码 2 或 4，至多三行，说出怎么办，运行文件夹里什么也不变。"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, PROGRAMS, Ended, Place, text_of
from tinygrad_llm.common.train_config import TORCH_ONLY

USAGE, DATA = 2, 4

Change = dict[str, Any]


def assert_refused(ended: Ended, code: int, *said: str) -> None:
    """命令被拒绝：退出码对，stderr 至多三行，有一行是办法，说到了该说的词，stdout 上什么也没有。"""
    lines = ended.err.splitlines()
    assert (ended.code, len(lines) <= 3, ended.out) == (code, True, ""), ended
    assert lines[0].startswith("error: ")
    assert lines[-1].startswith("  fix: "), ended.err
    for word in said:
        assert word in ended.err, ended.err


# ---- 设置 ----

SETTINGS: list[tuple[Change, tuple[str, ...]]] = [
    ({"vocab_size": 5000}, ("vocab_size 5000", "use vocab_size <= ")),
    ({"vocab_size": 256}, ("--vocab-size must be at least 257",)),
    ({"context": 100_000}, ("context 100000", "use context <= ")),
    ({"preset": "huge"}, ("unknown preset 'huge'", "toy-llama", "gpt2")),
    ({"n_head": 3}, ("n_head=3 does not divide n_embd=32",)),
    ({"n_kv_head": 3}, ("n_kv_head=3 does not divide n_head=2",)),
    ({"preset": "toy-llama", "n_embd": 30, "n_kv_head": 1}, ("even head size", "15")),
    ({"n_layer": 0}, ("n_layer must be a positive integer",)),
    ({"n_embd": -8}, ("n_embd must be a positive integer",)),
    ({"context": 0}, ("context must be a positive integer",)),
    ({"dropout": 1}, ("dropout must be in [0, 1)",)),
    ({"dropout": "nan"}, ("dropout must be in [0, 1)",)),
    ({"lr": -1}, ("--lr must be a finite number above 0, got -1.0",)),
    ({"lr": 0}, ("--lr must be a finite number above 0",)),
    ({"lr": "nan"}, ("--lr must be a finite number",)),
    ({"lr": "inf"}, ("--lr must be a finite number",)),
    ({"min_lr_ratio": 2}, ("--min-lr-ratio must be a finite number from 0 to 1",)),
    ({"warmup_steps": -1}, ("--warmup-steps must be at least 0",)),
    ({"weight_decay": -1}, ("--weight-decay",)),
    ({"beta1": 1}, ("--beta1 must be a finite number at least 0 and below 1",)),
    ({"beta2": -0.1}, ("--beta2",)),
    ({"eps": 0}, ("--eps must be a finite number above 0",)),
    ({"grad_clip": 0}, ("--grad-clip must be a finite number above 0",)),
    ({"val_fraction": 0}, ("--val-fraction",)),
    ({"val_fraction": 1}, ("--val-fraction",)),
    ({"steps": 0}, ("--steps must be at least 1, got 0",)),
    ({"stop_at": 0}, ("--stop-at must be at least 1",)),
    ({"batch_size": 0}, ("--batch-size must be at least 1",)),
    ({"accumulate": 0}, ("--accumulate must be at least 1",)),
    ({"accumulate": 3}, ("--accumulate 3 does not divide --batch-size 4",)),
    ({"eval_every": -1}, ("--eval-every must be at least 0",)),
    ({"save_every": -1}, ("--save-every must be at least 0",)),
    ({"keep": 0}, ("--keep must be at least 1",)),
    ({"seed": -1}, ("--seed must be at least 0",)),
    ({"seed": 2**64}, ("--seed must be at most",)),
    ({"dtype": "float16"}, ("float16", "--dtype", "float64")),
    ({"steps": "many"}, ("--steps", "many", "INT")),
    ({"steps": 1.5}, ("--steps", "1.5")),
    ({"n_layer": "two"}, ("give it as --n-layer INT",)),
    ({"stepz": 5}, ("--stepz", "did you mean --steps?")),
    ({"n-lay": 5}, ("did you mean --n-layer?",)),
    ({"run": "a/b"}, ("--run must be a plain folder name", "a/b")),
    ({"run": ""}, ("--run must be a plain folder name",)),
    ({"run": ".."}, ("--run must be a plain folder name",)),
    ({"lr": -1, "steps": 0, "seed": -2}, ("--lr", "--steps", "--seed")),
]


@pytest.mark.parametrize(("change", "said"), SETTINGS, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_wrong_setting_starts_a_run(place: Place, change: Change, said: tuple[str, ...]) -> None:
    """设置不对：一次说出全部的错，什么也不写。"""
    engine = ENGINES[len(str(change)) % 2]  # 校验在两个引擎之前，不必每一条都走两遍
    assert_refused(place.train(engine, "a", **change), USAGE, *said)
    assert place.contents() == {}


def test_stray_word_is_ignored(place: Place) -> None:
    """多出来的词不是 flag，也不猜它像哪个 flag。"""
    ended = place.call("numpy", "train", "extra", *place.flags("a", {}))
    assert_refused(ended, USAGE, "extra", "train --help")
    assert "did you mean" not in ended.err
    assert place.contents() == {}


TEXTS: dict[str, tuple[bytes | None, int, tuple[str, ...]]] = {
    "missing": (None, DATA, ("no such file", "corpus.txt")),
    "empty": (b"", DATA, ("is empty", "corpus.txt")),
    "blank": (b" \n\n ", DATA, ("is empty", "corpus.txt")),
    "not UTF-8": (b"abc \xff\xfe", DATA, ("not valid UTF-8 at byte offset 4", "convert the file to UTF-8")),
    "one character": (b"x", DATA, ("1 character",)),
    "one line": (b"hello world\n", USAGE, ("use vocab_size <= ",)),
}


@pytest.mark.parametrize("case", TEXTS)
def test_wrong_text_starts_a_run(place: Place, tmp_path: Path, case: str) -> None:
    """文本缺失、为空、编码不对、太短：说出是哪个文件，什么也不写。"""
    content, code, said = TEXTS[case]
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    assert_refused(place.train("numpy", "a", corpus=path), code, *said)
    assert place.contents() == {}


def test_unknown_corpus_name_is_a_traceback(place: Place, tmp_path: Path) -> None:
    """打错了语料名：列出有哪些。没有文本的文件夹：说出要放什么。"""
    assert_refused(place.train("torch", "a", corpus="python-doc"), USAGE, "python-doc", "python-docs")
    (tmp_path / "nothing").mkdir()
    assert_refused(place.train("torch", "a", corpus=tmp_path / "nothing"), DATA, "the folder has no .txt, .md")
    assert place.contents() == {}


CONFIGS = {
    "stepz = 3\n": ('unknown key "stepz"', 'did you mean "steps"?'),
    "steps = 'three'\n": ('"steps"', "an integer"),
    "steps = \n": ("config.toml",),
    "lr = -1.0\n": ("--lr must be a finite number above 0",),
}


@pytest.mark.parametrize("text", CONFIGS)
def test_wrong_config_file_starts_a_run(place: Place, tmp_path: Path, text: str) -> None:
    """配置文件里有不认识的键、类型不对的值、坏的语法：说出文件与键。"""
    path = tmp_path / "my-config.toml"
    path.write_text(text, encoding="utf-8")
    flags = [flag for flag in place.flags("a", {}) if not flag.startswith("--steps")]
    assert_refused(place.call("numpy", "train", "--config", str(path), *flags), USAGE, *CONFIGS[text][:1])
    assert_refused(place.call("numpy", "train", "--config", str(tmp_path / "no.toml"), *flags), USAGE, "no.toml")
    assert place.contents() == {}


# ---- 运行文件夹 ----


@pytest.mark.parametrize("engine", ENGINES)
def test_existing_run_is_overwritten(place: Place, engine: str) -> None:
    """同名的运行已在：拒绝，并说出 --resume；旧的一个字节也不变。"""
    assert place.train(engine, "a").code == 0
    before = place.contents()
    assert_refused(place.train(engine, "a"), USAGE, "already holds a run", "--resume")
    assert place.contents() == before


RESUMES: list[tuple[Change, int, tuple[str, ...]]] = [
    ({}, USAGE, ("nothing left to do", "12 steps", "raise --steps")),
    ({"stop_at": 6, "steps": 20}, USAGE, ("nothing left to do", "--stop-at 6", "raise --steps and --stop-at")),
    ({"steps": 20, "seed": 1}, USAGE, ("cannot change on resume: --seed",)),
    ({"steps": 20, "n_embd": 64}, USAGE, ("cannot change on resume: --n-embd",)),
    ({"steps": 20, "n_layer": 2, "batch_size": 8}, USAGE, ("--n-layer, --batch-size",)),
    ({"steps": 20, "dtype": "float64"}, USAGE, ("cannot change on resume: --dtype",)),
    ({"steps": 20, "vocab_size": 310}, USAGE, ("cannot change on resume: --vocab-size",)),
    ({"steps": 20, "corpus": "python-docs"}, USAGE, ("cannot change on resume: --corpus",)),
    ({"run": "nope"}, DATA, ("no run to resume", "nope", "drop --resume")),
]


@pytest.mark.parametrize(("change", "code", "said"), RESUMES, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_wrong_resume_touches_the_run(place: Place, change: Change, code: int, said: tuple[str, ...]) -> None:
    """续训一个不存在的、已做完的运行，或改了不许改的设置：拒绝，运行文件夹不变。"""
    assert place.train("numpy", "a").code == 0
    before = place.contents()
    assert_refused(place.resume("torch", "a", **change), code, *said)
    assert place.contents() == before


def test_wrong_runs_folder_is_a_traceback(place: Place, tmp_path: Path) -> None:
    """--runs-dir 是个文件：说出路径，什么也不写。"""
    (tmp_path / "file").write_text("x")
    assert_refused(place.train("numpy", "a", runs_dir=tmp_path / "file"), DATA, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "x"


# ---- 损坏 ----


def truncated(path: Path) -> None:
    """截去后一半。"""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """中间翻转一个比特。"""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def removed(path: Path) -> None:
    """删去。"""
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, flipped, removed])
@pytest.mark.parametrize("name", ["model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json"])
def test_damaged_checkpoint_is_used(place: Place, name: str, damage: Callable[[Path], None]) -> None:
    """检查点的任何一个文件截短、翻了一个比特或不见了：续训与生成都拒绝，说出是哪个文件。

    生成不读优化器的状态（只看它在不在、有多大），那里翻了一个比特，照样生成。
    """
    assert place.train("numpy", "a").code == 0
    path = place.runs / "a" / "checkpoints" / "step_000012" / name
    damage(path)
    before = place.contents()
    for engine in ENGINES:
        assert_refused(place.resume(engine, "a", steps=20), DATA, str(path))
        ended = place.generate(engine, "a")
        if (name, damage) == ("optim.safetensors", flipped):
            assert ended.code == 0
        else:
            assert_refused(ended, DATA, str(path))
    assert place.contents() == before


def test_advice_to_go_back_one_checkpoint_does_not_work(place: Place) -> None:
    """最新的检查点坏了、前一个完好：照着消息里的那条命令做，就能续训，结果与从未坏过的一样。"""
    assert place.train("numpy", "straight").code == 0
    assert place.train("numpy", "a", save_every=5).code == 0
    truncated(place.runs / "a" / "checkpoints" / "step_000012" / "model.safetensors")
    ended = place.resume("numpy", "a", steps=20)
    assert_refused(ended, DATA, "step_000010")
    command = ended.err.partition(": echo ")[2].split()
    assert command[1] == ">"
    Path(command[2]).write_text(f"{command[0]}\n")
    assert place.resume("numpy", "a").code == 0
    assert place.columns("a") == place.columns("straight")


def test_damaged_run_files_are_a_traceback(place: Place) -> None:
    """运行文件夹里别的文件坏了：同样说出是哪个文件。"""
    for name in ("config.toml", "tokenizer.json", "latest", "metrics.jsonl"):
        assert place.train("numpy", name[:3], stop_at=6).code == 0
        path = place.runs / name[:3] / name
        path.write_bytes(b"{]\xff\n")
        before = place.contents()
        ended = place.resume("torch", name[:3])
        assert_refused(ended, USAGE if name == "config.toml" else DATA, str(path))
        assert place.contents() == before


SWAPS: dict[str, tuple[Change, str]] = {
    "wider": ({"n_embd": 48}, "tensors do not fit the model"),
    "deeper": ({"n_layer": 2}, "tensors do not fit the model"),
    "another family": ({"preset": "toy-llama", "n_kv_head": 1}, "tensors do not fit the model"),
    "more heads, same shapes": ({"n_head": 4}, "another run's"),
    "another dtype": ({"dtype": "float64"}, "another run's"),
}


@pytest.mark.parametrize("case", SWAPS)
def test_checkpoint_of_another_run_is_used(place: Place, case: str) -> None:
    """换上另一个模型的检查点：形状、头数或类型不同，续训拒绝。"""
    change, said = SWAPS[case]
    assert place.train("numpy", "a", stop_at=6).code == 0
    assert place.train("torch", "b", stop_at=6, **change).code == 0
    shutil.rmtree(place.runs / "a" / "checkpoints")
    shutil.copytree(place.runs / "b" / "checkpoints", place.runs / "a" / "checkpoints")
    before = place.contents()
    for engine in ENGINES:
        assert_refused(place.resume(engine, "a"), DATA, said, "checkpoints/step_000006")
    assert place.contents() == before


@pytest.mark.parametrize("vocab_size", [300, 290])
def test_tokenizer_of_another_run_is_used(place: Place, tmp_path: Path, vocab_size: int) -> None:
    """换上另一次训练的分词器，大小相同的也不行：续训与生成都拒绝。"""
    other = tmp_path / "other.txt"
    other.write_text(text_of(150).upper(), encoding="utf-8")
    assert place.train("numpy", "a", stop_at=6).code == 0
    assert place.train("numpy", "b", stop_at=6, corpus=other, vocab_size=vocab_size).code == 0
    shutil.copy(place.runs / "b" / "tokenizer.json", place.runs / "a" / "tokenizer.json")
    before = place.contents()
    for engine in ENGINES:
        for ended in (place.resume(engine, "a"), place.generate(engine, "a")):
            assert_refused(ended, DATA, "the tokenizer is not the one", "tokenizer.json")
    assert place.contents() == before


# ---- 生成 ----

GENERATIONS: list[tuple[Change, int, tuple[str, ...]]] = [
    ({"run": "nope"}, DATA, ("no such run", "nope")),
    ({"temperature": -1}, USAGE, ("--temperature", "got -1.0")),
    ({"temperature": "nan"}, USAGE, ("--temperature", "nan")),
    ({"temperature": "inf"}, USAGE, ("--temperature", "inf")),
    ({"top_k": 0}, USAGE, ("--top-k must be at least 1",)),
    ({"top_p": 0}, USAGE, ("--top-p must be above 0",)),
    ({"top_p": 1.5}, USAGE, ("--top-p", "at most 1")),
    ({"top_p": "nan"}, USAGE, ("--top-p",)),
    ({"tokens": 0}, USAGE, ("--tokens must be at least 1",)),
    ({"seed": -1}, USAGE, ("--seed",)),
    ({"seed": 2**64}, USAGE, ("--seed",)),
    ({"tokens": 0, "top_k": -3, "temperature": -2}, USAGE, ("--tokens", "--top-k", "--temperature")),
]


def test_wrong_generation_prints_half_a_text(place: Place) -> None:
    """生成的参数不对：在打印开头之前就拒绝。"""
    assert place.train("numpy", "a", steps=2).code == 0
    before = place.contents()
    for number, (change, code, said) in enumerate(GENERATIONS):
        ended = place.generate(ENGINES[number % 2], "a", **{"prompt": "hello", **change})
        assert_refused(ended, code, *said)
    assert place.contents() == before


def test_run_without_a_checkpoint_generates(place: Place) -> None:
    """有文件夹而没有检查点：说出缺什么。"""
    (place.runs / "a").mkdir(parents=True)
    assert_refused(place.generate("numpy", "a"), DATA, "no checkpoint here", str(place.runs / "a"))


# ---- 帮助 ----


@pytest.mark.parametrize(("engine", "verb"), [("numpy", "train"), ("torch", "pretrain"), ("numpy", "generate")])
def test_help_hides_a_flag(place: Place, engine: str, verb: str) -> None:
    """每个 flag 各占一行，右边就是说明；不出现 Python 的写法。"""
    ended = place.call(engine, verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    flags = [i for i, line in enumerate(lines) if line.startswith("  --")]
    assert len(flags) > 5
    for i in flags:  # 很长的 flag，说明从下一行起
        assert "  " in lines[i].strip() or lines[i + 1].startswith(" " * 20), f"no text beside {lines[i]!r}"
    assert "{None}" not in ended.out
    assert "``" not in ended.out


def _flags(help_text: str) -> dict[str, str]:
    """flag 的名字到它的帮助；折行的地方随列宽而变，空白不算。"""
    parts = re.split(r"\n  --", help_text)[1:]
    return {re.split(r"[ ,]", part)[0]: "".join(part.split()) for part in parts}


def test_flags_of_the_engines_differ(place: Place) -> None:
    """NumPy 的训练命令有 torch 不认识的 flag，或同一个 flag 的帮助不同；torch 多出来的只能是设备与精度那几个。"""
    texts = [place.call(engine, verb, "--help").out for engine, verb in (("numpy", "train"), ("torch", "pretrain"))]
    ours, theirs = (_flags(text) for text in texts)
    assert ours.items() <= theirs.items()
    assert {name.replace("-", "_") for name in set(theirs) - set(ours)} == set(TORCH_ONLY)


def test_verbs_need_the_other_engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有 torch 也能在 NumPy 上训练与生成，主线则说出要装什么。"""
    for name in [name for name in sys.modules if name == "torch" or name.startswith(("torch.", "torch_llm."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert place.train("numpy", "a", steps=2).code == 0
    assert place.generate("numpy", "a", tokens=2).code == 0
    before = place.contents()
    assert_refused(place.call("numpy", "quickstart", f"--runs-dir={place.runs}"), USAGE, "torch", "pip install torch")
    assert place.contents() == before


def test_state_of_the_checkpoint_is_unreadable(place: Place) -> None:
    """检查点的 state.json 里写着引擎、步数、设置与版本，人也读得懂。"""
    assert place.train("torch", "a").code == 0
    path = place.runs / "a" / "checkpoints" / "step_000012" / "state.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved["step"] == saved["state"]["data_step"] == saved["state"]["optimizer_step"] == 12
    assert saved["state"]["engine"] == "torch"
    assert saved["state"]["settings"]["seed"] == 0
    assert {"python", "numpy"} <= saved["state"]["versions"].keys()


def test_programs_have_names(place: Place) -> None:
    """不给动词、给错动词：列出动词；--help 打印动词与各一句说明。"""
    for engine in ENGINES:
        assert_refused(place.call(engine), USAGE, "no verb", "generate", f"{PROGRAMS[engine]} --help")
        assert_refused(place.call(engine, "generat"), USAGE, 'did you mean "generate"?')
        ended = place.call(engine, "--help")
        assert ended.code == 0
        assert "generate" in ended.out


def test_numpy_trains_under_torchrun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun 起了几个进程：NumPy 引擎拒绝，不让它们都写同一个文件夹。"""
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    ended = place.train("numpy", "a")
    assert_refused(ended, USAGE, "does not train under torchrun", "--workers")
    assert not (place.runs / "a").exists()
