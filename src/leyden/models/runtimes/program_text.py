"""The texts in a program of torch.export that torch resolves or evaluates: operators, expressions, and how inputs are nested."""

import ast
import json
import re
from typing import Any

import torch

# Of ATen, without those that read files, change torch's state or trust their arguments; each also in place (`add_`).
ATEN = (
    "_assert_async _assert_scalar _assert_tensor_metadata _to_copy __and__ __or__ __xor__ _upsample_bicubic2d_aa _upsample_bilinear2d_aa "
    "abs acos adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv "
    "addcmul addmm alias all amax amin any arange argmax argmin argsort asin atan atan2 avg_pool1d avg_pool2d avg_pool3d "
    "baddbmm batch_norm bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat ceil celu channel_shuffle chunk clamp "
    "clamp_max clamp_min clone concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution copy "
    "cos cosh cosine_similarity count_nonzero cumprod cumsum detach diag_embed diagonal div divide dot dropout einsum elu embedding eq "
    "erf exp expand expand_as expm1 eye feature_dropout fill flatten flip floor floor_divide fmod frac full full_like gather ge gelu glu "
    "grid_sampler group_norm gt hardsigmoid hardswish hardtanh hstack im2col index index_add index_put index_select instance_norm "
    "isfinite isinf isnan item layer_norm le leaky_relu lerp lift_fresh_copy linalg_vector_norm linear linspace log log10 log1p log2 "
    "log_sigmoid log_softmax logical_and logical_not logical_or logical_xor logit logsumexp lt masked_fill matmul max max_pool1d "
    "max_pool2d max_pool2d_with_indices maximum mean meshgrid min minimum mish mm movedim mul multiply mv nan_to_num narrow "
    "native_group_norm native_layer_norm ne neg new_full new_ones new_zeros norm one_hot ones ones_like pad permute pixel_shuffle "
    "pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d relu relu6 remainder repeat repeat_interleave "
    "replication_pad1d replication_pad2d reshape rms_norm roll rot90 round rsqrt rsub scalar_tensor scaled_dot_product_attention scatter "
    "scatter_add select selu sigmoid sign silu sin sinh slice softmax softplus sort split split_with_sizes sqrt square squeeze stack std "
    "sub subtract sum sym_constrain_range sym_constrain_range_for_size sym_numel sym_size sym_stride t take_along_dim tan tanh threshold "
    "tile to topk transpose tril triu trunc type_as unbind unflatten unfold unsqueeze upsample_bicubic2d upsample_bilinear2d "
    "upsample_nearest2d var var_mean view view_as where zeros zeros_like"
).replace(" ", "|")
OPERATORS = re.compile(
    rf"torch\.ops\.aten\.({ATEN})_?\.(?!(\w+_)?out$)\w+"
    r"|torch\.ops\.quantized_decomposed\.(de)?quantize_per_(tensor|channel|token)\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl)"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|sub|truediv)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.sym_(float|int|ite|max|min|not|sum)",
    re.ASCII,
)
FUNCTIONS = re.compile(
    "Integer|Rational|Add|Mul|Max|Min|Mod|And|Or|Not|Eq|Ne|Equality|Unequality|LessThan|StrictLessThan|GreaterThan|StrictGreaterThan|"
    "FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|ModularIndexing|PythonMod|CeilToInt|FloorToInt|ToFloat|Identity"
)
POWERS, LARGEST_POWER = ("Pow", "PowByNatural"), 16
SYMBOL = re.compile(r"[a-z]{1,3}\d{1,6}", re.ASCII)
KEY = re.compile(r"(?!__)\w+", re.ASCII)
LARGEST = 2**63 - 1


class NotDataError(Exception):
    """Say what in a program is more than data."""


def matches(pattern: re.Pattern[str], text: Any, what: str) -> Any:
    """Return a text that is as it should be.

    Raises:
        NotDataError: if it is not.
    """
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise NotDataError(f"it has {what} {str(text)[:80]!r}")
    return text


