"""Images come back as they were stored, and everything else is one clear sentence."""

from __future__ import annotations

import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from srpu.data.images import (
    SUFFIXES,
    image_info,
    pixel_hash,
    read_image,
    write_image,
)
from srpu.errors import ImageError, WorkspaceError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
quick = settings(max_examples=25, deadline=None)


def noise(shape: tuple[int, ...] = (60, 80), dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    levels = np.random.default_rng(seed).integers(0, 256 if dtype == "uint8" else 4096, shape)
    return levels.astype(dtype)


def same(path: Path, expected: np.ndarray, page: int | None = None) -> None:
    """The file holds exactly ``expected``, and its header says so."""
    image = read_image(path, page)
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(image, expected)
    info = image_info(path)
    assert (info.height, info.width, info.dtype) == (*expected.shape, expected.dtype.name)


def pages(path: Path, stack: list[np.ndarray], **options: object) -> None:
    """Write a TIFF with a header for each page."""
    with tifffile.TiffWriter(path) as tif:
        for image in stack:
            tif.write(image, metadata=None, photometric="minisblack", **options)


# What is read


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@given(data=st.data())
@quick
def test_what_is_written_is_read(suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "uint16"] + (["float32"] if suffix == ".tif" else [])))
    finite = {"allow_nan": False, "allow_infinity": False} if dtype == "float32" else {}
    image = data.draw(hnp.arrays(dtype, SHAPES, elements=hnp.from_dtype(np.dtype(dtype), **finite)))
    size = data.draw(st.none() | st.floats(1e-3, 1e6))
    path = tmp_path_factory.mktemp("written") / f"image{suffix}"
    write_image(path, image, pixel_size_nm=size)
    same(path, image)
    assert image_info(path).pixel_size_nm == (None if size is None else pytest.approx(size, rel=1e-4))
    assert pixel_hash(read_image(path)) == pixel_hash(image)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True, "byteorder": ">"}])
def test_tiff_of_every_kind(tmp_path: Path, compression: str | None, dtype: str, options: dict[str, object]) -> None:
    image, path = noise(dtype=dtype), tmp_path / "a.tif"
    predictor = compression in ("lzw", "zlib", "zstd")
    tifffile.imwrite(path, image, compression=compression, predictor=predictor, rowsperstrip=16, **options)
    same(path, image)


def test_tiled_tiff(tmp_path: Path) -> None:
    image, path = noise((70, 90)), tmp_path / "a.tif"
    tifffile.imwrite(path, image, tile=(32, 32), compression="zlib")
    same(path, image)


def test_twelve_bits_packed(tmp_path: Path) -> None:
    """Two levels in three bytes, as some detectors write."""
    image, path = noise((8, 10), "uint16"), tmp_path / "a.tif"
    packed = np.unpackbits(image.astype(">u2").view(np.uint8).reshape(8, 10, 2), axis=2)[..., 4:].reshape(8, -1)
    tifffile.imwrite(path, np.packbits(packed, axis=1), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags["BitsPerSample"].overwrite(12)
        tif.pages[0].tags["ImageWidth"].overwrite(10)
    same(path, image)


@given(image=hnp.arrays(st.sampled_from(["uint8", "uint16", "bool"]), SHAPES))
@quick
def test_white_is_zero_is_turned_round(image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("white")
    tifffile.imwrite(folder / "white.tif", ~image, photometric="miniswhite")
    tifffile.imwrite(folder / "black.tif", image, photometric="minisblack")
    np.testing.assert_array_equal(read_image(folder / "white.tif"), read_image(folder / "black.tif"))


def test_fax_of_one_bit(tmp_path: Path) -> None:
    image, path = noise() > 128, tmp_path / "a.tif"
    Image.fromarray(image).save(path, compression="group4")
    same(path, image * np.uint8(255))


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_png_of_few_bits(tmp_path: Path, bits: int, step: int) -> None:
    levels = noise() >> np.uint8(8 - bits)
    png_of_bits(tmp_path / "a.png", levels, bits)
    same(tmp_path / "a.png", levels * np.uint8(step))


def test_bmp(tmp_path: Path) -> None:
    for image in (noise(), noise() >> np.uint8(5)):
        Image.fromarray(image).save(tmp_path / "a.bmp")
        same(tmp_path / "a.bmp", image)
    Image.fromarray(noise() > 99).save(tmp_path / "a.bmp")
    same(tmp_path / "a.bmp", (noise() > 99) * np.uint8(255))


def test_bmp_that_pillow_reads_wrongly(tmp_path: Path) -> None:
    picture = Image.fromarray(noise() >> np.uint8(7))
    picture.putpalette(bytes([0, 0, 0, 255, 255, 255]))
    picture.save(tmp_path / "a.bmp")
    with pytest.raises(ImageError, match="save it as PNG"):
        read_image(tmp_path / "a.bmp")


def png_of_bits(path: Path, levels: np.ndarray, bits: int) -> None:
    """Grey PNG of 1, 2, 4 or 8 bits, by hand: no library at hand writes them all."""
    import struct
    import zlib

    height, width = levels.shape
    each = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(each, axis=1))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_equal_channels_are_grey(tmp_path: Path, dtype: str, channels: int) -> None:
    grey = noise(dtype=dtype)
    colours = np.repeat(grey[..., None], channels, axis=2)
    if channels != 3:
        colours[..., -1] = 7  # half transparent: left out
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colours))
    same(tmp_path / "a.png", grey)
    if channels > 2:
        for planes in ("contig", "separate"):
            tiff = colours if planes == "contig" else np.moveaxis(colours, 2, 0)
            for extra in ([0], [2]) if channels == 4 else ([],):
                tifffile.imwrite(tmp_path / "a.tif", tiff, photometric="rgb", planarconfig=planes, extrasamples=extra)
                same(tmp_path / "a.tif", grey)
    if channels == 2:
        two = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(tmp_path / "a.tif", colours, extrasamples=[2], **two)
        same(tmp_path / "a.tif", grey)
        tifffile.imwrite(tmp_path / "a.tif", colours, extrasamples=[0], **two)
        with pytest.raises(ImageError, match="2 channels"):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_palette(tmp_path: Path, suffix: str) -> None:
    """Zeiss and ImageJ write grey levels as palettes; here one that runs backwards."""
    indices, path = noise(), tmp_path / f"a{suffix}"
    backwards = np.repeat(np.arange(255, -1, -1), 3).reshape(256, 3).astype(np.uint8)
    if suffix == ".tif":
        tifffile.imwrite(path, indices, photometric="palette", colormap=backwards.T.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(indices)
        picture.putpalette(backwards.tobytes())
        picture.save(path)
    same(path, 255 - indices)


@pytest.mark.parametrize("as_colour", [False, True])
def test_jpeg(tmp_path: Path, as_colour: bool) -> None:
    image = np.full((40, 48), 90, np.uint8)
    Image.fromarray(image).convert("RGB" if as_colour else "L").save(tmp_path / "a.JPG", quality=100)
    same(tmp_path / "a.JPG", image)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "float64"])
