"""The op type of every torch function and ATen operator without multiply-accumulates, by name.

Functions of these names need no rule of their own: `generic` asks torch for the result's shape and
takes the op type from here. The keys are those of `ops.ZERO_COST`, which says why each costs none.
"""

_NAMES = {
    "activation": """
        relu relu6 hardtanh sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu elu selu celu
        rrelu softplus mish logsigmoid log_sigmoid softsign tanhshrink hardshrink softshrink
        threshold prelu _prelu_kernel glu""",
    "adaptive_pool": """
        _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d""",
    "comparison": """
        eq ne lt le gt ge logical_and logical_or logical_not logical_xor isnan isinf isfinite""",
    "concat": "cat stack",
    "copy": """
        clone roll flip fliplr flipud rot90 repeat tile repeat_interleave pad constant_pad_nd
        reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d im2col col2im
        block_diag diag_embed max_unpool2d max_unpool3d scatter scatter_add index_add index_copy
        masked_scatter index_put slice_scatter select_scatter _to_copy""",
    "creation": """
        zeros ones empty rand randn full randint randperm arange linspace logspace eye
        tensor as_tensor zeros_like ones_like empty_like full_like rand_like randn_like
        new_zeros new_ones new_empty new_full new_tensor empty_strided scalar_tensor""",
    "dropout": "native_dropout",
    "elementwise": """
        add sub subtract rsub mul multiply div divide true_divide floor_divide remainder fmod neg
        negative pos exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow sin cos tan asin acos
        atan atan2 sinh cosh erf erfc ceil floor round trunc frac sign reciprocal clamp clip
        clamp_min clamp_max maximum minimum fmax fmin lerp addcmul addcdiv masked_fill nan_to_num
        tril triu cumsum cumprod logit xlogy logaddexp _weight_norm fill zero copy bernoulli uniform
        normal exponential random bitwise_and bitwise_or bitwise_not bitwise_xor and or xor where
        abs absolute angle complex polar outer ger""",
    "embedding": """
        embedding index index_select gather take_along_dim _embedding_bag
        _embedding_bag_forward_only""",
    "norm": """
        native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
        _batch_norm_no_update _batch_norm_with_update cudnn_batch_norm native_layer_norm
        native_group_norm _fused_rms_norm""",
    "pool": """
        max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d
        fractional_max_pool2d fractional_max_pool3d""",
    "reduction": """
        sum mean prod amax amin nansum nanmean logsumexp all any argmax argmin count_nonzero
        norm linalg_vector_norm linalg_norm std var std_mean var_mean max min median mode
        nll_loss_forward mse_loss smooth_l1_loss huber_loss""",
    "reshape": """
        view reshape _unsafe_view _reshape_alias view_as reshape_as expand_as flatten unflatten
        ravel permute transpose swapaxes swapdims t adjoint movedim moveaxis squeeze unsqueeze
        expand broadcast_to chunk split split_with_sizes unsafe_split unsafe_chunk tensor_split
        unbind narrow select slice unfold as_strided diagonal meshgrid contiguous alias detach conj
        _conj resolve_conj resolve_neg lift_fresh positive real imag view_as_real view_as_complex
        pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle""",
    "softmax": "softmax log_softmax softmin _softmax _log_softmax _safe_softmax",
    "sort": "sort topk argsort",
    "upsample": """
        interpolate upsample grid_sample upsample_nearest1d upsample_nearest2d upsample_nearest3d
        upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
        _upsample_bilinear2d_aa grid_sampler_2d grid_sampler_3d""",
}

KINDS: dict[str, str] = {name: op for op, names in _NAMES.items() for name in names.split()}
