"""A mask file becomes class indices, whatever kind of file holds them, or has the reason why it cannot."""

import io

import numpy as np
import pytest
from PIL import Image

from leyden.errors import UserError
from leyden.imaging.images import ImageReader, UnreadableImageError, read_image
from leyden.imaging.mask_classes import MaskClass, find_classes, make_palette, read_classes
from leyden.imaging.masks import MaskReader, decode_mask, draw_overlay, read_mask, resize_mask, write_mask_png
from tests.imaging.image_files import png, tiff

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 128, 0), (0, 0, 255), (0, 0, 0)
CLASSES = (MaskClass(0, "ground", BLACK), MaskClass(3, "cat", RED), MaskClass(7, "dog", GREEN))
READER = MaskReader(CLASSES)
INDICES = np.array([[0, 1, 2, 0], [2, 1, 1, 255], [0, 0, 1, 2], [255, 2, 0, 1], [1, 0, 2, 2]], np.uint8)
VALUES = np.array([0, 3, 7], np.uint8)[np.where(INDICES == 255, 0, INDICES)]
VALUES[INDICES == 255] = 255
COLOURS = np.array([BLACK, RED, GREEN], np.uint8)[np.where(INDICES == 255, 0, INDICES)]


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def with_palette(values: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(values).convert("P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_values_are_the_indices_of_their_classes(kind, mode):
    image = Image.fromarray(VALUES)
    image = with_palette(VALUES, [(9, 9, 9)] * 256) if mode == "P" else image
    mask = read_mask(encoded(image, kind), READER)
    assert mask.dtype == np.uint8
    assert mask.tolist() == INDICES.tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_value(kind):
    reader = MaskReader((MaskClass(300, "low"), MaskClass(60_000, "high")), ignore_value=0)
    values = np.array([[300, 60_000, 0, 300]] * 4, np.uint16)
    assert read_mask(encoded(values, kind), reader).tolist() == [[0, 1, 255, 0]] * 4


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_keep_their_value(bits):
    values = np.arange(8, dtype=np.uint8).reshape(1, 8, 1).repeat(4, axis=0) % (1 << bits)
    classes = tuple(MaskClass(value, str(value)) for value in range(1 << bits))
    mask = read_mask(png(values, "L", bits), MaskReader(classes))
    assert mask.tolist() == values[..., 0].tolist()


@pytest.mark.parametrize("rows", [5, 1])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_in_several_channels_holds_values(mode, rows):
    classes = (MaskClass(0, "ground"), MaskClass(3, "cat"), MaskClass(7, "dog"))
    reader = MaskReader(classes, limits=ImageReader(min_image_side=1))
    image = Image.fromarray(VALUES[:rows]).convert(mode)
    assert read_mask(encoded(image), reader).tolist() == INDICES[:rows].tolist()


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P"])
def test_colours_are_those_of_classes(kind):
    reader = MaskReader(CLASSES, ignore_colour=BLUE)
    colours = np.where(INDICES[..., None] == 255, np.uint8(BLUE), COLOURS)
    image = Image.fromarray(colours)
    if kind == "P":  # in another order than the values
        image = image.quantize(4)
    mask = read_mask(encoded(image.convert(kind)), reader)
    assert mask.tolist() == INDICES.tolist()


def test_values_count_where_a_palette_has_other_colours():
    image = with_palette(VALUES, [(value, 1, 2) for value in range(256)])
    assert read_mask(encoded(image), READER).tolist() == INDICES.tolist()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (VALUES + (VALUES == 3) * np.uint8(2), "holds the value 5, which is no class"),
        (np.stack([VALUES, VALUES, VALUES * 0], axis=2), "holds the colour #030300, which is no class"),
        (with_palette(VALUES + 1, [(9, 9, 9)] * 256), "holds the value 1, which is no class"),
        (
            np.uint8([0, 0, 0, 254]) + np.uint8([0, 0, 0, 1]) * np.eye(4, dtype=np.uint8)[..., None],
            "has transparent pixels",
        ),
        (Image.new("CMYK", (4, 4)), "unsupported mode CMYK for a mask"),
    ],
)
def test_a_mask_that_is_no_map_of_classes_has_a_reason(image, reason):
    mode = image.mode if isinstance(image, Image.Image) else ""
    with pytest.raises(UnreadableImageError, match=reason):
        read_mask(encoded(image, "TIFF" if mode == "CMYK" else "PNG"), READER)


