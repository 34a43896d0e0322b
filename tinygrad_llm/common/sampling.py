"""采样：从最后一个位置的 logits 选出下一个 token，两个引擎共用同一份代码。

流入：logits (V,)、温度与截断参数、一个 [0, 1) 上的均匀随机数；流出：token id。
随机数由 (seed, position, row) 直接算出，不存状态：批次怎样拼、在哪个引擎上跑，选出的 token 都相同。
下一个文件：``tinygrad_llm/generate.py``。
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import DivergedError, UserError

_STREAM = 0x53414D50  # Philox 密钥的后一半（"SAMP"）：与批次顺序、初始权重的随机数互不相干


def uniform_at(seed: int, position: int, row: int = 0) -> float:
    """[0, 1) 上的均匀随机数，是三个整数的纯函数。

    Philox 是「计数器 → 随机数」的函数：把 position 与 row 放进计数器，跳到任何位置都是一步。

    Args:
        seed: 随机种子。
        position: token 在序列中的位置。
        row: 批内的行号。

    Returns:
        53 位精度的均匀随机数。

    Raises:
        UserError: 参数不在 [0, 2^64) 内。
    """
    if not all(0 <= value < 2**64 for value in (seed, position, row)):
        raise UserError(
            f"seed, position and row must lie in [0, 2**64), got {seed}, {position}, {row}",
            fix="use a non-negative seed",
        )
    key = np.array([seed, _STREAM], dtype=np.uint64)
    counter = np.array([0, position, row, 0], dtype=np.uint64)
    bits = int(np.random.Philox(key=key, counter=counter).random_raw())
    return (bits >> 11) * 2.0**-53


def sample_token(
    logits: npt.NDArray[np.floating],
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    uniform: float,
) -> int:
    """按温度、top-k、top-p 的次序截断分布，再用逆 CDF 选出一个 token。

    内部一律用 float64：两个引擎的 logits 若逐位相同，选出的 token 就相同。

    Args:
        logits: 形状 (V,)。
        temperature: 温度；0 表示取最大值，并列时取最小的 id。
        top_k: 只留 logit 最大的 k 个；None 表示不截断。
        top_p: 再只留累计概率首次达到 p 的最小集合（nucleus sampling，至少一个）；None 表示不截断。
        uniform: [0, 1) 上的均匀随机数，见 ``uniform_at``。

    Returns:
        token id。

    Raises:
        UserError: 参数越界，或 logits 不是非空的一维数组。
        DivergedError: logits 含 NaN 或无穷。
    """
    _check_parameters(temperature, top_k, top_p, uniform)
    scores = _finite_scores(logits)
    if temperature == 0:
        return int(np.argmax(scores))
    ids = np.arange(scores.size) if top_k is None else _largest(scores, top_k)
    with np.errstate(over="ignore"):  # 温度极低时商溢出为 -inf，概率恰为 0，正是所要的
        weights = np.exp((scores[ids] - scores.max()) / temperature)
    if top_p is not None and top_p < 1:
        kept = _nucleus(weights, top_p)
        ids, weights = ids[kept], weights[kept]
    # 逆 CDF，按 id 从小到大累加；side="right" 使概率为 0 的 token 永远选不中
    cumulative = np.cumsum(weights)
    return int(ids[np.searchsorted(cumulative, uniform * cumulative[-1], side="right")])


def _largest(scores: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
    """最大的 k 个分数的 id，升序；恰在门槛上的并列者取 id 小的。"""
    if k >= scores.size:
        return np.arange(scores.size)
    threshold = np.partition(scores, -k)[-k]  # 第 k 大的值，线性时间
    above = np.flatnonzero(scores > threshold)
    tied = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, tied]))


def _nucleus(weights: npt.NDArray[np.float64], p: float) -> npt.NDArray[np.intp]:
    """权重从大到小累计，首次达到总和的 p 倍时停下；返回留下的下标，升序。"""
    order = np.argsort(-weights, kind="stable")  # 稳定排序：并列时下标小的在前
    cumulative = np.cumsum(weights[order])
    count = int(np.searchsorted(cumulative, p * cumulative[-1], side="left")) + 1
    return np.sort(order[:count])


def _finite_scores(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """转成 float64，并确认形状与取值可用。"""
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise UserError(f"logits must have shape (vocab_size,), got {scores.shape}", fix="pass one row of logits")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise DivergedError(
            f"{bad.size} of {scores.size} logits are not finite (first: {scores[bad[0]]})",
            where=f"token id {bad[0]}",
            fix="use an earlier checkpoint, or run the model in float32",
        )
    return scores


def _check_parameters(temperature: float, top_k: int | None, top_p: float | None, uniform: float) -> None:
    """检查取值范围；写成「不在范围内」的否定式，NaN 也会被挡住。"""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"temperature must be a finite number >= 0, got {temperature}", fix="use 0 for greedy, or 0.8")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k must be at least 1, got {top_k}", fix="leave top_k out to keep every token")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top_p must lie in (0, 1], got {top_p}", fix="leave top_p out to keep every token")
    if not 0 <= uniform < 1:
        raise UserError(f"uniform must lie in [0, 1), got {uniform}", fix="take it from uniform_at()")
