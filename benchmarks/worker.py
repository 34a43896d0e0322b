"""子进程：标准输入来一行次数，就把活做这么多回，回一行 JSON，写明平均每回用时。

``python -m benchmarks.worker TASK SETTINGS`` 由 ``processes.py`` 启动；干什么活，见各 ``TASK`` 模块的 ``job``。
数学库在导入时决定线程数，所以先限定用几个核，再导入那个模块。
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from typing import Any, TextIO

TASKS = ("attention", "decode", "gemm", "serving_decode", "step", "tokenizers")
"""有 ``job`` 的模块：``job(settings)`` 是上下文管理器，给出函数 ``once(第几回) → 要带回去的数``。"""


def main(argv: list[str]) -> int:
    """做一个子进程该做的事，直到标准输入结束。"""
    task, settings = argv[0], json.loads(argv[1])
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}, known: {TASKS}")
    answers = _private_stdout()
    limit_cores(settings.get("cores"), settings.get("threads"))
    module = importlib.import_module(f"benchmarks.{task}")
    try:
        with module.job(settings) as once:
            _answer(answers, ready=True)
            _serve(once, answers)
    except ModuleNotFoundError as error:
        _answer(answers, unavailable=f"{error.name} is not installed")
    except BrokenPipeError:  # 主进程已经走了，没有人听
        os._exit(1)
    return 0


def _serve(once: Any, answers: TextIO) -> None:
    done = 0
    for line in sys.stdin:
        repeats, facts = int(line), {}
        started_at = time.perf_counter()
        for index in range(done, done + repeats):
            facts = once(index)
        elapsed_s = (time.perf_counter() - started_at) / repeats
        done += repeats
        _answer(answers, elapsed_s=elapsed_s, peak_memory_bytes=_peak_memory_bytes(), **facts)


def limit_cores(cores: int | None, threads: int | None = None) -> None:
    """限定用几个核、数学库开几个线程；要在导入数学库之前调用。

    Args:
        cores: 只用前这么多个核；``None`` 不限。
        threads: 数学库的线程数；缺省与 ``cores`` 相同。
    """
    threads = threads or cores
    if threads is not None:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _private_stdout() -> TextIO:
    """只给我们答话用的一条管道；别人往标准输出印的字一律改道标准错误，免得混进答话里。"""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, **facts: Any) -> None:
    print(json.dumps(facts), file=answers, flush=True)


def _peak_memory_bytes() -> int:
    """没有 PSS 可读的系统上退而求其次：自己的峰值加上子进程里最大的一个。"""
    from tinygrad_llm.common.system import peak_memory_bytes

    with contextlib.suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return peak_memory_bytes() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return peak_memory_bytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
