"""torch 的模块路径：那边单有一个文件、这里另有归处的，写在 ``PATHS`` 里，``import`` 时照样找得到。

流入：``nn.modules.linear`` 这样的路径；流出：它的名字该到哪几个文件里取。装入这些路径的是 ``finder.py``。
"""

from __future__ import annotations

_LAYERS = (
    "activation adaptive batchnorm channelshuffle container conv distance dropout flatten fold instancenorm linear "
    "linear_cross_entropy_options loss normalization padding pixelshuffle pooling rnn sparse transformer upsampling"
)
_DISTRIBUTIONS = {
    "categorical": "multinomial one_hot_categorical",
    "continuous": "cauchy exponential laplace normal uniform",
    "counting": "bernoulli binomial geometric negative_binomial poisson",
    "gammas": "beta chi2 dirichlet fishersnedecor gamma studentT",
    "relaxed": "relaxed_bernoulli relaxed_categorical",
    "transformed": "gumbel half_cauchy half_normal inverse_gamma log_normal pareto weibull",
    "unit": "kumaraswamy logistic_normal",
}

PATHS: dict[str, tuple[str, ...]] = {
    "nn.attention.flex_attention": ("nn.flex_attention",),
    "nn.modules.lazy": ("nn.lazy",),
    **{f"nn.modules.{name}": ("nn",) for name in _LAYERS.split()},
    **{f"backends.{name}": ("backends.libraries",) for name in ("mkl", "mkldnn", "nnpack", "openmp", "opt_einsum")},
    "amp.autocast_mode": ("amp",),
    "amp.grad_scaler": ("amp",),
    "autograd.anomaly_mode": ("autograd.anomaly",),
    "autograd.grad_mode": ("autograd",),
    "autograd.profiler": ("profiler.legacy",),
    "autograd.profiler_util": ("profiler.table", "profiler.events"),
    "cpu.amp": ("amp",),
    "cpu.amp.autocast_mode": ("amp",),
    "cpu.amp.grad_scaler": ("amp",),
    "cuda.amp.autocast_mode": ("cuda.amp",),
    "cuda.amp.common": ("cuda.amp",),
    "cuda.amp.grad_scaler": ("cuda.amp",),
    "cuda.random": ("cuda",),
    **{
        f"distributions.{name}": (f"distributions.{home}",)
        for home, names in _DISTRIBUTIONS.items()
        for name in names.split()
    },
    "functional": ("",),
    "nn.common_types": ("types",),
    "nn.parallel.data_parallel": ("nn.parallel",),
    "nn.parallel.distributed": ("nn.parallel",),
    "optim.adam": ("optim.adamw",),
    "utils.data._utils": (),
    "utils.data._utils.collate": ("utils.data.collate",),
    "utils.data._utils.worker": ("utils.data.worker",),
}
"""torch 的路径，到依次去找的文件；空串是 ``tinygrad_llm`` 自己。"""

RENAMED = {
    "nn.modules.batchnorm._BatchNorm": "nn.normalization_layers._BatchNorm",
    "nn.modules.batchnorm._NormBase": "nn.normalization_layers._Tracking",
    "nn.modules.conv._ConvNd": "nn.convolution_layers._Kernel",
    "nn.modules.conv._ConvTransposeNd": "nn.convolution_layers._Transposed",
    "nn.modules.dropout._DropoutNd": "nn.dropout_layers._Dropout",
    "nn.modules.instancenorm._InstanceNorm": "nn.normalization_layers._InstanceNorm",
    "nn.modules.loss._Loss": "nn.loss_layers.Loss",
    "nn.modules.loss._WeightedLoss": "nn.loss_layers.WeightedLoss",
    "nn.modules.module._IncompatibleKeys": "nn.module_state.IncompatibleKeys",
    "nn.modules.transformer._get_activation_fn": "nn.transformer._activation",
    "nn.modules.transformer._get_clones": "nn.transformer_stacks._copies",
}
"""torch 那边以下划线开头、却常被引用的名字，到这里的名字：多是 ``isinstance`` 要用的基类。"""
