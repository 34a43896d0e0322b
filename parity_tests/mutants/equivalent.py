"""看不出来的变异体：改了写法没有改函数的，逐条写明为什么任何测试都认不出它。

键是 ``Mutant.name``。表里的哪一条若被测试认出来了，或不再存在，``test_mutants.py`` 与 ``--write`` 就报错。
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "LBFGS._History.remember [operand order] y @ s -> s @ y": "两个向量的内积：各项的积可交换",
    "LBFGS._History.two_loops [operand order] self.ss[i] @ q -> q @ self.ss[i]": "两个向量的内积：各项的积可交换",
    "LBFGS._History.two_loops [operand order] self.ys[i] @ r -> r @ self.ys[i]": "两个向量的内积：各项的积可交换",
    "LBFGS._Search.run [off by one] 1 -> 2 #2": "到第 most 步总会停下，上界多一无妨",
    "LBFGS._Search.run [operand order] self.grad @ d -> d @ self.grad": "两个向量的内积：各项的积可交换",
    "adafactor._rms [constant] 0.0 -> 1.0": "没有元素的参数：均方根是几都没有可更新的",
    "adamw.adamw_update [off by one] 1 -> 2 #3": "scale = 1 时多乘一遍 1",
    "arrays.lerp [condition] weight < 0.5 -> weight <= 0.5": "只在恰为一半时不同，那里两式同值",
    "arrays.lerp [constant] 0.5 -> 0.75": "两式同值，只是舍入不同",
    "atan2.a [operand order] _inverse_square(a, b) -> _inverse_square(b, a)": "1/(a² + b²) 对 a、b 对称",
    "atan2.b [operand order] _inverse_square(a, b) -> _inverse_square(b, a)": "1/(a² + b²) 对 a、b 对称",
    "attention._few_queries [off by one] 0 -> 1": "看得见的分数一起加 1，softmax 不变",
    "attention._few_queries [off by one] 2 -> 3 #5": "前面的轴并成一根，掩码照样逐个加上",
    "attention._hidden [constant] return hidden -> hidden * 2": "只当作条件用：真的两倍还是真",
    "attention._hidden [constant] return hidden | np.tril(np.ones((t_query, t_key), bool), -window)"
    " -> (hidden | np.tril(np.ones((t_query, t_key), bool), -window)) * 2": "只当作条件用：真的两倍还是真",
    "attention._time_major [constant] return np.empty((batch, length, heads, width), dtype).swapaxes(1,"
    " 2)"
    " -> np.empty((batch, length, heads, width), dtype).swapaxes(1, 2) * 2": "数组还没有填：变号、加倍都无妨",
    "attention._time_major [sign] return np.empty((batch, length, heads, width), dtype).swapaxes(1, 2)"
    " -> -np.empty((batch, length, heads, width), dtype).swapaxes(1, 2)": "数组还没有填：变号、加倍都无妨",
    "attention.forward [constant] return _attend(q, k, v, is_causal, scale, window, keep=not recompute)"
    " -> _attend(q, k, v, is_causal, scale, window, keep=not recompute) * 2": "元组写了两遍，只取前几个",
    "clamp_between.high [stale save] high -> y": "x > y 当且仅当 x > high，y < low 当且仅当 high < low",
    "clamp_between.low [stale save] low -> y": "x < y 当且仅当 x < low（且 low < high），y < high 同真假",
    "clamp_between.x [stale save] high -> y": "x ≥ low 时，x ≤ y 当且仅当 x ≤ high；x < low 的本来就在外面",
    "cofactor.forward [sign] -1 -> 1": "选出来的总是一批，奇异值只有两根轴：-1 就是 1",
    "cofactor.forward [sign] -1 -> 1 #2": "选出来的总是一批，奇异值只有两根轴：-1 就是 1",
    "cofactor.forward [sign] -1 -> 1 #3": "选出来的总是一批，奇异值只有两根轴：-1 就是 1",
    "cofactor.forward [sign] -1 -> 1 #4": "选出来的总是一批，奇异值只有两根轴：-1 就是 1",
    "cofactor.x [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "cofactor.x [operator] det(u) * det(vh) -> det(u) / det(vh)": "正交阵的行列式是 ±1，乘与除相同",
    "complex.forward [wrong operand] a -> b": "实部与虚部的 dtype 相同",
    "conv_weight.forward [wrong operand] g_in -> x #2": "输入与梯度的批一样长",
    "copysign.a [wrong operand] a -> y #2": "y = 0 当且仅当 a = 0",
    "distances._slope [constant] 1.0 -> 1.5": "只垫在没有选中的一支里",
    "eigh.forward [constant] return np.full((*x.shape[:-2], (x.shape[-1] + 1) * x.shape[-1]), np.nan,"
    " x.dtype)"
    " -> np.full((*x.shape[:-2], (x.shape[-1] + 1) * x.shape[-1]),"
    " np.nan, x.dtype) * 2": "处处是 NaN：变号、加倍还是它",
    "eigh.forward [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "eigh.forward [off by one] 1 -> 2 #3": "方阵：最后一根轴与倒数第二根一样长",
    "eigh.forward [sign] return np.full((*x.shape[:-2], (x.shape[-1] + 1) * x.shape[-1]), np.nan,"
    " x.dtype)"
    " -> -np.full((*x.shape[:-2], (x.shape[-1] + 1) * x.shape[-1]), np.nan, x.dtype)": "处处是 NaN：变号、加倍还是它",
    "eigh.x [constant] 1.0 -> 1.5": "只垫在对角线上，那里另取特征值的梯度",
    "eigh.x [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "elementwise._integer_power [wrong operand] b -> a #4": "两者先已换成同一种 dtype",
    "elementwise._outside [constant] return ~((x >= low) & (x <= high))"
    " -> ~((x >= low) & (x <= high)) * 2": "只当作条件用：真的两倍还是真",
    "elementwise._outside [constant] return ~(x <= high) -> ~(x <= high) * 2": "只当作条件用：真的两倍还是真",
    "elementwise._outside [constant] return ~(x >= low) -> ~(x >= low) * 2": "只当作条件用：真的两倍还是真",
    "elu.forward [off by one] 0 -> 1": "x < 0 才取这一支，那里 min(1, x) 也是 x",
    "exponential._logit_slope [constant] 1.0 -> 1.5": "-1 只表示「没有截断」：任何负数都一样",
    "fmax.a [stale save] b -> y": "a 不比 b 小，当且仅当 a 不比两者中较大的小；NaN 时也同真假",
    "fmax.b [stale save] b -> y": "a 不比 b 小，当且仅当 a 不比两者中较大的小；NaN 时也同真假",
    "fmin.a [stale save] b -> y": "a 不比 b 大，当且仅当 a 不比两者中较小的大；NaN 时也同真假",
    "fmin.b [stale save] b -> y": "a 不比 b 大，当且仅当 a 不比两者中较小的大；NaN 时也同真假",
    "gelu._by_rows [constant] return outputs -> outputs * 2": "元组写了两遍，只取前几个",
    "gelu._by_rows [constant] return tuple((y.transpose(np.argsort(order)) for y in"
    " _by_rows(x.transpose(order), kernel, count)))"
    " -> tuple((y.transpose(np.argsort(order)) for y in _by_rows(x.transpose(order),"
    " kernel, count))) * 2": "元组写了两遍，只取前几个",
    "gelu._by_rows [off by one] 0 -> 1": "输入与输出的形状相同",
    "gelu._by_rows [sign] -x.strides[axis] -> x.strides[axis]": "换个次序逐块算，结果由 like_operands 照输入排好",
    "gelu._gelu_kernel [wrong operand] slope -> x": "多算一份斜率，不用",
    "gelu._gelu_tanh_kernel [wrong operand] slope -> x": "多算一份斜率，不用",
    "gelu.forward [constant] return _by_rows(x, _gelu_kernel, 2)"
    " -> _by_rows(x, _gelu_kernel, 2) * 2": "元组写了两遍，只取前几个",
    "gelu.plain [off by one] 1 -> 2": "多算一份斜率，不用",
    "gelu_tanh.forward [constant] return _by_rows(x, _gelu_tanh_kernel, 2)"
    " -> _by_rows(x, _gelu_tanh_kernel, 2) * 2": "元组写了两遍，只取前几个",
    "gelu_tanh.plain [off by one] 1 -> 2": "多算一份斜率，不用",
    "hardshrink.x [stale save] x -> y": "|x| > λ 时 y = x，否则 y = 0 也在 [-λ, λ] 里：两个条件在每个点上真假相同",
    "hardtanh.x [stale save] x -> y": "夹在区间里的 y 与 x 落在开区间之内，同真假",
    "inverses._pade [dropped factor] b[13] * x6 -> x6": "最高次的系数就是 1",
    "inverses._pade [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "inverses._pade [operand order] x @ (x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] *"
    " x4 + b[3] * x2 + b[1] * one)"
    " -> (x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * one) @"
    " x": "同一个矩阵的多项式彼此可交换",
    "inverses._pade [operand order] x2 @ x4 -> x4 @ x2": "同一个矩阵的多项式彼此可交换",
    "inverses._pade [operand order] x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2)"
    " -> (b[12] * x6 + b[10] * x4 + b[8] * x2) @ x6": "同一个矩阵的多项式彼此可交换",
    "inverses._pade [operand order] x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2)"
    " -> (b[13] * x6 + b[11] * x4 + b[9] * x2) @ x6": "同一个矩阵的多项式彼此可交换",
    "layer_norm.plain [off by one] 0 -> 1": "不留时 x̂ 与 y 是同一个数组",
    "line_search._bracket [condition] point.slope >= 0 -> point.slope > 0": "坡度为 0 的点前面已经当作够平的返回",
    "line_search._inside [condition] max(ends) - t < t - min(ends)"
    " -> max(ends) - t <= t - min(ends)": "离两端一样远就在正中，前面已经原样返回",
    "line_search._zoom [condition] point.slope * (ends[high].t - ends[low].t) >= 0"
    " -> point.slope * (ends[high].t - ends[low].t) > 0": "坡度为 0 的点前面已经当作够平的返回，两端也不重合",
    "line_search._zoom [operator] point.slope * (ends[high].t - ends[low].t)"
    " -> point.slope / (ends[high].t - ends[low].t)": "只看符号：乘与除相同",
    "line_search.cubic_minimum [condition] a.t > b.t -> a.t >= b.t": "两点重合的前面已经返回",
    "linear._product [condition] rows > columns -> rows >= columns": "行列一样多时，按哪边切都一样",
    "linear._size [sign] return n -> -n": "reshape 里的负数由总数算出，恰是同一个数",
    "logsumexp.forward [off by one] 0 -> 1": "这一行的结果反正是 ±inf",
    "loss._reduction_weight [constant] return float('nan') -> float('nan') * 2": "NaN 的两倍还是 NaN",
    "loss._reduction_weight [sign] return float('nan') -> -float('nan')": "NaN 变号还是 NaN",
    "lu.x [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "matrix_exp.forward [constant] return np.array(x) -> np.array(x) * 2": "没有元素的数组：加倍还是它",
    "matrix_exp.forward [dropped factor] norm / 5.37 -> norm": "多缩一两次、多平方一两次，值不变",
    "matrix_exp.forward [off by one] 0 -> 1 #2": "至少缩一次：多平方一次，值不变",
    "matrix_exp.forward [off by one] 0 -> 1 #3": "不是有限的那几个，结果另写成 NaN",
    "matrix_exp.forward [off by one] 0 -> 1 #4": "不是有限的那几个，结果另写成 NaN",
    "matrix_exp.forward [off by one] 0 -> 1 #5": "空转一圈，没有要平方的",
    "matrix_exp.forward [operator] norm / 5.37 -> norm * 5.37": "多缩几次、多平方几次，值不变",
    "matrix_exp.forward [sign] return np.array(x) -> -np.array(x)": "没有元素的数组：变号还是它",
    "matrix_exp.x [off by one] 1 -> 2": "方阵：最后一根轴与倒数第二根一样长",
    "muon.muon_update [off by one] 1 -> 2": "scale = 1 时多乘一遍 1",
    "nextafter.a [stale save] b -> y": "a 的下一个数等于 a，当且仅当 a = b：两个条件处处同真假",
    "norm._affine [wrong operand] h -> weight #2": "out 就是 h 时多抄一遍自己",
    "norm._layer_norm [condition] np.empty(x.shape, x.dtype) if keep else y"
    " -> np.empty(x.shape, x.dtype)": "多占一块内存，算的相同",
    "norm._rms_norm [condition] np.empty(x.shape, x.dtype) if keep else y"
    " -> np.empty(x.shape, x.dtype)": "多占一块内存，算的相同",
    "prelu.w [condition] x > 0 -> x >= 0": "只在 x = 0 时不同，那里另一条分支是 g·x = 0",
    "reduce._norm [off by one] 1 -> 2": "p = 1 时走通用的一支，值不变",
    "relu.x [stale save] y -> x": "y 大于 0，当且仅当 x 大于 0；NaN 时也同真假",
    "rms_norm.plain [off by one] 0 -> 1": "不留时 x̂ 与 y 是同一个数组",
    "scattering._product_slope [constant] 1.0 -> 1.5": "x = 0 处先换成几，乘完又除以几",
    "scattering._product_slope_src [constant] 1.0 -> 1.5 #3": "只垫在为 0 的分母上，那里的分子也是 0（或换走了）",
    "sgd.sgd_update [condition] g * (1 - dampening) if dampening else g -> g * (1 - dampening)": "没有阻尼时多乘一遍 1",
    "sgd.sgd_update [off by one] 1 -> 2": "scale = 1 时多乘一遍 1",
    "sgn.z [wrong operand] z -> y #2": "y = 0 当且仅当 z = 0",
    "shape._add_rows [condition] width < 64 -> width <= 64": "宽行与窄行两种加法给出同一个和，界线只管快慢",
    "shape._add_rows [off by one] 64 -> 65": "宽行与窄行两种加法给出同一个和，界线只管快慢",
    "shape._add_rows [sign] -1 -> 1": "权重表总是两维：第 1 轴就是最后一轴",
    "shape._expanded_strides [off by one] 0 -> 1 #2": "逐个都会重写，起初是几都一样",
    "shape._expanded_strides [wrong operand] have -> steps": "形状与步长的个数相同，只取个数",
    "shape._in_row_order [condition] 1 not in x.shape or np.ndarray(x.shape, x.dtype, x).strides =="
    " x.strides"
    " -> 1 not in x.shape and np.ndarray(x.shape, x.dtype, x).strides == x.strides": "改走慢的一支，排出来的次序相同",
    "shape._picked_order [condition] axis < places[0] -> axis <= places[0]": "没有下标的轴不会正好在下标的位置上",
    "silu.forward [constant] return _by_rows(x, _silu_kernel, 2)"
    " -> _by_rows(x, _silu_kernel, 2) * 2": "元组写了两遍，只取前几个",
    "silu.plain [off by one] 1 -> 2": "多算一份斜率，不用",
    "special_functions._i1_slope [condition] abs(x) < _TINY -> abs(x) <= _TINY": "只在 |x| = 阈值时不同，那里两式同值",
    "special_functions._i1_slope [constant] 1.0 -> 1.5": "只垫在没有选中的一支里",
    "special_functions._i1_slope [wrong operand] x -> y": "只在 y ≈ x/2 < 阈值 ≤ x 时不同，那里两条公式都是 1/2",
    "special_functions._i1e_slope [condition] abs(x) < _TINY -> abs(x) <= _TINY": "只在 |x| = 阈值时不同，那里两式同值",
    "special_functions._i1e_slope [constant] 1.0 -> 1.5": "只垫在没有选中的一支里",
    "special_functions._i1e_slope [wrong operand] x -> y": "只在 y ≈ x/2 < 阈值 ≤ x 时不同，那里两条公式同值",
    "special_functions._normal_hazard [constant] 0.0 -> 1.0": "这一支只在 x < 0 处选中，那里两者都是 x",
    "std.x [constant] 0.0 -> 1.0": "y = 0 则各个 x 都等于均值，后面的因子 x - x̄ 把它乘成 0",
    "svd.x [condition] m > k -> m >= k": "m = k 时 U 张满整个空间，转出空间的那一份是 0（舍入以内）",
    "svd.x [condition] n > k -> n >= k": "n = k 时 V 张满整个空间，转出空间的那一份是 0（舍入以内）",
    "token_loss.joint [axis] False -> True": "多算一份偏置的梯度，随即丢掉",
    "traversal.accumulate [axis] True -> False": "标记的是内存归不归我们；当作不归，只是另开一块来相加",
    "traversal.accumulate [dropped term] self.owned.add(edge) -> (nothing)": "记的是内存归不归我们；不记只是多抄一份",
    "traversal.accumulate_low [axis] True -> False": "标记的是内存归不归我们；当作不归，只是另开一块来相加",
    "traversal.add_region [dropped term] self.owned.add(edge) -> (nothing)": "记的是内存归不归我们；不记只是多抄一份",
    "traversal.deliver_tensor [axis] False -> True": "记图时从不就地相加：没有人看这个标记",
    "traversal.unbroadcast [condition] shape.expand(g, shape=shape_) if not have else _reshaped_like(g,"
    " shape_)"
    " -> _reshaped_like(g, shape_)": "0 维的梯度维数不够，_reshaped_like 也是把它扩开",
    "trigonometry._inverse_square [constant] 0.0 -> 1.0": "原点处两行还要乘上的 a 与 b 都是 0",
    "trigonometry._sinc_slope [constant] 1.0 -> 1.5": "只垫在没有选中的一支里",
    "vector_norm.x [condition] p < 1 -> p <= 1": "p = 1 在前面已经返回",
    "vector_norm.x [constant] 0.0 -> 1.0 #3": "这些位置 x = 0，后面的因子 sign(x) 把它乘成 0",
    "vector_norm.x [constant] 0.0 -> 1.0 #4": "y = 0 则 x 全是 0，后面的因子 sign(x) 把它乘成 0",
    "vector_norm.x [off by one] 1 -> 2 #3": "1 < p < 2 而 x = 0 时，|x|^(p-1) 本来就是 0",
    "views._positions [constant] return found -> found * 2": "处处隔一格放，读也照样隔一格",
    "views._through_memory [condition] times.max(initial=0) > 1 -> times.max(initial=0) >= 1": "都不重叠时除以 1",
    "views._through_memory [off by one] 0 -> 1": "内存多出一格，没有人读",
    "views._through_memory [off by one] 0 -> 1 #2": "没有元素：除不除都一样",
    "views._through_memory [off by one] 1 -> 2": "内存多出一格，没有人读",
    "xlog1py.a [stale save] a -> y": "b 不大于 -1 时 y = 0，当且仅当 a = 0",
    "xlogy.a [stale save] a -> y": "b 不大于 0 时 y = 0，当且仅当 a = 0",
}
"""变异体的名字 → 为什么它与原文是同一个函数。"""
