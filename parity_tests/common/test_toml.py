"""配置与 TOML 互译的测试：写出再读回必须相等，写错的文件必须点名文件与键。"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.toml import dump_toml, load_toml


@dataclass(frozen=True)
class Model:
    """嵌套的配置。"""

    n_layer: int = 2
    kind: Literal["gpt2", "llama"] = "gpt2"
    n_kv_head: int | None = None


@dataclass(frozen=True)
class Config:
    """覆盖全部可写类型的配置。"""

    name: str = "run"
    steps: int = 10
    lr: float = 1e-3
    resume: bool = False
    out: Path = Path("runs")
    seed: int | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    ids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    model: Model = field(default_factory=lambda: Model(n_layer=6))


@dataclass(frozen=True)
class Required:
    """带必填字段的配置。"""

    corpus: str
    steps: int = 1


FINITE = st.floats(allow_nan=False)
CONFIGS = st.builds(
    Config,
    name=st.text(),
    steps=st.integers(),
    lr=FINITE,
    resume=st.booleans(),
    out=st.text("abc/中 文\"'\\", min_size=1).map(Path),
    seed=st.none() | st.integers(),
    betas=st.tuples(FINITE, FINITE),
    ids=st.lists(st.integers()).map(tuple),
    names=st.lists(st.text()).map(tuple),
    model=st.builds(Model, st.integers(), st.sampled_from(["gpt2", "llama"]), st.none() | st.integers()),
)


def written(tmp_path: Path, text: str) -> Path:
    """把文本写进临时的配置文件。"""
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


@given(config=CONFIGS)
def test_dumped_config_reads_back_equal(config: Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """任意配置写成 TOML 再读回，与原来相等。"""
    path = tmp_path_factory.getbasetemp() / "round_trip.toml"
    path.write_bytes(dump_toml(config).encode("utf-8"))
    assert load_toml(path, Config) == config


def test_infinity_and_nan_survive_the_round_trip(tmp_path: Path) -> None:
    """非有限的浮点数也有 TOML 写法。"""
    config = load_toml(written(tmp_path, dump_toml(Config(lr=math.inf, betas=(-math.inf, math.nan)))), Config)
    assert config.lr == math.inf
    assert config.betas[0] == -math.inf
    assert math.isnan(config.betas[1])


def test_missing_keys_keep_the_default_of_the_outer_field(tmp_path: Path) -> None:
    """嵌套表里没写的键，默认值取外层字段给的实例，而不是内层类的默认值。"""
    assert load_toml(written(tmp_path, '[model]\nkind = "llama"\n'), Config).model == Model(n_layer=6, kind="llama")


def test_integer_is_accepted_where_a_float_is_expected(tmp_path: Path) -> None:
    """``lr = 1`` 读成浮点数 1.0。"""
    value = load_toml(written(tmp_path, "lr = 1\n"), Config).lr
    assert type(value) is float


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stesp = 3\n", ['unknown key "stesp"', 'did you mean "steps"?']),
        ("[model]\nn_layr = 3\n", ['unknown key "model.n_layr"', 'did you mean "model.n_layer"?']),
        ('steps = "3"\n', ['"steps"', "an integer", "str '3'"]),
        ("steps = true\n", ['"steps"', "an integer", "bool True"]),
        ("steps = 1.0\n", ['"steps"', "an integer"]),
        ("resume = 1\n", ['"resume"', "true or false"]),
        ("betas = [0.9]\n", ['"betas"', "an array of a number"]),
        ('ids = ["a"]\n', ['"ids"', "an array of an integer"]),
        ('seed = "x"\n', ['"seed"', "an integer"]),
        ("model = 3\n", ['"model"', "a table"]),
        ("[steps]\n", ['"steps"', "an integer"]),
        ('[model]\nkind = "bert"\n', ['"model.kind"', "'gpt2', 'llama'"]),
        ("name = \n", ["not valid TOML", "line 1"]),
        ("steps = 1\nsteps = 2\n", ["not valid TOML", "line 2"]),
        ("name = " + "[" * 20_000, [""]),
    ],
)
def test_wrong_file_is_not_named_with_its_key(tmp_path: Path, text: str, expected: list[str]) -> None:
    """每一种写错都点名文件与键，且不超过三行。"""
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_toml(path, Config)
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    assert str(path) in message
    for fragment in expected:
        assert fragment in message


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """不是 UTF-8 的文件报用户错误，而不是 UnicodeDecodeError。"""
    path = tmp_path / "config.toml"
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(UserError, match="not valid TOML"):
        load_toml(path, Config)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_unreadable_file_is_a_user_error(tmp_path: Path, name: str) -> None:
    """文件不存在或是个目录，都报用户错误。"""
    with pytest.raises(UserError, match="cannot read the config file"):
        load_toml(tmp_path / name, Config)


def test_missing_required_key_is_named(tmp_path: Path) -> None:
    """缺少必填的键时点名它。"""
    with pytest.raises(UserError, match="lacks corpus"):
        load_toml(written(tmp_path, "steps = 2\n"), Required)


@dataclass(frozen=True)
class Unwritable:
    """写不进 TOML 的配置：可以为空，默认值却不是空。"""

    seed: int | None = 0
    table: object = None


@dataclass(frozen=True)
class Grouped:
    """外层字段的默认实例里，``n_kv_head`` 不为空。"""

    model: Model = field(default_factory=lambda: Model(n_kv_head=3))


@pytest.mark.parametrize(
    "config", [Unwritable(seed=None), Unwritable(table={"a": 1}), Grouped(model=Model(n_kv_head=None))]
)
def test_value_that_would_not_read_back_is_written(config: object) -> None:
    """读回来会变样的值拒绝写出，不悄悄丢失。"""
    with pytest.raises(TypeError):
        dump_toml(config)


def test_text_that_is_not_unicode_is_a_user_error() -> None:
    """孤立的代理项（来自不合法的文件名）写不成 UTF-8，报用户错误。"""
    with pytest.raises(UserError, match="not valid Unicode"):
        dump_toml(Config(name="\udcff"))
