"""引擎四周的名字：设备、``cuda``、``distributed``、``compile`` 之类。

训练脚本问有没有 GPU、有几个进程，答案须与 torch 的 CPU 版相同；要不存在的东西干活，须当场说清楚该改用什么。
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed
import torch.jit
import torch.nn.parallel

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same_error, table
from parity_tests.house.repo import ROOT
from tinygrad_llm import settings
from tinygrad_llm.ops import cores


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    """缺省的设定，前后各恢复一次：别处的程序照 GPU 的习惯改过其中几个。"""
    threads = settings._threads.copy()
    _reset()
    yield
    settings._threads.clear()
    settings._threads.update(threads)
    _reset()


def _reset() -> None:
    for m in ENGINES:
        m.set_default_device(None)
        m.set_float32_matmul_precision("highest")
        m.use_deterministic_algorithms(False)


# ---- 设备


def _inside(m: Any) -> Any:
    with m.device("cpu:2") as outer, m.device("cpu"):
        return m.get_default_device(), outer


def _chosen(m: Any) -> Any:
    m.set_default_device("cpu:1")
    return m.get_default_device(), _inside(m)


DEVICES: dict[str, Callable[[Any], Any]] = {
    "name": lambda m: m.device("cpu"),
    "name with an index": lambda m: m.device("cpu:3"),
    "name and index": lambda m: m.device("cpu", 0),
    "keywords": lambda m: m.device(type="cpu", index=1),
    "keyword device": lambda m: m.device(device="cpu"),
    "another device": lambda m: m.device(m.device("cpu:1")),
    "text": lambda m: (str(m.device("cpu")), str(m.device("cpu:1")), f"{m.device('cpu')}"),
    "parts": lambda m: [(d.type, d.index) for d in (m.device("cpu"), m.device("cpu:1"))],
    "equal": lambda m: (m.device("cpu") == m.device("cpu"), m.device("cpu", 0) == m.device("cpu:0")),
    "unequal": lambda m: (m.device("cpu") == m.device("cpu:0"), m.device("cpu") == "cpu", m.device("cpu") != "cpu"),
    "hash": lambda m: len({m.device("cpu"), m.device("cpu"), m.device("cpu:0")}),
    "deepcopy": lambda m: copy.deepcopy(m.device("cpu:1")),
    "of a tensor": lambda m: (m.zeros(1, device=m.device("cpu", 3)).device, m.ones(1).to("cpu:0").device),
    "default": lambda m: m.get_default_device(),
    "in a with block": _inside,
    "chosen default": _chosen,
}
NOT_DEVICES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda m: m.device(),
    "none": lambda m: m.device(None),
    "empty": lambda m: m.device(""),
    "unknown": lambda m: m.device("gpu"),
    "upper case": lambda m: m.device("CPU"),
    "negative index": lambda m: m.device("cpu", -1),
    "negative index in the name": lambda m: m.device("cpu:-1"),
    "padded index": lambda m: m.device("cpu:01"),
    "index that is a letter": lambda m: m.device("cpu:a"),
    "two indices": lambda m: m.device("cpu:0", 0),
    "index that is a bool": lambda m: m.device("cpu", True),
    "index that is a float": lambda m: m.device("cpu", 1.0),
    "index of a device": lambda m: m.device(m.device("cpu"), 0),
    "tensor on a wrong device": lambda m: m.zeros(1, device="gpu"),
}
ON_CPU_BUILDS: dict[str, Callable[[Any], Any]] = {"accelerator by number": lambda m: m.device(0)}
"""torch 的 CUDA 版另有答案的。"""
_cpu_build = pytest.mark.skipif(
    torch.version.cuda is not None or torch.backends.mps.is_built(), reason="compares with the CPU build of torch"
)


@pytest.mark.parametrize("build", table(DEVICES))
def test_a_device_is_not_torchs(build: Callable[[Any], Any]) -> None:
    """``device`` 的构造、打印、比较，或缺省设备与 torch 不同。"""
    assert repr(build(tg)) == repr(build(torch))


@pytest.mark.parametrize("build", [*table(NOT_DEVICES), *table(ON_CPU_BUILDS, _cpu_build)])
def test_a_wrong_device_is_accepted(build: Callable[[Any], Any]) -> None:
    """torch 不认的写法，我们接受了，或抛出了另一类错误。"""
    same_error(build)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu"])
def test_an_absent_device_is_accepted(name: str) -> None:
    """用到 CPU 以外的设备没有报错，或没说该用 torch_llm。"""
    for use in (lambda d: tg.ones(1, device=d), lambda d: tg.ones(1).to(d), lambda d: tg.nn.Linear(1, 1).to(d)):
        with pytest.raises(RuntimeError, match=r"runs on the CPU only.*torch_llm"):
            use(name)


# ---- 与 torch 的 CPU 版给出同样的回答


def _seeds(m: Any) -> Any:
    m.manual_seed(0)
    for namespace in (m.cuda, m.mps, m.xpu):
        namespace.manual_seed(1)
    for namespace in (m.cuda, m.xpu):
        namespace.manual_seed_all(1)
        namespace.empty_cache()
    m.cuda.seed()
    m.cuda.seed_all()
    m.cuda.set_rng_state_all(m.cuda.get_rng_state_all())
    return m.rand(1).item()


def _flags(m: Any) -> Any:
    flags = [
        (m.backends.cuda.matmul, "allow_tf32"),
        (m.backends.cudnn, "allow_tf32"),
        (m.backends.cudnn, "benchmark"),
        (m.backends.cudnn, "deterministic"),
        (m.backends.cudnn, "enabled"),
    ]
    before = [getattr(owner, name) for owner, name in flags]
    # 别的测试用到 PyTorch 的测试工具之后，它的这些开关只许在这样的块里改
    with getattr(torch.backends, "__allow_nonbracketed_mutation")():
        for (owner, name), value in zip(flags, before, strict=True):
            setattr(owner, name, not value)
        changed = [getattr(owner, name) for owner, name in flags]
        for (owner, name), value in zip(flags, before, strict=True):
            setattr(owner, name, value)
    return before, changed


def _tf32(m: Any) -> Any:
    m.backends.cuda.matmul.allow_tf32 = True
    allowed = m.get_float32_matmul_precision()
    m.set_float32_matmul_precision("highest")
    exact = m.backends.cuda.matmul.allow_tf32
    m.set_float32_matmul_precision("medium")
    return allowed, exact, m.backends.cuda.matmul.allow_tf32


def _deterministic(m: Any) -> Any:
    m.use_deterministic_algorithms(True, warn_only=True)
    return m.are_deterministic_algorithms_enabled(), m.is_deterministic_algorithms_warn_only_enabled()


def _precision(m: Any) -> Any:
    before = m.get_float32_matmul_precision()
    m.set_float32_matmul_precision("high")
    return before, m.get_float32_matmul_precision()


def _threads(m: Any) -> Any:
    before = m.get_num_threads()
    m.set_num_threads(2)
    changed = m.get_num_threads()
    m.set_num_threads(before)
    return changed, m.get_num_threads() == before


def _data_parallel(m: Any) -> Any:
    m.manual_seed(0)
    model = m.nn.DataParallel(m.nn.Linear(2, 1), device_ids=[0])
    return list(model.state_dict()), model.device_ids, round(model(m.ones(1, 2)).item(), 5)


def _compiled(m: Any) -> Any:
    kept = [keep(lambda x: x * 2)(1) for keep in (m.compiler.disable, m.jit.ignore, m.jit.unused, m.jit.export)]
    return kept, m.compiler.is_compiling(), m.jit.is_scripting(), m.jit.is_tracing()


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "cuda bf16": lambda m: m.cuda.is_bf16_supported(),
    "cuda memory": lambda m: (m.cuda.memory_allocated(), m.cuda.max_memory_allocated(), m.cuda.memory_reserved()),
    "cuda statistics": lambda m: dict(m.cuda.memory_stats()),
    "mps": lambda m: (m.mps.is_available(), m.mps.device_count(), m.backends.mps.is_available()),
    "xpu": lambda m: (m.xpu.is_available(), m.xpu.device_count(), m.xpu.is_initialized()),
    "cpu": lambda m: (m.cpu.is_available(), m.cpu.device_count(), m.cpu.current_device(), m.cpu.synchronize()),
    "accelerator": lambda m: (m.accelerator.is_available(), m.accelerator.device_count()),
    "seeds": _seeds,
    "deterministic": _deterministic,
    "precision": _precision,
    "tf32": _tf32,
    "threads": _threads,
    "data parallel": _data_parallel,
    "compiled": _compiled,
    "distributed": lambda m: (m.distributed.is_initialized(), m.distributed.is_torchelastic_launched()),
    "reductions": lambda m: [(name, name in dir(m.distributed.ReduceOp)) for name in ("SUM", "AVG", "MAX", "BXOR")],
}
CPU_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "cuda": lambda m: (m.cuda.is_available(), m.cuda.device_count(), m.cuda.is_initialized(), m.cuda.get_arch_list()),
    "mps is built": lambda m: (m.backends.mps.is_built(), m.backends.cuda.is_built()),
    "cudnn": lambda m: (m.backends.cudnn.is_available(), m.backends.cudnn.version()),
    "current accelerator": lambda m: m.accelerator.current_accelerator(),
    "flags": _flags,
    "versions": lambda m: (m.version.cuda, m.version.hip, type(m.version.__version__ + "")),
}
"""torch 的 CUDA 版、MPS 版另有答案的。"""


@pytest.mark.parametrize("ask", [*table(ANSWERS), *table(CPU_ANSWERS, _cpu_build)])
def test_an_answer_differs(ask: Callable[[Any], Any]) -> None:
    """问环境的一句话，两个引擎回答不同。"""
    assert ask(tg) == ask(torch)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "no threads": lambda m: m.set_num_threads(0),
    "half a thread": lambda m: m.set_num_threads(1.5),
    "unknown mode of compile": lambda m: m.compile(abs, mode="fastest"),
    "mode and options of compile": lambda m: m.compile(abs, mode="default", options={}),
    "accelerator to wait for": lambda m: m.accelerator.synchronize(),
    "current accelerator": lambda m: m.accelerator.current_device_index(),
    "mps to wait for": lambda m: m.mps.synchronize(),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_mistake_is_accepted(mistake: Callable[[Any], Any]) -> None:
    """torch 报错的地方，我们不报错，或抛出了另一类错误。"""
    same_error(mistake)


NEEDS_MORE: dict[str, Callable[[], Any]] = {
    **{
        name: (lambda name=name: getattr(tg.cuda, name)())  # type: ignore[misc]
        for name in (
            "current_device", "get_device_name", "get_device_properties", "get_device_capability", "synchronize",
            "mem_get_info", "initial_seed", "get_rng_state",
        )
    },
    "set_device": lambda: tg.cuda.set_device(0),
    "set_rng_state": lambda: tg.cuda.set_rng_state(None),
    "set_rng_state_all": lambda: tg.cuda.set_rng_state_all([0]),
    "mps": lambda: tg.mps.empty_cache(),
    "mps memory": lambda: tg.mps.current_allocated_memory(),
    "xpu": lambda: tg.xpu.synchronize(),
    "set_device_index": lambda: tg.accelerator.set_device_index(0),
    "init_process_group": lambda: tg.distributed.init_process_group(backend="nccl"),
    "destroy_process_group": lambda: tg.distributed.destroy_process_group(),
    "barrier": lambda: tg.distributed.barrier(),
    "all_reduce": lambda: tg.distributed.all_reduce(tg.ones(1), op=tg.distributed.ReduceOp.SUM),
    "DistributedDataParallel": lambda: tg.nn.parallel.DistributedDataParallel(tg.nn.Linear(1, 1), device_ids=[0]),
}  # fmt: skip


@pytest.mark.parametrize("use", table(NEEDS_MORE))
def test_what_needs_a_gpu_or_a_process_group_says_nothing(use: Callable[[], Any]) -> None:
    """要 GPU 或别的进程才能做的事没有报错，或没说该用 torch_llm。"""
    with pytest.raises(RuntimeError, match="torch_llm"):
        use()


def test_one_process_does_not_know_itself() -> None:
    """一个进程的名次与总数；没有通信的后端。"""
    dist = tg.distributed
    assert (dist.get_rank(), dist.get_world_size(), dist.is_available()) == (0, 1, False)
    assert not any((dist.is_nccl_available(), dist.is_gloo_available(), dist.is_mpi_available()))


def test_a_script_for_gpus_does_not_run() -> None:
    """照着 GPU 写、又用 ``is_available`` 护着的脚本，开头就跑不起来。"""
    device = "cuda" if tg.cuda.is_available() else "mps" if tg.backends.mps.is_available() else "cpu"
    is_distributed = tg.distributed.is_available() and tg.distributed.is_initialized()
    tg.backends.cuda.matmul.allow_tf32 = False
    tg.set_float32_matmul_precision("high")
    model = tg.compile(tg.nn.Linear(2, 2), mode="reduce-overhead", fullgraph=True, dynamic=False, backend="inductor")
    if is_distributed:
        model = tg.nn.parallel.DistributedDataParallel(model)
    with tg.device(device):
        model.to(device)(tg.ones(1, 2, device=device)).sum().backward()
    if tg.cuda.is_available():
        tg.cuda.synchronize()
    assert tg.cuda.max_memory_allocated() // 1024 == 0
    assert model.weight.grad is not None


# ---- 编译


def test_compiling_changes_the_model() -> None:
    """``compile`` 与 ``jit.script`` 不是原样交还：参数的名字变了，或当作装饰器时不成函数。"""
    model = tg.nn.Linear(2, 2)
    assert tg.compile(model) is tg.jit.script(model) is model
    for decorate in (
        tg.compile,
        tg.compile(),
        tg.compile(dynamic=True),
        tg.compiler.compile,
        tg.jit.script,
        tg.jit.export,
    ):
        assert decorate(abs) is abs
    for decorate in (tg.compiler.disable(), tg.compiler.disable(recursive=False), tg.jit.ignore(drop=True)):
        assert decorate(abs) is abs
    with pytest.raises(TypeError, match="expected a module or a function, got int"):
        tg.compile(3)


def test_compiling_is_under_way() -> None:
    """说自己正在编译、导出，或清缓存之类的空操作有了返回值。"""
    assert not tg.compiler.is_dynamo_compiling()
    assert tg.compiler.allow_in_graph(len) is tg.compiler.assume_constant_result(len) is tg._dynamo.disable(len) is len
    tg._dynamo.config.suppress_errors = tg._inductor.config.coordinate_descent_tuning = True
    tg._dynamo.mark_dynamic(tg.ones(1), 0)
    tg._dynamo.reset()
    assert not tg.compiler.is_exporting()
    assert tg.compiler.reset() is tg.compiler.cudagraph_mark_step_begin() is tg.cuda.reset_peak_memory_stats() is None


# ---- 全局的设置


def test_threads_are_set_only_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """``set_num_threads`` 没有传到 BLAS；传不到时没有警告，或假装设成了。"""
    asked: list[int] = []
    monkeypatch.setattr(settings, "limit_threads", lambda count: not asked.append(count))  # type: ignore[func-returns-value]
    tg.set_num_threads(3)
    assert (asked, tg.get_num_threads()) == ([3], 3)
    monkeypatch.setattr(settings, "limit_threads", lambda count: False)
    with pytest.warns(UserWarning, match="OMP_NUM_THREADS"):
        tg.set_num_threads(5)
    assert tg.get_num_threads() == 3
    settings._threads.clear()
    assert tg.get_num_threads() == cores.usable_cores()


def test_an_unknown_precision_is_kept() -> None:
    """不认得的精度没有警告，或改掉了原来的。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="fastest"):
            m.set_float32_matmul_precision("fastest")
        assert m.get_float32_matmul_precision() == "highest"


