"""The fused crop as a custom torch operator: checked by `opcheck`, compiled and exported."""

import pytest
import torch
from torch import Tensor, nn

from leyden.ops.crop import crop_flip_normalize
from tests.ops.conftest import DTYPES, draw_crops


class CropBetweenOperations(nn.Module):
    """The operator with operations before and after it, which a compiler may transform."""

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
def test_operator_passes_opcheck(dtype):
    crops = draw_crops(3, dtype)
    torch.library.opcheck(crop_flip_normalize, tuple(crops))
    without_backward = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        crop_flip_normalize, tuple(crops._replace(scale=crops.scale.requires_grad_())), test_utils=without_backward
    )


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_a_graph_break(backend):
    model, arguments = CropBetweenOperations(), draw_arguments(3, 40)
    out, expected = torch.compile(model, fullgraph=True, backend=backend)(*arguments), model(*arguments)
    assert torch.equal(out, expected)
    assert out.stride() == expected.stride()


def test_exports_with_a_dynamic_batch_size():
    model, batch = CropBetweenOperations(), torch.export.Dim("batch", min=2)
    shapes = (None, *[{0: batch}] * 5, None, None)
    program = torch.export.export(model, draw_arguments(3, 40), dynamic_shapes=shapes)
    assert "leyden.crop_flip_normalize.default" in str(program.graph)
    others = draw_arguments(3, 7)
    assert torch.equal(program.module()(*others), model(*others))


def test_a_wrong_shape_is_an_error_while_tracing():
    images, rows, *others = draw_arguments(3, 40)
    with pytest.raises(Exception, match=r"expected top torch.int64 \(39,\)"):
        torch.export.export(CropBetweenOperations(), (images, rows[1:], *others))