def test_other_numbers_become_float(tmp_path: Path, dtype: str) -> None:
    image = (noise().astype(np.int64) - (100 if dtype != "uint32" else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image)
    same(tmp_path / "a.tif", image.astype(np.float32))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_pixel(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[7]], np.uint8)).save(tmp_path / f"a{suffix}")
    same(tmp_path / f"a{suffix}", np.array([[7]], np.uint8))


def test_the_bytes_tell_the_format_and_any_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "复合 正极" / "样品 1.png"
    path.parent.mkdir()
    tifffile.imwrite(path, noise(), compression="zlib")
    same(path, noise())
    assert path.suffix in SUFFIXES


# Stacks


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"compression": None}])
def test_each_page_is_an_image(tmp_path: Path, options: dict[str, object]) -> None:
    stack = [noise(seed=seed) for seed in range(4)]
    pages(tmp_path / "a.tif", stack, **options)
    assert image_info(tmp_path / "a.tif").pages == 4
    same(tmp_path / "a.tif", stack[0])
    for number, image in enumerate(stack):
        same(tmp_path / "a.tif", image, number)
    with pytest.raises(ImageError, match="no page 5: it has 4"):
        read_image(tmp_path / "a.tif", 4)
    write_image(tmp_path / "a.png", stack[0])
    with pytest.raises(ImageError, match="no page 2"):
        read_image(tmp_path / "a.png", 1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_stack_under_one_header(tmp_path: Path, order: str) -> None:
    """ImageJ's stacks above 4 GB."""
    stack = noise((5, 30, 40), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, truncate=True, byteorder=order, photometric="minisblack")
    assert image_info(tmp_path / "a.tif").pages == 5
    for number in range(5):
        same(tmp_path / "a.tif", stack[number], number)
    cut = (tmp_path / "a.tif").read_bytes()[:-500]
    (tmp_path / "cut.tif").write_bytes(cut)
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "cut.tif", 4)


def test_imagej_stack(tmp_path: Path) -> None:
    stack = noise((3, 30, 40))
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True)
    assert image_info(tmp_path / "a.tif").pages == 3
    same(tmp_path / "a.tif", stack[2], 2)