def test_colours_without_classes_that_have_one_are_reported():
    reader = MaskReader((MaskClass(0, "ground"), MaskClass(1, "cat")))
    with pytest.raises(UnreadableImageError, match=r"holds colours, and no class has one; add the column color"):
        read_mask(encoded(COLOURS), reader)


@pytest.mark.parametrize("content", [b"", b"text", encoded(VALUES)[:60]])
def test_a_broken_file_has_a_reason(content, tmp_path):
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(UnreadableImageError):
        read_mask(tmp_path / "mask.png", READER)


def test_formats_that_change_values_are_rejected():
    with pytest.raises(UnreadableImageError, match="JPEG file; masks are PNG, BMP, TIFF, which keep values"):
        read_mask(encoded(VALUES, "JPEG"), READER)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_files_in_which_zero_is_white_are_rejected(bits):
    with pytest.raises(UnreadableImageError, match="in which 0 is white"):
        read_mask(tiff(np.zeros((8, 8, 1), np.uint16), photometric=0, bits=bits), READER)


def test_a_mask_of_another_size_than_its_image_is_rejected():
    assert read_mask(encoded(VALUES), READER, (5, 4)).shape == (5, 4)
    with pytest.raises(UnreadableImageError, match="has 4x5 pixels; its image has 5x4"):
        read_mask(encoded(VALUES), READER, (4, 5))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGB"])
