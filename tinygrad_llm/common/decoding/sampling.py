"""采样：从一行分数选出下一个 token，两个引擎共用同一份代码。

流入：分数 ``(V,)``、抽样的设置、一个 [0, 1) 上的均匀随机数；流出：token id。
随机数由 (seed, position, row) 直接算出，不存状态：批次怎样拼、在哪个引擎上跑，选出的 token 都相同。
下一个文件：``penalties.py``。

除以温度 T 之后取 softmax，概率正比于 ``exp(s/T)``：T → 0 时全归最大者，T → ∞ 时趋于均匀。三种截断都去掉尾巴：
top-k 定个数，top-p 定留下的总概率，min-p 定「至少是最大者的几分之一」——分布平坦时它留得多，尖锐时留得少。
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.errors import DivergedError, UserError

__all__ = ["choose", "finite_scores", "kept", "largest", "log_softmax", "sample_token", "uniform_at"]

_LIKELY = (512, 4096)  # top-p 先看最大的这么多个
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
    min_p: float | None = None,
) -> int:
    """按温度、top-k、top-p、min-p 的次序截断分布，再用逆 CDF 选出一个 token。

    内部一律用 float64：两个引擎的 logits 若逐位相同，选出的 token 就相同。

    Args:
        logits: 形状 (V,)。
        temperature: 温度；0 表示取最大值，并列时取最小的 id。
        top_k: 只留 logit 最大的 k 个；None 表示不截断。
        top_p: 再只留累计概率首次达到 p 的最小集合（nucleus sampling，至少一个）；None 表示不截断。
        uniform: [0, 1) 上的均匀随机数，见 ``uniform_at``。
        min_p: 再只留概率不小于最大者 p 倍的；None 表示不截断。

    Returns:
        token id。

    Raises:
        UserError: 参数越界，或 logits 不是非空的一维数组。
        DivergedError: logits 含 NaN 或无穷。
    """
    sampling = Sampling(temperature, top_k, top_p, min_p)
    if not 0 <= uniform < 1:
        raise UserError(f"uniform must lie in [0, 1), got {uniform}", fix="take it from uniform_at()")
    return choose(finite_scores(logits), sampling, uniform)


def choose(scores: npt.NDArray[np.float64], sampling: Sampling, uniform: float) -> int:
    """同 ``sample_token``，但分数可以是 ``-inf``（不可选），且不再检查。

    Args:
        scores: ``(V,)``，至少一个有限。
        sampling: 用到温度、top-k、top-p 与 min-p。
        uniform: [0, 1) 上的均匀随机数。

    Returns:
        token id。
    """
    if sampling.temperature == 0:
        return int(np.argmax(scores))
    ids, weights = kept(scores, sampling)
    # 逆 CDF，按 id 从小到大累加；side="right" 使概率为 0 的 token 永远选不中
    cumulative = np.cumsum(weights)
    return int(ids[np.searchsorted(cumulative, uniform * cumulative[-1], side="right")])


def kept(scores: npt.NDArray[np.float64], sampling: Sampling) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """截断之后留下的 token 与它们未归一化的概率，按 id 排列；参数同 ``choose``，温度大于 0。"""
    ids = np.arange(scores.size) if sampling.top_k is None else largest(scores, sampling.top_k)
    with np.errstate(over="ignore"):  # 温度极低时商溢出为 -inf，概率恰为 0，正是所要的
        weights = np.exp((scores[ids] - scores.max()) / sampling.temperature)
    if sampling.top_p is not None and sampling.top_p < 1:
        inside = _nucleus(weights, sampling.top_p)
        ids, weights = ids[inside], weights[inside]
    if sampling.min_p:
        inside = np.flatnonzero(weights >= sampling.min_p)  # 最大的权重恰为 1
        ids, weights = ids[inside], weights[inside]
    return ids, weights


def log_softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """对数概率 ``(V,)``：减去最大值再取指数，不会溢出。"""
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def largest(scores: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
    """最大的 k 个分数的 id，升序；恰在门槛上的并列者取 id 小的。"""
    if k >= scores.size:
        return np.arange(scores.size)
    threshold = np.partition(scores, -k)[-k]  # 第 k 大的值，线性时间
    above = np.flatnonzero(scores > threshold)
    tied = np.flatnonzero(scores == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, tied]))


def _nucleus(weights: npt.NDArray[np.float64], p: float) -> npt.NDArray[np.intp]:
    """权重从大到小累计，首次达到总和的 p 倍时停下；返回留下的下标，升序。

    整个词表排一遍序要几毫秒，而多半只留下几十个：先只排最大的一批，它们的和不够才排全部。
    """
    target = p * weights.sum()
    likely = np.arange(weights.size)
    for most in _LIKELY:
        if weights.size > 2 * most:
            found = np.flatnonzero(weights >= np.partition(weights, -most)[-most])
            if weights[found].sum() >= target:
                likely = found
                break
    order = likely[np.argsort(-weights[likely], kind="stable")]  # 稳定排序：并列时下标小的在前
    count = int(np.searchsorted(np.cumsum(weights[order]), target, side="left")) + 1
    return np.sort(order[:count])


def finite_scores(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
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
