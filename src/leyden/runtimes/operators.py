"""The operators that an untrusted program of torch.export may run."""

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch

# Operators of ATen for inference, each also in place (`add_`). Left out are those that read files, change torch's
# state, draw random numbers, return uninitialised memory, or do not check their arguments.
ATEN = frozenset(
    re.findall(
        r"\w+",
        """
    __and__ __or__ __xor__ _assert_async _assert_scalar _assert_tensor_metadata _to_copy _upsample_bicubic2d_aa
    _upsample_bilinear2d_aa _upsample_nearest_exact2d _weight_norm abs acos adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul addmm
    affine_grid_generator alias all alpha_dropout amax amin any arange argmax argmin argsort asin atan atan2
    avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bilinear bitwise_and bitwise_not bitwise_or bitwise_xor bmm
    broadcast_to cat cdist ceil celu channel_shuffle chunk clamp clamp_max clamp_min clone col2im concat
    constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution copy cos cosh
    cosine_similarity count_nonzero cross cumprod cumsum detach diag diag_embed diagonal diff div divide dot dropout
    einsum elu embedding eq erf erfc erfinv exp exp2 expand expand_as expm1 eye feature_dropout fill flatten flip
    floor floor_divide fmod frac full full_like gather ge gelu glu grid_sampler group_norm gt hardsigmoid hardswish
    hardtanh hstack im2col index index_add index_put index_select instance_norm isfinite isinf isnan item kron
    layer_norm le leaky_relu lerp lift_fresh_copy linalg_norm linalg_vector_norm linear linspace log log10 log1p
    log2 log_sigmoid log_softmax logcumsumexp logical_and logical_not logical_or logical_xor logit logsumexp lt
    masked_fill matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d maximum mean median meshgrid min
    minimum mish mm movedim mul multiply mv nan_to_num nansum narrow native_group_norm native_layer_norm ne neg
    new_full new_ones new_zeros norm one_hot ones ones_like outer pad pairwise_distance permute pixel_shuffle
    pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d relu relu6 remainder repeat
    replication_pad1d replication_pad2d reshape rms_norm roll rot90 round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add select selu sigmoid sign silu sin sinh slice softmax softplus
    softshrink sort split split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum swapaxes
    sym_constrain_range sym_constrain_range_for_size sym_numel sym_size sym_stride t take_along_dim tan tanh
    tensor_split tensordot threshold tile to topk trace transpose tril triu trunc type_as unbind unflatten unfold
    unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_trilinear3d var var_mean vdot view view_as where xlogy zero zeros zeros_like
    """,
    )
)
TARGET = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
MAX_INT64 = 2**63 - 1


def find_operator(target: Any) -> Callable[..., Any] | None:
    """Return the operator with a name as torch.export writes it, or None if it is not allowed.

    Examples are torch.ops.aten.add.Tensor, and _operator.mul for sizes.
    """
    if not isinstance(target, str):
        return None
    if target in NUMBER_FUNCTIONS:
        return restrict_to_numbers(NUMBER_FUNCTIONS[target])
    match = TARGET.fullmatch(target)
    if match is None or not {match[1], match[1].removesuffix("_")} & ATEN:
        return None
    overload = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
    # TorchScript's own operators are not in the dispatcher.
    if not isinstance(overload, torch._ops.OpOverload) or not torch._C._dispatch_has_kernel(overload.name()):
        return None
    return None if any(argument.is_out for argument in overload._schema.arguments) else overload


def restrict_to_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Restrict a function to numbers of 64 bits: Python's operators also accept strings, lists and larger integers."""

    def run(*args: Any) -> Any:
        if any(type(value) not in (int, float, bool) for value in args):
            raise TypeError(f"expected numbers; got {', '.join(type(value).__name__ for value in args)}")
        result = function(*args)
        if abs(result) > MAX_INT64:
            raise OverflowError("a size beyond 64 bits")
        return result

    return run


ARITHMETIC = "abs add eq floordiv ge gt le lt mod mul ne neg not_ pos sub truediv"
NUMBER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (*ARITHMETIC.split(), "and_", "or_")},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_ite": lambda condition, if_true, if_false: if_true if condition else if_false,
}
