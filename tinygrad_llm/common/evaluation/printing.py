"""成绩印成一行：原始分、区间、n、靠猜能得几分、去掉运气之后几分，总在一起。

流入：成绩的字典；流出：英文的一行。下一个文件：``command.py``。
"""

from __future__ import annotations

from typing import Any

__all__ = ["compare_line", "text_line", "trait_line"]


def text_line(name: str, found: dict[str, Any]) -> str:
    """一份文本。"""
    low, high = found["bits_interval"]
    return (
        f"  {name}: {found['bits_per_byte']:.4f} bits/byte [{low:.4f}, {high:.4f}] (n = {found['n']:,} blocks), "
        f"chance {found['chance_bits']:g}, centred {found['centred']:.4f}; perplexity {found['perplexity']:.4f} "
        f"[{found['perplexity_interval'][0]:.4f}, {found['perplexity_interval'][1]:.4f}], chance "
        f"{found['chance_perplexity']:,}; {found['tokens']:,} tokens, {found['bytes']:,} bytes, "
        f"{found['documents']:,} documents, stride {found['stride']} of {found['context']}"
    )


def trait_line(name: str, found: dict[str, Any]) -> str:
    """一项任务。"""
    if found["kind"] == "judge":
        rho = found["spearman"]
        line = f"  {name}: rank correlation {_interval(rho)}, chance 0, Kendall {found['kendall']:.4f}"
        if "consistency" in found:
            line += f"; the order of two answers does not matter in {_interval(found['consistency'])}"
        return line
    parts = [f"  {name}: {_score(found['score'])}"]
    if found["kind"] == "choice":
        others = ", ".join(f"{how} {one['raw']['value']:.4f}" for how, one in found["scores"].items())
        parts.append(f"by {others}; ECE {found['calibration']['ece']:.4f}")
    parts += [f"pass@{k} {_interval(one)}" for k, one in found.get("pass_at_k", {}).items()]
    if "seeds" in found:
        parts.append(f"over {len(found['seeds']['values'])} seeds {found['seeds']['mean']:.4f} "
                     f"[{found['seeds']['low']:.4f}, {found['seeds']['high']:.4f}]")  # fmt: skip
    if "judged" in found:
        judged = found["judged"]
        parts.append(f"judge's mean {judged['mean']:.4f}")
        if rho := judged.get("spearman_with_rule"):
            parts.append(f"rank correlation with the rule {_interval(rho)}")
    if "contamination" in found:
        leak = found["contamination"]
        parts.append(f"{leak['leaked']} of {leak['checked']} items found in the training data")
    if found["truncated"]:
        parts.append(f"{found['truncated']} prompts cut at the front to fit the context")
    return "; ".join(parts)


def compare_line(one: dict[str, Any]) -> str:
    """两次成绩逐题之差。"""
    line = f"  {one['name']}: {one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}] {one['unit']}"
    line += f" (n = {one['n']:,})"
    line += f", p = {one['p']:.4g}" if one.get("p") is not None else ""
    return line + (f", McNemar p = {one['mcnemar']:.4g}" if one.get("mcnemar") is not None else "")


def _score(score: dict[str, Any]) -> str:
    raw = score["raw"]
    return f"{_interval(raw)}, chance {score['chance']:.4f}, centred {score['centred']:.4f}"


def _interval(one: dict[str, Any]) -> str:
    size = f" (n = {one['n']:,})" if "n" in one else ""
    return f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]{size}"