def operator_name(text: str) -> str:
    """Check an operator, and that torch resolves it to one: not to a class, nor to a function that only TorchScript calls."""
    matches(OPERATORS, text, "the operator")
    _, *parts = text.split(".")
    if parts[0] == "ops" and parts[1] != "higher_order":
        found = getattr(getattr(getattr(torch.ops, parts[1]), parts[2], None), parts[3], None)
        if not isinstance(found, torch._ops.OpOverload) or not torch._C._dispatch_has_kernel(found.name()):
            raise NotDataError(f"it has the operator {text[:80]!r}, which is not known here")
    return text


def checked_expression(text: str) -> str:
    """Write an expression anew: of a size, `Mul(Integer(4), Symbol('s0'))`, or a guard, `L['values'].size()[0] == L['lengths'].size()[0]`.

    As written, torch could read another one: it removes line breaks before it evaluates.
    """
    try:
        tree = ast.parse(text, mode="eval")
        is_right = is_expression(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        is_right = False
    if not is_right:
        raise NotDataError(f"it has the expression {text[:80]!r}")
    return ast.unparse(tree)


def is_expression(node: ast.expr) -> bool:
    """Return whether an expression computes with whole numbers, symbols and sizes of inputs, and nothing else."""
    match node:
        case ast.Constant(value=int(value)):
            return abs(value) <= LARGEST
        case ast.Name(id="true" | "false"):
            return True
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=options):
            return bool(SYMBOL.fullmatch(name)) and all(isinstance(each.value, ast.Constant) and type(each.value.value) is bool for each in options)
        case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if name in POWERS:
            return is_expression(base) and is_small(exponent)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return bool(FUNCTIONS.fullmatch(name)) and all(map(is_expression, args))
        case ast.Subscript(value=ast.Call(func=ast.Attribute(value=inputs, attr="size" | "stride"), args=[], keywords=[]), slice=index):
            return is_input(inputs) and isinstance(index, ast.Constant) and type(index.value) is int
        case ast.Compare(left=left, comparators=others):
            return all(map(is_expression, [left, *others])) and not any(
                isinstance(sign, ast.In | ast.NotIn | ast.Is | ast.IsNot) for sign in node.ops
            )
        case ast.BoolOp(values=values):
            return all(map(is_expression, values))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Mod(), right=right):
            return is_expression(left) and is_expression(right)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            return is_expression(operand)
    return False


def is_small(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int(value)) | ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(value))], keywords=[]):
            return 0 <= value <= LARGEST_POWER
    return False


def is_input(node: ast.expr) -> bool:
    """Return whether this is an input by its name, `L['values']`, or a part of one, `L['values'][0]`."""
    match node:
        case ast.Subscript(value=ast.Name(id="L"), slice=ast.Constant(value=str(name))):
            return bool(KEY.fullmatch(name))
        case ast.Subscript(value=outer, slice=ast.Constant(value=int() | str() as key)):
            return is_input(outer) and (isinstance(key, int) or bool(KEY.fullmatch(key)))
    return False


def checked_tree(text: str) -> str:
    """Check how inputs are nested, in tuples, lists and dicts by name: torch would import the class of any other."""
    version, tree = json.loads(text)
    if type(version) is not int:
        raise NotDataError("it has inputs that are nested in an unknown way")
    return json.dumps([version, checked_branch(tree)])


def checked_branch(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict) or tree.keys() != {"type", "context", "children_spec"} or not isinstance(tree["children_spec"], list):
        raise NotDataError("it has inputs that are nested in an unknown way")
    kind, context = tree["type"], tree["context"]
    names = json.loads(context) if isinstance(context, str) else context
    if kind not in (None, "builtins.tuple", "builtins.list", "builtins.dict") or not (names is None or isinstance(names, list)):
        raise NotDataError(f"it has inputs in {str(kind)[:80]!r}")
    keys = [matches(KEY, name, "the input") for name in names or []]
    shown = None if context is None else json.dumps(keys if isinstance(names, list) else None)
    return {"type": kind, "context": shown, "children_spec": [checked_branch(branch) for branch in tree["children_spec"]]}
