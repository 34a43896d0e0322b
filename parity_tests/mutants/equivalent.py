"""看不出来的变异体：改了写法没有改函数的，逐条写明为什么任何测试都认不出它。

键是 ``Mutant.name``。表里的哪一条若被测试认出来了，或不再存在，``test_mutants.py`` 与 ``--write`` 就报错。
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "prelu.w [condition] x > 0 -> x >= 0": "只在 x = 0 时不同，那里另一条分支是 g·x = 0",
    "nextafter.a [stale save] b -> y": "a 的下一个数等于 a，当且仅当 a = b：两个条件处处同真假",
    "traversal.accumulate_low [axis] True -> False": "标记的是内存归不归我们；当作不归，只是另开一块来相加",
    "LBFGS._Search.is_flat [sign] return bool(np.abs(self.grad).max(initial=0) <= self.group['tolerance_grad'])"
    " -> -bool(np.abs(self.grad).max(initial=0) <= self.group['tolerance_grad'])": "-True 仍是真，-False 仍是假",
    "LBFGS._Search.is_flat [constant] return bool(np.abs(self.grad).max(initial=0) <= self.group['tolerance_grad'])"
    " -> bool(np.abs(self.grad).max(initial=0) <= self.group['tolerance_grad']) * 2": "只当作条件用：真的两倍还是真",
    "shape._add_rows [condition] width < 64 -> width <= 64": "宽行与窄行两种加法给出同一个和，界线只管快慢",
    "vector_norm.x [constant] 0.0 -> 1.0 #2": "y = 0 则 x 全是 0，后面的因子 x 把它乘成 0",
    "vector_norm.x [constant] 0.0 -> 1.0 #4": "这些位置 x = 0，后面的因子 sign(x) 把它乘成 0",
    "linear._weight_gradient [off by one] 1 -> 2 #2": "一小段至少几行：段的长短不改变和",
    "activation._elu_slope [condition] x <= 0 -> x < 0": "只在 x = 0 时不同，那里换成 0 与不换是一回事",
    "atan2.a [operand order] _inverse_square(a, b) -> _inverse_square(b, a)": "1/(a² + b²) 对 a、b 对称",
    "atan2.b [operand order] _inverse_square(a, b) -> _inverse_square(b, a)": "1/(a² + b²) 对 a、b 对称",
    "attention._hidden [constant] return hidden | np.tril(np.ones((t_query, t_key), bool), -window)"
    " -> (hidden | np.tril(np.ones((t_query, t_key), bool), -window)) * 2": "只当作条件用：真的两倍还是真",
    "fmax.a [stale save] b -> y": "a 不比 b 小，当且仅当 a 不比两者中较大的小；NaN 时也同真假",
    "fmax.b [stale save] b -> y": "a 不比 b 小，当且仅当 a 不比两者中较大的小；NaN 时也同真假",
    "fmin.a [stale save] b -> y": "a 不比 b 大，当且仅当 a 不比两者中较小的大；NaN 时也同真假",
    "fmin.b [stale save] b -> y": "a 不比 b 大，当且仅当 a 不比两者中较小的大；NaN 时也同真假",
    "linear.joint [off by one] 1 -> 2": "reshape(-2, …)：NumPy 把任何负数都当作「由总数算出」，与 -1 相同",
    "linear.joint [off by one] 1 -> 2 #3": "reshape(-2, …)：NumPy 把任何负数都当作「由总数算出」，与 -1 相同",
    "loss._reduction_weight [constant] return float('nan') -> float('nan') * 2": "NaN 的两倍还是 NaN",
    "special_functions._i1_slope [condition] abs(x) < _TINY -> abs(x) <= _TINY": "只在 |x| = 阈值时不同，那里两式同值",
    "hardshrink.x [stale save] x -> y": "|x| > λ 时 y = x，否则 y = 0 也在 [-λ, λ] 里：两个条件在每个点上真假相同",
    "special_functions._i1_slope [wrong operand] x -> y": "只在 y ≈ x/2 < 阈值 ≤ x 时不同，那里两条公式都是 1/2",
    "special_functions._i1e_slope [condition] abs(x) < _TINY -> abs(x) <= _TINY": "只在 |x| = 阈值时不同，那里两式同值",
    "vector_norm.x [constant] 0.0 -> 1.0 #5": "y = 0 则 x 全是 0，后面的因子 sign(x) 把它乘成 0",
    "pow_scalar.x [constant] return g * 0.0 -> g * 0.0 * 2": "0 的两倍还是 0",
    "LBFGS._History.two_loops [operand order] self.ys[i] @ r -> r @ self.ys[i]": "两个向量的内积：各项的积可交换",
    "LBFGS._Search.flat_gradient [off by one] 1 -> 2": "reshape(-2)：NumPy 把任何负数都当作「由总数算出」，与 -1 相同",
    "LBFGS._History.two_loops [operand order] self.ss[i] @ q -> q @ self.ss[i]": "两个向量的内积：各项的积可交换",
    "LBFGS._History.remember [operand order] y @ s -> s @ y": "两个向量的内积：各项的积可交换",
    "LBFGS._Search.run [operand order] self.grad @ d -> d @ self.grad": "两个向量的内积：各项的积可交换",
    "attention._hidden [constant] return hidden -> hidden * 2": "只当作条件用：真的两倍还是真",
    "elementwise._outside [constant] return ~(x >= low) -> ~(x >= low) * 2": "只当作条件用：真的两倍还是真",
    "relu.x [stale save] y -> x": "y 大于 0，当且仅当 x 大于 0；NaN 时也同真假",
    "hardtanh.x [stale save] x -> y": "夹在区间里的 y 与 x 落在开区间之内，同真假",
    "xlogy.a [stale save] a -> y": "b 不大于 0 时 y = 0，当且仅当 a = 0",
    "traversal.unbroadcast [condition] shape.expand(g, shape=shape_) if not have else _reshaped_like(g, shape_)"
    " -> _reshaped_like(g, shape_)": "0 维的梯度维数不够，_reshaped_like 也是把它扩开",
    "traversal.add_region [dropped term] self.owned.add(edge) -> (nothing)": "记的是内存归不归我们；不记只是多抄一份",
    "traversal.accumulate [dropped term] self.owned.add(edge) -> (nothing)": "记的是内存归不归我们；不记只是多抄一份",
    "traversal.accumulate [axis] True -> False": "标记的是内存归不归我们；当作不归，只是另开一块来相加",
    "traversal.deliver_tensor [axis] False -> True": "记图时从不就地相加：没有人看这个标记",
    "arrays.lerp [condition] weight < 0.5 -> weight <= 0.5": "只在恰为一半时不同，那里两式同值",
    "cofactor.x [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "cofactor.x [operator] det(u) * det(vh) -> det(u) / det(vh)": "正交阵的行列式是 ±1，乘与除相同",
}
"""变异体的名字 → 为什么它与原文是同一个函数。"""
