"""目录的第一列：每种错误的中文名字与改法。

流出：``TITLES``。「犯了这个错会写下什么数」在 ``mistakes/`` 里：同一种错误在不同的算子上写法不同，名字只有一个。
"""

from __future__ import annotations

from typing import NamedTuple

STRUCTURAL, GENERAL, FALLBACK = 0, 1, 2
"""错误的档次：从这一步的公式推出来的；哪一步都可能犯的；别的都对不上时才提的。"""


class Title(NamedTuple):
    """一种错误的名字。

    Attributes:
        title: 中文的名字。
        fix: 怎样改，一句话。
        tier: 档次。
    """

    title: str
    fix: str
    tier: int = STRUCTURAL


TITLES: dict[str, Title] = {
    "chain-cut": Title("链断了：没有乘上传来的梯度", "贡献 = 传来的梯度 g × 局部导数；g 不是 1 就不能省。"),
    "forgot-local": Title(
        "漏乘局部导数：把传来的梯度原样抄了下来", "再乘上这一步的局部导数；只有加法与搬运才原样传过去。"
    ),
    "incoming-in-local": Title(
        "局部导数里已经乘了传来的梯度", "局部导数只看这一步自己（g 当作 1）；g 到算贡献时才乘。"
    ),
    "wrong-operand": Title("乘错了操作数：用了自己，没有用另一个", "对 a 求导剩下的是 b，对 b 求导剩下的是 a。"),
    "input-for-output": Title("该用输出，却用了输入", "这一行导数里的 y 是这一步的输出，不是输入 x。"),
    "output-for-input": Title("该用输入，却用了输出", "这一行导数里的 x 是这一步的输入，不是输出 y。"),
    "forgot-broadcast-sum": Title(
        "广播的轴没有求和", "前向时被复制了几份，反向就要把那几份的梯度加起来，还原成输入自己的形状。"
    ),
    "wrong-order": Title("次序弄反了", "减法、除法、乘方与矩阵乘都讲次序：照公式里 a、b 的位置代入。"),
    "sign-inside": Title("代入时弄反了一个符号", "代入之前先写括号：减去一个负数是加，e 的负几次方别丢负号。"),
    "missing-term": Title("漏了一项", "公式里有几项就要加几项：偏置、残差都算。"),
    "wrong-operation": Title("运算看错了", "对照公式：+、-、×、÷ 是哪一个，是不是矩阵乘。"),
    "forgot-square": Title("忘了平方（或开方）", "有平方的地方先平方，再做别的。"),
    "power-as-product": Title("乘方当成了乘法", "x² 是 x·x，不是 2x。"),
    "missing-factor-two": Title("漏了系数：平方的导数有 2，开方的有 1/2", "xⁿ 的导数是 n·xⁿ⁻¹，前面的 n 别漏。"),
    "power-not-lowered": Title("求导后指数没有减一", "xⁿ 的导数是 n·xⁿ⁻¹：系数提下来，指数减一。"),
    "forgot-reciprocal": Title("该除的写成了乘", "ln x 的导数是 1/x，a/b 对 a 的导数是 1/b：是除以，不是乘。"),
    "half-derivative": Title("导数只写了一半", "σ′ = σ(1-σ)，tanh′ = 1-tanh²：两个部分都要。"),
    "forgot-gate": Title("负的一侧没有截断", "ReLU 的输入是负数时，输出是 0，梯度也是 0。"),
    "log-base": Title("用了以 10 为底的对数", "这里的对数都是自然对数（计算器上的 ln）。"),
    "missing-transpose": Title(
        "漏了转置（或多转了一次）", "先核对形状：对 a 是 g·bᵀ，对 b 是 aᵀ·g；线性层是 x·Wᵀ，对 W 是 gᵀ·x。"
    ),
    "elementwise-product": Title("矩阵乘写成了逐元素乘", "第 i 行第 j 列 = 左边第 i 行与右边第 j 列的点积。"),
    "missing-mean-factor": Title("漏了 1/n", "平均是求和再除以个数：前向除以 n，每一份梯度也都要乘 1/n。"),
    "extra-mean-factor": Title("多除了 n", "求和不是平均：不必除以个数。"),
    "wrong-axis": Title("求和（归一化）的轴错了", "看 dim：dim=-1 是在每一行之内，dim=0 是在每一列之内。"),
    "wrong-denominator": Title("分母是 n 还是 n-1 弄错了", "layer norm 的方差除以 n；torch.var 默认除以 n-1。"),
    "forgot-normalise": Title("softmax 忘了除以总和", "softmax 的每个数都要除以这一行 eˣ 的总和，使一行之和为 1。"),
    "softmax-elementwise": Title(
        "把 softmax 当成了逐元素的函数", "每个输出都依赖整行输入：dxᵢ = yᵢ(gᵢ - Σⱼ gⱼyⱼ)，不是 gᵢyᵢ(1-yᵢ)。"
    ),
    "forgot-one-hot": Title(
        "交叉熵的梯度忘了减去 one-hot", "对 logits 的梯度是 softmax(x) - onehot(target)：正确的那一类要减 1。"
    ),
    "statistics-as-constants": Title(
        "把均值与标准差当成了常数", "μ 与 σ 也是 x 的函数：dx 里还要减去沿它们传回来的两项。"
    ),
    "scatter-overwrote": Title("同一行被取了几次，梯度却只留了一份", "取了几次就有几份梯度，都要加到那一行上。"),
    "index-off-by-one": Title("下标差了一", "下标从 0 数起：第 0 行是第一行。"),
    "mask-off-by-one": Title("掩码差了一格", "因果掩码遮住 j > i：自己看得见自己，看不见后面的任何一个。"),
    "forgot-mask": Title("忘了掩码", "被遮住的位置，前向换成给定的数，反向的梯度是 0。"),
    "missing-scale": Title("漏了缩放的系数", "乘除的常数都不能漏：注意力的打分要除以 √d，反向也要乘同一个 1/√d。"),
    "forgot-accumulate": Title(
        "没有累加：几份梯度只留了一份", "一个值用在几处（x·x 也是两处），就有几份梯度，要加起来，不是换成最后一份。"
    ),
    "missed-path": Title("漏了一条路径", "数一数这个值用在几个地方：每一处都有一份贡献。"),
    "counted-twice": Title("同一份贡献加了两次", "每条路径只加一次。"),
    "sign-in-sum": Title("相加时弄反了一份的符号", "贡献自带符号：照样相加，负的就是减。"),
    "averaged-paths": Title("几份贡献取了平均", "各条路径的贡献是相加，不除以份数。"),
    "sign-error": Title("符号错", "数对了，正负号反了：检查减号、负的局部导数与负负得正。", GENERAL),
    "decimal-slip": Title("小数点错位", "数字都对，小数点挪了位：数一数零的个数。", GENERAL),
    "swapped-cells": Title("两格填反了", "这两格的数互换一下。", GENERAL),
    "rounded-too-early": Title("舍入得太早", "中间结果多留几位，最后再舍入；至少写三位有效数字。", FALLBACK),
    "digits-swapped": Title("抄反了两个数字", "核对相邻的两位数字，像 0.0852 抄成 0.0825。", FALLBACK),
    "reordered": Title("数都对，位置串了", "第 i 行第 j 列的数要写在第 i 行第 j 列。", FALLBACK),
    "copied-other-cell": Title("抄成了别的格", "核对编号：这个数属于另一格。", FALLBACK),
}