def test_the_configuration_is_not_shown() -> None:
    """``__config__.show()`` 没有写出版本与 BLAS；版本号有两个。"""
    shown = tg.__config__.show()
    assert f"tinygrad_llm {tg.version.PACKAGE}" in shown
    assert "BLAS " in shown
    assert tg.__version__ == tg.version.__version__
    assert tg.__version__.startswith(torch.__version__.partition("+")[0])
    assert f'version = "{tg.version.PACKAGE}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


OTHERS = ("2.0", "2.9", "2.13", "2.13.0", "2.13.1", "3", "1.13.1+cu117", (2, 0), (2, 13, 0), (3,))


def test_a_program_that_asks_for_the_version_takes_another_path() -> None:
    """照 torch 的版本号选路的程序，在这里选了另一条路。"""

    def answers(m: Any) -> Any:
        v = m.__version__
        return [(v < o, v <= o, v > o, v >= o) for o in OTHERS], v.split("+")[0], int(v.split(".")[0]), "+" in v

    assert answers(tg) == answers(torch)


def test_an_extension_is_not_compiled() -> None:
    """导入 ``cpp_extension`` 就报错，模型文件都读不进来；或者真去编译时没有报错。"""
    assert tg.utils.cpp_extension.CUDA_HOME is None
    with pytest.raises(RuntimeError, match="no compiler"):
        tg.utils.cpp_extension.load("wkv", sources=["wkv.cu"])
