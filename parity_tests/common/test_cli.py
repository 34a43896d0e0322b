"""命令行的测试：帮助要快，写错了至多三行且说出怎么改，TOML 与 flag 的先后不能颠倒。"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinygrad_llm.common.cli import Verb, main, parse
from tinygrad_llm.common.errors import CheckpointError, UserError

PROG = "prog"


@dataclass(frozen=True)
class Model:
    """模型的形状。"""

    n_layer: int = 2
    """层数。"""


@dataclass(frozen=True)
class Train:
    """训练一个模型。"""

    corpus: str
    """语料的路径，可以是 txt、jsonl 或 parquet 文件；也可以写 python-docs，那是每个 CPython 自带的语言参考手册。"""
    learning_rate: float = 1e-3
    """学习率。"""
    betas: tuple[float, float] = (0.9, 0.95)
    resume: bool = False
    model: Model = field(default_factory=lambda: Model(n_layer=6))

    def __post_init__(self) -> None:
        """校验。"""
        if self.learning_rate <= 0:
            raise UserError("learning_rate must be positive", where="--learning-rate", fix="try 1e-3")


calls: list[Train] = []


def train(config: Train) -> None:
    """记下收到的配置。"""
    calls.append(config)


def raising(error: BaseException) -> Callable[[Train], None]:
    """造一个抛出指定异常的动词。"""

    def verb(config: Train) -> None:
        raise error

    return verb


def broken(config: Train) -> None:
    """程序的缺陷。"""
    raise ZeroDivisionError


def bad_checkpoint(config: Train) -> None:
    """用户的错误，退出码 4。"""
    raise CheckpointError("checkpoint is truncated", where="model.safetensors", fix="use another")


def interrupted(config: Train) -> None:
    """用户按了 Ctrl-C。"""
    raise KeyboardInterrupt


VERBS = {
    name: Verb(f"{__name__}:{function}", f"{name} something")
    for name, function in [
        ("train", "train"),
        ("generate", "train"),
        ("broken", "broken"),
        ("bad", "bad_checkpoint"),
        ("stop", "interrupted"),
        ("missing", "no_such_function"),
    ]
}


def run(*argv: str) -> int:
    """在本进程里运行命令行。"""
    calls.clear()
    return main(PROG, "一个程序", VERBS, argv)


def test_flags_reach_the_verb() -> None:
    """下划线与短横两种写法都认；嵌套的字段用点号。"""
    assert run("train", "--corpus", "a b", "--learning_rate", "0.5", "--model.n-layer", "3", "--resume") == 0
    assert calls == [Train("a b", 0.5, resume=True, model=Model(3))]


def test_flag_overrides_the_file_and_the_file_overrides_the_default(tmp_path: Path) -> None:
    """取值的先后：flag、文件、默认值。"""
    path = tmp_path / "c.toml"
    path.write_text('corpus = "file"\nlearning_rate = 0.25\nresume = true\n[model]\nn_layer = 9\n')
    assert run("train", f"--config={path}", "--learning-rate", "0.5", "--no-resume") == 0
    assert calls == [Train("file", 0.5, model=Model(9))]


def test_flag_can_correct_an_invalid_value_in_the_file(tmp_path: Path) -> None:
    """文件里的坏值被 flag 改正后，不应再报错；没改正则报错。"""
    path = tmp_path / "c.toml"
    path.write_text('corpus = "file"\nlearning_rate = -1.0\n')
    assert run("train", "--config", str(path), "--learning-rate", "1") == 0
    assert run("train", "--config", str(path)) == 2


def test_nested_defaults_of_the_outer_field_survive_a_config_file(tmp_path: Path) -> None:
    """给了配置文件，也不丢外层字段给嵌套配置的默认值。"""
    path = tmp_path / "c.toml"
    path.write_text("resume = true\n")
    assert parse(Train, ["--config", str(path), "--corpus", "x"], PROG).model == Model(6)


MISUSES: list[tuple[list[str], list[str]]] = [
    ([], ["no verb", "train, generate"]),
    (["trian"], ['unknown verb "trian"', 'did you mean "train"?']),
    (["zzz"], ["unknown verb", "train, generate"]),
    (["--corpus", "x"], ["unknown verb", "prog --help"]),
    (["train"], ["missing required --corpus STR"]),
    (["train", "--corpus"], ["--corpus", "Expected 1 values"]),
    (["train", "--corpus", "x", "--learning-rat", "3"], ["--learning-rat", "did you mean --learning-rate?"]),
    (["train", "--corpus", "x", "--learning_rat=3"], ["did you mean --learning-rate?"]),
    (["train", "--corpus", "x", "--model.n-layr=3"], ["did you mean --model.n-layer?"]),
    (["train", "--corpus", "x", "--learning-rate", "fast"], ["'fast'", "--learning-rate FLOAT"]),
    (["train", "--corpus", "x", "--learning-rate", "0"], ["must be positive", "at: --learning-rate", "try 1e-3"]),
    (["train", "--corpus", "x", "--betas", "1"], ["--betas", "Expected 2 values"]),
    (["train", "--corpus", "x", "--betas", "1", "2", "3"], ["3"]),
    (["train", "--corpus", "x", "stray"], ["stray"]),
    (["train", "--corpus", "x", "--model.n-layer", "2.5"], ["'2.5'", "--model.n-layer INT"]),
    (["train", "--corpus", "x", "--resume", "True"], ["True"]),
    (["train", "--corpus", "x", "--bad\nnew\nlines"], ["prog train --help"]),
    (["train", "--corpus", "x", "y" * 5000], ["prog train --help"]),
    (["train", "--config"], ["--config takes one file"]),
    (["train", "--config", "a", "--config", "b"], ["--config takes one file"]),
    (["train", "--config", "/no/such.toml"], ["/no/such.toml", "No such file"]),
]


@pytest.mark.parametrize(("argv", "expected"), MISUSES)
def test_misuse_prints_more_than_three_lines_or_no_fix(
    argv: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """写错的命令：退出码 2，至多三行，说出怎么改，stdout 干净。"""
    assert run(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "  fix: " in err
    assert len(err.splitlines()) <= 3
    assert max(map(len, err.splitlines())) < 400
    for fragment in expected:
        assert fragment in err
    assert not calls


def test_unknown_key_in_the_file_names_file_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """配置文件的错也走同一条路。"""
    path = tmp_path / "c.toml"
    path.write_text("lerning_rate = 1\n")
    assert run("train", "--config", str(path)) == 2
    err = capsys.readouterr().err
    assert str(path) in err
    assert 'did you mean "learning_rate"?' in err


def test_user_error_keeps_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """动词里抛出的用户错误：三行消息，退出码由错误决定。"""
    assert run("bad", "--corpus", "x") == 4
    assert capsys.readouterr().err == "error: checkpoint is truncated\n   at: model.safetensors\n  fix: use another\n"


def test_keyboard_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C 只留一行，退出码 130。"""
    assert run("stop", "--corpus", "x") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_defects_keep_their_traceback() -> None:
    """程序自身的缺陷不能被当成用户的错误吞掉。"""
    with pytest.raises(ZeroDivisionError):
        run("broken", "--corpus", "x")
    with pytest.raises(AttributeError):
        run("missing")


