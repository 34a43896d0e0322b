"""名字在哪个文件里：torch 的模块路径（``PATHS``），与顶层用到才加载的名字（``LAZY``）。

流入：``nn.modules.linear`` 这样的路径，或 ``load`` 这样的名字；流出：该到哪些文件里取。装入路径的是 ``finder.py``。
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
    "_C": ("jit", ""),
    "nn.attention.flex_attention": ("nn.flex_attention",),
    "nn.modules.lazy": ("nn.lazy",),
    **{f"nn.modules.{name}": ("nn",) for name in _LAYERS.split()},
    **{f"backends.{name}": ("backends.libraries",) for name in ("mkl", "mkldnn", "nnpack", "openmp", "opt_einsum")},
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
    "nn.utils.init": ("nn.utils.fusion",),
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

_BY_FILE = {
    "amp": "GradScaler autocast get_autocast_dtype is_autocast_enabled",
    "amp.autocast_mode": "clear_autocast_cache get_autocast_cpu_dtype get_autocast_gpu_dtype "
    "is_autocast_cache_enabled is_autocast_cpu_enabled",
    "autograd.anomaly": "is_anomaly_check_nan_enabled is_anomaly_enabled set_anomaly_enabled",
    "compiler": "compile",
    "cuda": "OutOfMemoryError",
    "differences": "gradient",
    "func": "vmap",
    "linalg.factoring": "lu_unpack",
    "linalg.lowrank": "pca_lowrank svd_lowrank",
    "nn.functional": "adaptive_avg_pool1d avg_pool1d bilinear celu celu_ channel_shuffle conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity max_pool1d max_pool2d max_pool3d "
    "pairwise_distance pdist pixel_shuffle pixel_unshuffle rms_norm rrelu rrelu_ selu selu_ threshold threshold_",
    "nn.low_level": "adaptive_max_pool1d alpha_dropout alpha_dropout_ batch_norm binary_cross_entropy_with_logits "
    "cosine_embedding_loss ctc_loss dropout dropout_ embedding feature_alpha_dropout feature_alpha_dropout_ "
    "feature_dropout feature_dropout_ group_norm hinge_embedding_loss instance_norm kl_div layer_norm "
    "margin_ranking_loss max_pool1d_with_indices poisson_nll_loss triplet_margin_loss",
    "nn.padding": "constant_pad_nd",
    "profiler.summary": "memory_summary",
    "serialization": "load save",
    "storage": "TypedStorage UntypedStorage",
    "utils.dlpack": "from_dlpack to_dlpack",
    "settings": "are_deterministic_algorithms_enabled get_deterministic_debug_mode get_float32_matmul_precision "
    "get_num_interop_threads get_num_threads has_lapack has_mkl has_openmp has_spectral "
    "is_deterministic_algorithms_warn_only_enabled is_warn_always_enabled set_deterministic_debug_mode "
    "set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_num_threads set_warn_always "
    "use_deterministic_algorithms",
    "signal.window_functions": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
}

LAZY = {name: file for file, names in _BY_FILE.items() for name in names.split()}
"""顶层的名字，到第一次用它时才加载的文件：``import tinygrad_llm`` 不必先读那些文件。"""
