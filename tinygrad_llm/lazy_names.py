"""顶层的名字里用到才加载的：写明各在哪个文件，``import tinygrad_llm`` 就不必先读那些文件。

流入：没有；流出：``LAZY``，名字到 ``tinygrad_llm`` 之内的文件。
"""

from __future__ import annotations

_BY_FILE = {
    "amp": "GradScaler autocast get_autocast_dtype is_autocast_enabled",
    "autocast_switches": "clear_autocast_cache get_autocast_cpu_dtype get_autocast_gpu_dtype "
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
    "window_functions": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
}

LAZY = {name: file for file, names in _BY_FILE.items() for name in names.split()}