def test_help_lists_every_verb_and_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """程序与动词的帮助都走 stdout，退出码 0，列全。"""
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in VERBS)
    assert run("train", "--help") == 0
    out, err = capsys.readouterr()
    for fragment in [
        "--config FILE",
        "--corpus STR",
        "--learning-rate FLOAT",
        "学习率。",
        "--model.n-layer INT",
        "模型的形状。",
    ]:
        assert fragment in out
    assert not set("╭│╰─") & set(out)
    assert err == ""


def test_help_shows_the_values_of_the_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--config F --help`` 显示的默认值是文件里的。"""
    path = tmp_path / "c.toml"
    path.write_text("learning_rate = 0.125\n")
    assert run("train", "--config", str(path), "--help") == 0
    assert "(default: 0.125)" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["20", "200", None])
def test_errors_do_not_depend_on_the_terminal_width(
    columns: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """终端再窄，消息也不折行；环境变量用完复原。"""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert run("train", "--corpus", "x", "--learning-rate", "fast") == 2
    assert "could not convert string to float: 'fast'" in capsys.readouterr().err
    assert os.environ.get("COLUMNS") == columns


# ---- 真正的进程 ----

PROGRAM = """
import sys
from tinygrad_llm.common.cli import Verb, main
verbs = {"spam": Verb("spam_verb:spam", "print a lot"), "never": Verb("no_such_module:run", "must not be imported")}
sys.exit(main("prog", "程序", verbs))
"""
VERB_MODULE = '''
from dataclasses import dataclass
@dataclass(frozen=True)
class Spam:
    """打印很多行。"""
    lines: int = 100000
    """行数。"""
def spam(config: Spam) -> None:
    for i in range(config.lines):
        print(i)
'''


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """一个能在子进程里运行的小程序。"""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "spam_verb.py").write_text(VERB_MODULE, encoding="utf-8")
    return [sys.executable, str(tmp_path / "program.py")]


def environment(**extra: str) -> dict[str, str]:
    """子进程的环境变量：能导入本仓库。"""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **extra}


@pytest.mark.parametrize("argv", [["--help"], ["spam", "--help"]])
def test_help_imports_what_was_not_asked_for(program: list[str], argv: list[str]) -> None:
    """帮助导入了没点到的动词（它的模块并不存在），或写了别的话。"""
    result = subprocess.run([*program, *argv], capture_output=True, check=True, env=environment())
    assert result.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell pipe")
def test_closed_pipe_prints_a_traceback(program: list[str]) -> None:
    """``prog spam | head`` 不应留下 BrokenPipeError 的 traceback。"""
    with subprocess.Popen(
        [*program, "spam"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_ascii_terminal_crashes_the_chinese_help(program: list[str]) -> None:
    """终端的编码写不出中文时，帮助退化成转义，而不是 UnicodeEncodeError。"""
    result = subprocess.run(
        [*program, "spam", "--help"], capture_output=True, env=environment(PYTHONIOENCODING="ascii"), check=False
    )
    assert result.returncode == 0
    assert b"--lines INT" in result.stdout
    assert result.stderr == b""