def test_a_thumbnail_is_no_page(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(noise(), metadata=None)
        tif.write(noise((6, 8)), metadata=None, subfiletype=1)
    assert image_info(tmp_path / "a.tif").pages == 1
    same(tmp_path / "a.tif", noise())


# What is refused


@pytest.mark.parametrize("colour", ["rgb", "palette", "rgb16"])
def test_colour_is_refused(tmp_path: Path, colour: str) -> None:
    pixels = np.repeat(noise()[..., None], 3, axis=2)
    pixels[0, :48, 1] ^= 255
    path = tmp_path / "a.png"
    if colour == "rgb16":
        path.write_bytes(imagecodecs.png_encode(pixels.astype(np.uint16)))
    else:
        Image.fromarray(pixels).convert("P" if colour == "palette" else "RGB").save(path)
    with pytest.raises(ImageError, match=r"a\.png is a colour picture .*save it as greyscale"):
        read_image(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_pixels_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    image = noise(dtype="float64")
    image[3, 4:6] = bad
    tifffile.imwrite(tmp_path / "a.tif", image)
    with pytest.raises(ImageError, match="2 pixels that are no numbers"):
        read_image(tmp_path / "a.tif")


TIFFS = {
    f"{c}-{rows}.tif": {"compression": c, "rowsperstrip": rows}
    for c in (None, "lzw", "zlib", "zstd")
    for rows in (7, 99)
}


@pytest.mark.parametrize("name", ["a.png", "a16.png", "a-rgb16.png", "a.jpg", "a.bmp", "pillow.tif", *TIFFS])
def test_truncated(tmp_path: Path, name: str) -> None:
    path, image = tmp_path / name, noise((90, 100))
    if name in TIFFS:
        tifffile.imwrite(path, image, **TIFFS[name])
    elif "16" in name:
        path.write_bytes(imagecodecs.png_encode(np.repeat(image[..., None] * np.uint16(257), 3, axis=2)))
    else:
        Image.fromarray(image).save(path)
    whole = path.read_bytes()
    read_image(path)
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.97):
        path.write_bytes(whole[: max(1, int(share * len(whole)))])
        with pytest.raises(ImageError, match=str(path)):
            read_image(path)


def test_truncated_stack(tmp_path: Path) -> None:
    pages(tmp_path / "a.tif", [noise(seed=seed) for seed in range(5)], compression="zlib")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="truncated after page"):
        image_info(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "a.tif", 4)


@pytest.mark.parametrize("read", [read_image, image_info])
def test_no_picture(tmp_path: Path, read: object) -> None:
    for name, content, sentence in (
        ("text.png", b"x,y\n1,2\n", r"text\.png is no PNG, JPEG, BMP or TIFF picture"),
        ("text.tif", b"II*\0nonsense", r"text\.tif"),
        ("empty.tif", b"", "0 bytes"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=sentence):
            read(tmp_path / name)
    with pytest.raises(ImageError, match=r"gone\.png cannot be opened"):
        read(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read(tmp_path)


def test_several_channels_or_a_volume(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "five.tif", noise((20, 30, 5)), photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "volume.tif", noise((4, 20, 30)), photometric="minisblack", volumetric=True)
    tifffile.imwrite(tmp_path / "cmyk.tif", noise((20, 30, 4)), photometric="separated")
    for name, sentence in (("five.tif", "5 channels"), ("volume.tif", "volume"), ("cmyk.tif", "channels")):
        with pytest.raises(ImageError, match=sentence):
            read_image(tmp_path / name)


def test_white_is_zero_of_float_has_no_right_way_round(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype="float32"), photometric="miniswhite")
    with pytest.raises(ImageError, match="zero as black"):
        read_image(tmp_path / "a.tif")


@given(
    garbage=st.binary(max_size=300),
    start=st.sampled_from([b"", b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"]),
)
@settings(max_examples=80, deadline=None)
def test_garbage_is_one_sentence(garbage: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("garbage") / "a.tif"
    path.write_bytes(start + garbage)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_image(path)


# Writing


def test_rgb_is_written(tmp_path: Path) -> None:
    picture = noise((30, 40, 3))
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / name, picture)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), picture)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("a.png", "float32", (4, 5)),
        ("a.jpg", "uint8", (4, 5)),
        ("a.tif", "uint16", (4, 5, 3)),
        ("a.tif", "int32", (4, 5)),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / name, np.zeros(shape, dtype))
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(WorkspaceError, match="Cannot write"):
        write_image(tmp_path / "folder" / "a.png", noise())


def test_the_hash_is_of_levels_not_of_memory() -> None:
    image = noise(dtype="uint16")
    assert pixel_hash(image) == pixel_hash(image.astype(">u2")) == pixel_hash(np.asfortranarray(image))
    assert pixel_hash(image) != pixel_hash(image.astype(np.float32))
    assert pixel_hash(image) != pixel_hash(image[::-1])


def test_a_header_that_promises_far_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (2_000_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(ImageError, match="2000000 × 2000000 pixels, for which the file is too short"):
        read_image(path)


def test_an_empty_image_packs_well(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4000, 4000), np.uint8)).convert("1").save(tmp_path / "black.png", optimize=True)
    assert not read_image(tmp_path / "black.png").any()
