"""所有测试共用的设定：hypothesis 的三档配置、线程数、打乱的次序、grad mode 泄漏检查。

流入：环境变量 ``HYPOTHESIS_PROFILE``（quick、ci 或 full，默认 quick）与两个选项；流出：配置好的测试进程。
这里不导入 numpy 与 torch：收集测试要快，线程数也要赶在它们加载之前定下来。
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

pytest_plugins = ["parity_tests.browser"]

# 测试由 xdist 分到多个进程；每个进程再开多线程只会互相争抢 CPU 核。
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# hypothesis 即使不开数据库也会缓存一些常量，默认写进当前目录。
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "zero-one-llm-hypothesis"))

_SLOW_INPUT = [HealthCheck.too_slow, HealthCheck.data_too_large]
# quick 与 ci 每次都走同样的例子（derandomize），full 才随机探索，并打印可重放的失败例子。
settings.register_profile("quick", max_examples=25, derandomize=True, database=None, deadline=None)
settings.register_profile("ci", settings.get_profile("quick"), max_examples=50, print_blob=True)
settings.register_profile(
    "full", max_examples=300, database=None, deadline=None, print_blob=True, suppress_health_check=_SLOW_INPUT
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(PROFILE)


def _nothing_is_local(path: str) -> bool:
    return False


# hypothesis 从至今加载过的模块里收集常数，掺进例子：同一条测试的例子于是随谁先被导入而变，单独跑与一起跑不是同一组。
# 它没有为此留下开关；要次次相同的两档不让它收集，full 照旧。
if settings().derandomize and hasattr(providers, "is_local_module_file"):
    providers.is_local_module_file = _nothing_is_local


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--composed``：关掉融合算子，同样的测试再走一遍由普通算子写成的对照；``--shuffle``：打乱次序。"""
    parser.addoption("--composed", action="store_true", help="run the NumPy engine without its fused ops")
    parser.addoption("--shuffle", nargs="?", const="random", help="run the tests in random order [from this seed]")


def pytest_configure(config: pytest.Config) -> None:
    """没有给种子就抽一个；要赶在 xdist 把选项抄给各个进程之前，它们收集的次序必须相同。"""
    if config.option.shuffle == "random":
        config.option.shuffle = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> str | None:
    """打印种子：``--shuffle=SEED`` 重放同一个次序。"""
    return f"shuffled: --shuffle={config.option.shuffle}" if config.option.shuffle else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """打乱文件的次序与每个文件里测试的次序；一个文件里的仍在一起，它们共用的东西只造一次。"""
    if not config.option.shuffle:
        return
    order = random.Random(config.option.shuffle)
    files = [list(group) for _, group in itertools.groupby(items, lambda item: item.path)]
    order.shuffle(files)
    for file in files:
        order.shuffle(file)
    items[:] = [item for file in files for item in file]


def pytest_collection_finish() -> None:
    """有的库一经导入就换掉整个进程的 profile：此后收集的每条性质，例子的个数与种子都成了它的。"""
    if settings.default != settings.get_profile(PROFILE):
        raise pytest.UsageError(f"a test module or its imports replaced the hypothesis profile: {settings.default}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """``-q`` 不印页眉：失败时在末尾再说一遍种子。"""
    if config.option.shuffle and terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"again in the same order: --shuffle={config.option.shuffle}")


@pytest.fixture
def young_heap() -> Iterator[None]:
    """此前的对象都放到回收器看不见的地方：``gc.collect()`` 只查测试里新造的，不必每次扫遍整个进程。"""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _without_fused_ops(request: pytest.FixtureRequest) -> Iterator[None]:
    """有 ``--composed`` 时，整条测试都在 ``composed_ops`` 之内；标着 ``fused`` 的测的正是快路，跳过。"""
    if not request.config.getoption("composed"):
        yield
        return
    if request.node.get_closest_marker("fused"):
        pytest.skip("it tests the fused ops, and --composed turns them off")
    from tinygrad_llm.autograd import composed_ops

    with composed_ops():
        yield


@pytest.fixture(autouse=True)
def _grad_mode_does_not_leak() -> Iterator[None]:
    """测试结束后梯度模式必须仍是打开的：泄漏的 ``no_grad`` 会让后面的测试悄悄失去梯度。"""
    yield
    # 没有被导入过的包不可能泄漏状态，因此不必为检查而导入它。
    engine = sys.modules.get("tinygrad_llm")
    if engine is not None and hasattr(engine, "is_grad_enabled") and not engine.is_grad_enabled():
        engine.set_grad_enabled(True)
        pytest.fail("the test left tinygrad_llm with gradients disabled")


@pytest.fixture(autouse=True)
def _profile_does_not_leak() -> Iterator[None]:
    """测试里才导入的库换掉了 hypothesis 的 profile：后面的测试走的例子就不是说好的那些。"""
    yield
    if settings.default != settings.get_profile(PROFILE):
        settings.load_profile(PROFILE)
        pytest.fail("the test replaced the hypothesis profile")


@pytest.fixture(autouse=True)
def _extras_do_not_leak() -> Iterator[None]:
    """用过复数或 16 位浮点的进程不再走近路；测试之间还原，后面的测试才照旧测得到近路。"""
    yield
    module = sys.modules.get("tinygrad_llm.ops.bfloat16")
    if module is not None:
        module.extras.forget()


@pytest.fixture(autouse=True)
def _curves_are_not_drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """训练报告里的曲线只留图题：画一份报告要一秒，几步就走完的运行大多的时间花在这里。标着 ``drawn`` 的真画。"""
    report = sys.modules.get("tinygrad_llm.common.report")
    if report is None or request.node.get_closest_marker("drawn"):
        return

    def captioned(series: object, *, title: str, **axes: object) -> str:
        return f'<figure class="chart"><figcaption>{title}</figcaption></figure>'

    drawn = report._training_charts

    def undrawn(metrics: object) -> object:
        with mock.patch.object(report, "line_chart", captioned):
            return drawn(metrics)

    monkeypatch.setattr(report, "_training_charts", undrawn)
