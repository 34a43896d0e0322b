"""没有的名字：torch 公开而 ``tinygrad_llm`` 不提供的，按原因归类。

流入：两边的公开名字；流出：API 页里「没有什么」一块。归类的规则在 ``GROUPS``：自上而下，第一条合得上的算数。
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from types import ModuleType
from typing import Any

import torch

import tinygrad_llm as tg

SCANNED = (
    "", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "nn.utils.parametrizations",
    "nn.utils.parametrize", "optim", "optim.lr_scheduler", "optim.swa_utils", "utils.data", "autograd",
    "autograd.functional", "autograd.graph", "func", "amp", "linalg", "fft", "special", "masked", "random",
    "distributions", "nn.utils.prune", "testing",
)  # fmt: skip
"""逐个名字比对的名字空间。"""

GROUPS: tuple[tuple[str, str, str], ...] = (
    (
        "半精度的复数与一般矩阵的特征值",
        r"complex|chalf|(^|\.)eig(vals)?$",
        "用 complex64；在 `x.numpy()` 上用 NumPy",
    ),
    (
        "稀疏",
        r"[sS]parse|coalesce|(col|row)_indices|^(indices|values)(_copy)?$|^(s|ds|hs|hsp|sp|sadd|sspadd)mm$|dense",
        "用 `index_add_`、`scatter_add` 或 `gather`",
    ),
    (
        "量化",
        r"quant|^q_|int_repr|qscheme|fbgemm|qparams|scaled_mm|scaled_grouped|ScalingType|SwizzleType",
        "用 int8 张量与一个浮点的比例",
    ),
    (
        "别的设备",
        r"^(cuda|xpu|ipu|mtia|pin_memory|record_stream)$|mkldnn|vulkan|get_device_module|SyncBatchNorm|stream_mismatch",
        "先问 `is_available()`，或用 `torch_llm`",
    ),
    (
        "编译、追踪与符号形状",
        r"^sym_|^(cond|while_loop|fork|wait)$|parse_|import_ir|unify_type|merge_type",
        "直接运行函数",
    ),
    (
        "进程间共享的内存",
        r"storage|share|from_file|^set_$|const_data_ptr",
        "用 `from_numpy`、`frombuffer` 与 `x.untyped_storage()`",
    ),
    ("函数变换与前向模式", r"^(func|autograd\.functional)\.|^vmap$", "用 `autograd.grad(..., create_graph=True)`"),
    ("多项式与 Bessel 等特殊函数", r"^special\.", "在 `x.numpy()` 上用 SciPy"),
    ("少见的概率分布与变换", r"^distributions\.", "用 `TransformedDistribution` 写"),
    ("`autocast` 的旧开关", r"autocast", "用 `autocast(...)`"),
    (
        "从前的名字",
        r"^(nn\.)?(Container|CrossMapLRN2d|NLLLoss2d|solve|symeig|lstsq|matrix_rank|resize|resize_as|reinforce|name"
        r"|nuclear_norm|frobenius_norm|volatile)$|DataPipe|datapipe|autograd\.[vV]ariable",
        "用后来的名字，多在 `linalg` 里",
    ),
    (
        "层的底层入口",
        r"^(gru|lstm|rnn_(tanh|relu))(_cell)?$|native_|grid_sampler|affine_grid_gen|conv_tbc|grouped_mm"
        r"|^convolution$|embedding_renorm|norm_except_dim|RNNCellBase",
        "用 `nn` 与 `nn.functional`",
    ),
)
"""归类、认出它的正则表达式、改用什么。"""

OTHERS = "其余"

_INTERNAL = re.compile(
    r"handle_torch_function|has_torch_function|_private|classproperty|compiled_with|get_file_path|cupti|thread_safe_gen"
    r"|prepare_multiprocessing|init_num_threads|boolean_dispatch|assert_int_or_pair|factory_kwargs|^autograd\.(Profiler"
    r"|DeviceType|Nested|kineto|is_tensor_like|is_view_replay|SavedTensor|enforce)|is_traceable_wrapper|OpaqueBase"
    r"|is_opaque|get_swap_module|copy_method_params|^bind$|is_warn_always|is_storage|profile_hook|TorchDispatch|PostHook"
    r"|PreHook|argument_validation|runtime_validation|guaranteed_|non_deterministic|DataChunk|PackedSequence_|rnn\.bind$|swap_in_opt|is_distributed|cudnn_|miopen_|mkldnn_|batch_norm_(backward|elemt|gather|stats|update)"
)
"""torch 自己用的名字，与别家设备的计算核，不在文档里。"""

_PREFIXES = (
    "fbgemm_", "quantized_", "sym_", "native_", "q_", "special.chebyshev_", "special.shifted_", "special.bessel_",
    "special.modified_bessel_", "special.scaled_", "parse_", "fake_quantize_", "get_autocast_",
    "set_autocast_", "is_autocast_", "Tensor.to_sparse", "rnn_", "gru", "lstm_", "import_ir_",
)  # fmt: skip
"""名字太多、逐个列出也没有用处的几族。"""

_MODULES = {
    "ao": "量化与稀疏化的工具",
    "export": "没有可导出的图",
    "futures": "异步调用",
    "fx": "没有可改写的图",
    "hub": "下载 `.safetensors` 文件，用 `load` 读",
    "library": "登记算子：用 `autograd.Function`",
    "monitor": "运行时的计数",
    "nested": "长短不一的张量：补齐再掩码",
    "onnx": "用 `save` 存，在 PyTorch 里导出",
    "overrides": "没有 `__torch_function__`",
    "package": "从不读 pickle",
    "quantization": "没有量化的 dtype",
    "quasirandom": "Sobol 数列：用 SciPy",
    "sparse": "张量都是稠密的",
}


def missing(namespace: str) -> list[str]:
    """一个名字空间里 torch 公开、我们没有的名字；torch 自己用的不算。"""
    theirs, ours = _pair(namespace)
    if theirs is None:
        return []
    names = [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)]
    full = {name: f"{namespace}.{name}" if namespace not in ("", "Tensor") else name for name in names}
    return [name for name in names if _is_public(theirs, name, namespace) and not _INTERNAL.search(full[name])]


def _pair(namespace: str) -> tuple[Any, Any]:
    if namespace == "Tensor":
        return torch.Tensor, tg.Tensor
    return module_of(namespace, torch), module_of(namespace, tg)


def module_of(namespace: str, root: ModuleType) -> Any:
    """``root`` 下的一个名字空间；空串就是 ``root`` 自己。没有，或它要的库没有装，则为 ``None``。"""
    try:
        return importlib.import_module(f"{root.__name__}.{namespace}".rstrip("."))
    except ModuleNotFoundError:
        return None


def _is_public(theirs: Any, name: str, namespace: str) -> bool:
    thing = getattr(theirs, name)
    if namespace == "Tensor":
        return callable(thing) or not name.startswith("is_")
    if isinstance(thing, ModuleType) or not callable(thing):
        return False
    if namespace == "" and not name[0].islower():  # 顶层大写的名字都是 C++ 一侧的类型
        return False
    return belongs(thing, namespace)


def belongs(thing: Any, namespace: str) -> bool:
    """torch 的 ``thing`` 是不是这个名字空间自己的，而不是从标准库或（若是类）别的名字空间引入的。"""
    home = str(getattr(thing, "__module__", None) or "torch")
    return home.startswith(f"torch.{namespace}".rstrip(".") if isinstance(thing, type) else "torch")


def groups() -> dict[str, list[str]]:
    """没有的名字按原因归类：组名到带名字空间的名字。"""
    found: dict[str, list[str]] = defaultdict(list)
    functions = set(missing(""))
    for namespace in SCANNED:
        for name in missing(namespace):
            if namespace == "Tensor" and name in functions:  # 函数那里已经列了
                continue
            full = name if namespace in ("", "Tensor") else f"{namespace}.{name}"
            found[_group(full, name, namespace)].append(f"Tensor.{name}" if namespace == "Tensor" else full)
    return found


def _group(full: str, name: str, namespace: str) -> str:
    if namespace == "" and hasattr(tg.nn.functional, name):
        return "另有一处提供：`nn.functional`"
    if namespace == "" and hasattr(tg.Tensor, name):
        return "另有一处提供：Tensor 的方法"
    return next((title for title, pattern, _ in GROUPS if re.search(pattern, full)), OTHERS)


def _starred(name: str) -> str:
    """一族同类的名字合写成 ``fbgemm_*``。"""
    return next((f"{prefix}*" for prefix in _PREFIXES if name.startswith(prefix)), name)


def absent_block() -> str:
    """没有的名字与整个没有的名字空间。"""
    found, hints = groups(), {title: hint for title, _, hint in GROUPS}
    titles = [*hints, *sorted(title for title in found if title not in hints and title != OTHERS), OTHERS]
    rows = ["| 归类 | 改用什么 | 名字 |", "| :--- | :--- | :--- |"]
    for title in titles:
        if found.get(title):
            names = " ".join(f"`{name}`" for name in dict.fromkeys(_starred(name) for name in found[title]))
            rows.append(f"| {title} | {hints.get(title, '')} | {names} |")
    whole = [f"| `{name}` | {note} |" for name, note in _MODULES.items() if not hasattr(tg, name)]
    return "\n".join([*rows, "", "整个没有的名字空间：", "", "| 名字空间 | |", "| :--- | :--- |", *whole])
