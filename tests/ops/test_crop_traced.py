"""The fused crop as an operator of torch: checked by torch itself, compiled and exported."""

import pytest
import torch
from torch import Tensor, nn

from leyden.ops.crop import crop_flip_normalize
from tests.ops.conftest import DTYPES, draw_crops


class Brightened(nn.Module):
    """The operator between operations that a compiler may touch."""

    def forward(
        self,
        images: Tensor,
        rows: Tensor,
        top: Tensor,
        left: Tensor,
        flip: Tensor,
        hole: Tensor,
        scale: Tensor,
        shift: Tensor,
    ) -> Tensor:
        return (
            crop_flip_normalize(
                images, rows, top + 0, left, ~flip, hole, scale * 2, shift, [2, 3], [4, 4], torch.bfloat16
            )
            + 1
        )


def draw_arguments(seed: int, batch_size: int) -> tuple[Tensor, ...]:
    crops = draw_crops(seed, batch_size=batch_size)
    return (*crops[:2], crops.top.clamp(max=3), crops.left.clamp(max=3), *crops[4:8])


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_finds_the_operator_well_formed(dtype):
    crops = draw_crops(3, dtype)
    torch.library.opcheck(crop_flip_normalize, tuple(crops))
    without_backward = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        crop_flip_normalize, tuple(crops._replace(scale=crops.scale.requires_grad_())), test_utils=without_backward
    )


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_without_a_graph_break(backend):
    model, arguments = Brightened(), draw_arguments(3, 40)
    out = torch.compile(model, fullgraph=True, backend=backend)(*arguments)
    assert torch.equal(out, model(*arguments)) and out.stride() == model(*arguments).stride()


def test_it_exports_with_any_batch_size():
    model, batch = Brightened(), torch.export.Dim("batch", min=2)
    shapes = (None, *[{0: batch}] * 5, None, None)
    program = torch.export.export(model, draw_arguments(3, 40), dynamic_shapes=shapes)
    assert "leyden.crop_flip_normalize.default" in str(program.graph)
    others = draw_arguments(3, 7)
    assert torch.equal(program.module()(*others), model(*others))


def test_a_wrong_shape_is_refused_while_tracing():
    images, rows, *others = draw_arguments(3, 40)
    with pytest.raises(Exception, match=r"expected top torch.int64 \(39,\)"):
        torch.export.export(Brightened(), (images, rows[1:], *others))