def test_exif_orientation_turns_masks_as_images(orientation, kind, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = {"L": VALUES, "P": with_palette(VALUES, [(9, 9, 9)] * 256), "I;16": VALUES.astype(np.uint16)}
    image = encoded(VALUES, kind, exif=exif)
    upright = read_image(image, 1, (4, 5) if orientation > 4 else (5, 4))[..., 0]
    reader = MaskReader(CLASSES, ignore_colour=BLUE)
    colours = np.where(INDICES[..., None] == 255, np.uint8(BLUE), COLOURS)
    mask = read_mask(encoded(shown.get(mode, colours), kind, exif=exif), reader, upright.shape)
    assert np.array([0, 3, 7, 255])[mask.clip(max=3)].tolist() == upright.tolist()


def test_resizing_takes_the_pixel_at_the_place_of_the_image():
    """A picture of its own column or row numbers, resized as images are, shows which place each pixel is of."""
    for old, new in [((9, 30), (6, 12)), ((6, 12), (9, 30)), ((8, 8), (8, 8)), ((5, 7), (4, 16))]:
        for ramp in (np.arange(old[1])[None].repeat(old[0], 0), np.arange(old[0])[:, None].repeat(old[1], 1)):
            ramp = (8 * ramp).astype(np.uint8)
            image = read_image(encoded(ramp), 1, new)[..., 0].astype(int)
            mask = resize_mask(ramp, new)
            assert mask.shape == new
            assert set(mask.ravel().tolist()) <= set(ramp.ravel().tolist())
            assert np.abs(mask[1:-1, 2:-2] - image[1:-1, 2:-2]).max() <= 4.5  # half a pixel, and rounding


def test_resized_masks_of_a_size_have_pinned_pixels():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert resize_mask(mask, (3, 2)).tolist() == [[1, 3], [5, 7], [9, 11]]
    assert resize_mask(mask, (1, 4)).tolist() == [[4, 5, 6, 7]]
    assert resize_mask(mask, (3, 8))[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_written_mask_is_read_again(tmp_path):
    classes = tuple(MaskClass(index, str(index)) for index in range(255))
    palette = make_palette(classes)
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask_png(tmp_path / "mask.png", mask, palette)
    assert read_mask(tmp_path / "mask.png", MaskReader(classes)).tolist() == mask.tolist()
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        shown = np.asarray(image.convert("RGB")).reshape(256, 3).tolist()
    assert shown == [list(colour) for colour in [*palette, (255, 255, 255)]]


def test_an_overlay_blends_each_class_and_leaves_ignored_pixels():
    image = np.full((1, 3, 1), 100, np.uint8)
    drawn = draw_overlay(image, np.array([[0, 1, 255]], np.uint8), [RED, BLUE], alpha=0.25)
    assert drawn.tolist() == [[[139, 75, 75], [75, 75, 139], [100, 100, 100]]]
    assert drawn.dtype == np.uint8


def test_colours_of_a_palette_are_distinct_and_keep_those_that_are_given():
    palette = make_palette([MaskClass(value, str(value)) for value in range(255)])
    assert len({*palette, (255, 255, 255)}) == 256
    assert palette[:3] == [(0, 0, 0), (230, 159, 0), (86, 180, 233)]
    given = make_palette([MaskClass(0, "a"), MaskClass(1, "b", BLACK), MaskClass(2, "c")])
    assert given == [(230, 159, 0), BLACK, (86, 180, 233)]


def test_the_first_colours_are_far_apart():
    palette = np.array(make_palette([MaskClass(value, str(value)) for value in range(20)]))
    distances = np.abs(palette[:, None] - palette).max(axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() >= 25


def test_classes_are_read_from_a_table(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("\ufeffValue, Name ,color\r\n7,dog,#008000\r\n0,ground,\r\n\r\n255,void,FF0000\r\n", "utf-8")
    classes = read_classes(path)
    assert classes == (MaskClass(0, "ground"), MaskClass(7, "dog", GREEN), MaskClass(255, "void", RED))
    reader = MaskReader.from_classes(classes)
    assert (reader.classes, reader.ignore_value, reader.ignore_colour) == (classes[:2], 255, RED)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected columns value,name.*got ''"),
        (b"value,name\n0,dog, large\n", "expected 2 values in a row; .*row 2 has 3"),
        ("value,name\n0,a\n".encode("utf-16"), "expected a CSV file in UTF-8"),
        (b'value,name\n0,"a\n', "expected a CSV file in UTF-8"),
        (b"name\na\n", "expected columns value,name.*got 'name'"),
        (b"value,name,name\n0,a,b\n", "expected columns value,name"),
        (b"value,name\n-1,a\n", "expected a value from 0 to 65535; .*row 2 has '-1'"),
        (b"value,name\n0,a\n65536,b\n", "row 3 has '65536'"),
        (b"value,name\n0,\n", "expected a name; .*row 2 has ''"),
        (b"value,name,color\n0,a,red\n", "expected a color such as #e69f00, or none; .*row 2 has 'red'"),
        (b"value,name\n0,a\n0,b\n", "expected each value once .*got 0 twice"),
        ("value,name\n0,\u00e9\n1,e\u0301\n".encode(), "expected each name once .*got \u00e9 twice"),
        (b"value,name\n0,a\n1,a\n", "expected each name once .*got a twice"),
        (b"value,name,color\n0,a,#ff0000\n1,b,#FF0000\n", "expected each color once .*got #ff0000 twice"),
    ],
)
def test_a_table_that_would_be_misread_is_reported(content, expected, tmp_path):
    (tmp_path / "classes.csv").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read_classes(tmp_path / "classes.csv")


def test_a_folder_instead_of_a_table_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"expected to read .*correct it or move it away"):
        read_classes(tmp_path)


def found(*images: np.ndarray | Image.Image) -> tuple[MaskClass, ...]:
    return find_classes(pair for image in images for pair in decode_mask(encoded(image)).contents)


def test_values_that_masks_hold_are_classes():
    classes = found(VALUES, np.full((4, 4), 2, np.uint8))
    assert classes == tuple(MaskClass(value, str(value)) for value in (0, 2, 3, 7, 255))
    reader = MaskReader.from_classes(classes)
    assert [each.name for each in reader.classes] == ["0", "2", "3", "7"]
    assert read_mask(encoded(VALUES), reader).tolist() == np.array([0, 2, 3, 255])[INDICES.clip(max=3)].tolist()


def test_palettes_give_classes_their_colours():
    palette = [BLACK, RED, GREEN, *[(value, 0, 9) for value in range(253)]]
    values = np.array([[0, 2, 1, 255]] * 4, np.uint8)
    classes = found(with_palette(values, palette), values[:, :2].repeat(2, axis=1))
    assert [each.colour for each in classes] == [BLACK, RED, GREEN, (252, 0, 9)]
    assert (
        read_mask(encoded(with_palette(values, palette)), MaskReader.from_classes(classes)).tolist() == values.tolist()
    )


def test_colours_that_masks_hold_are_classes():
    classes = found(COLOURS, np.zeros((4, 4), np.uint8), with_palette(VALUES * 0, [BLUE] * 256))
    assert classes == tuple(
        MaskClass(None, name, colour)
        for name, colour in [("#000000", BLACK), ("#0000ff", BLUE), ("#008000", GREEN), ("#ff0000", RED)]
    )
    reader = MaskReader.from_classes(classes)
    assert read_mask(encoded(COLOURS), reader)[0].tolist() == [0, 3, 2, 0]
    assert read_mask(encoded(np.zeros((4, 4), np.uint8)), reader).max() == 0
    grey = MaskReader.from_classes(found(COLOURS, np.full((4, 4), 0x64, np.uint8)))
    assert read_mask(encoded(np.full((4, 4), 0x64, np.uint8)), grey).min() == 2  # after black and #008000


def test_the_ignored_value_of_grey_masks_is_no_colour():
    classes = found(COLOURS, np.array([[0, 255] * 2] * 4, np.uint8))
    assert [each.name for each in classes] == ["#000000", "#008000", "#ff0000"]


def test_palettes_that_contradict_each_other_are_reported():
    with pytest.raises(UserError, match=r"value 0 is #0000ff and #ff0000; list the classes in classes\.csv"):
        found(with_palette(VALUES * 0, [BLUE] * 256), with_palette(VALUES * 0, [RED] * 256))


def test_a_photograph_is_no_mask():
    photograph = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with pytest.raises(UnreadableImageError, match="holds 1,024 colours: no mask, or one that was smoothed"):
        decode_mask(encoded(photograph))
    values = np.arange(272, dtype=np.uint16).reshape(16, 17).clip(max=256)
    assert decode_mask(encoded(values.clip(max=255))).values == list(range(256))
    with pytest.raises(UnreadableImageError, match="holds 257 values: no mask, or one that was smoothed"):
        decode_mask(encoded(values))


def test_black_and_white_masks_have_two_classes():
    reader = MaskReader.from_classes([MaskClass(0, "0"), MaskClass(255, "255")])
    assert read_mask(encoded(np.array([[0, 255] * 2] * 4, np.uint8)), reader).tolist() == [[0, 1, 0, 1]] * 4
    with pytest.raises(UserError, match="got 1: 1; correct"):
        MaskReader.from_classes([MaskClass(0, "0"), MaskClass(1, "1")], ignore_value=0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "got 0; correct"), (1, "got 1: 0; correct"), (256, r"got 256: 0, 1, 2, \.\.\.; correct")],
)
def test_too_few_or_too_many_classes_are_reported(count, expected):
    with pytest.raises(UserError, match=f"expected 2 to 255 classes of masks.*{expected}"):
        MaskReader.from_classes([MaskClass(value, str(value)) for value in range(count)], ignore_value=None)
    assert len(MaskReader.from_classes([MaskClass(value, str(value)) for value in range(255)]).classes) == 255
