"""The door for pictures: every hostile file gets one clear sentence, every good one the same plain array."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pinlab.catalog.images import encode_webp, letterbox, read_image, recolour, reencode
from pinlab.records import PinLabError

# Pillow warns about bombs and broken EXIF before PinLab refuses or repairs the picture.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Corrupt EXIF")

RED, WHITE = (255, 0, 0), (255, 255, 255)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([columns * 3 % 256, rows * 5 % 256, (rows + columns) % 256], -1).astype(np.uint8))


def hollow_png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of any claimed size, with a few bytes of content: what a decompression bomb looks like."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello, I am a text named picture.png", "no picture"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0" + b"\0" * 64, "AVIF"),
        (saved(gradient(), "TIFF"), "TIFF"),
        (saved(gradient(), "BMP"), "BMP"),
        (saved(gradient(), "JPEG")[:600], "damaged or incomplete"),
        (saved(gradient(), "PNG")[:-40], "damaged or incomplete"),
        (saved(gradient(), "WEBP")[:-40], "damaged or incomplete"),
        (saved(Image.new("RGB", (1, 1)), "PNG"), "too small"),
        (saved(Image.new("RGB", (3000, 10)), "PNG"), "20:1"),
        (saved(Image.new("1", (10_000, 5_000)), "PNG"), "40 megapixels"),
        (hollow_png(12_000, 12_000), "40 megapixels"),
        (hollow_png(60_000, 60_000), "40 megapixels"),
    ],
)
def test_bad_pictures_are_refused_in_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(PinLabError, match=says) as caught:
        read_image(data, name="holiday.png")
    message = str(caught.value)
    assert message.startswith("holiday.png: ")
    assert "\n" not in message
    assert len(message) < 250


def test_size_is_checked_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PinLabError, match="megapixels"):
        read_image(hollow_png(12_000, 12_000))


def test_files_over_20_mb_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(20_000_001)
    for data in (path, path.read_bytes()):
        with pytest.raises(PinLabError, match="MB"):
            read_image(data)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PinLabError, match="cannot be read"):
        read_image(tmp_path / "none.png")
    with pytest.raises(PinLabError):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "JPEG"])
def test_good_formats_by_content_not_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_bytes(saved(gradient(), kind))
    picture = read_image(path)
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.writeable
    assert np.abs(picture.astype(int) - np.asarray(gradient())).mean() < 25


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in (RED, (0, 0, 255))]
    picture = read_image(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert picture.shape == (32, 32, 3)
    assert np.abs(picture.astype(int) - RED).max() < 12


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (16, 1))
    picture = read_image(saved(Image.fromarray(ramp), "PNG"))
    assert picture[0, :, 0].tolist() == list(range(256))


def test_transparency_lies_on_white() -> None:
    rgba = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    rgba.paste((255, 0, 0, 255), (0, 0, 8, 16))
    for data in (saved(rgba, "PNG"), saved(rgba, "WEBP", lossless=True)):
        picture = read_image(data)
        assert picture[0, 0].tolist() == list(RED)
        assert picture[0, 12].tolist() == list(WHITE)
    grey = read_image(saved(Image.new("LA", (16, 16), (0, 0)), "PNG"))
    assert grey.min() == 255


def test_half_transparent_is_blended() -> None:
    picture = read_image(saved(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), "PNG"))
    assert abs(int(picture[0, 0, 0]) - 127) <= 1


def test_palette_with_and_without_transparency() -> None:
    palette = gradient().quantize(16)
    assert read_image(saved(palette, "PNG")).shape == (48, 64, 3)
    clear = Image.new("P", (16, 16), 0)
    clear.putpalette([255, 0, 0, 0, 255, 0])
    clear.paste(1, (0, 0, 8, 16))
    picture = read_image(saved(clear, "PNG", transparency=0))
    assert picture[0, 0].tolist() == [0, 255, 0]
    assert picture[0, 12].tolist() == list(WHITE)


def test_cmyk_jpeg_with_and_without_profile() -> None:
    white = saved(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), "JPEG")
    assert read_image(white).min() > 250
    black = saved(Image.new("CMYK", (32, 32), (0, 0, 0, 255)), "JPEG")
    assert read_image(black).max() < 10
    broken = saved(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), "JPEG", icc_profile=b"no profile")
    assert read_image(broken).min() > 250
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wrong = saved(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), "JPEG", icc_profile=rgb_profile)
    assert read_image(wrong).min() > 250


def profile(space: bytes, gamma: float, columns: tuple = ()) -> bytes:
    """A colour profile by hand: grey, or RGB with the XYZ of its three primaries."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = [(b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79)]
    tags += [(b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz((0.9642, 1, 0.8249)))]
    tags += [(name + b"XYZ", xyz(c)) for name, c in zip((b"r", b"g", b"b"), columns, strict=False)]
    tags += [(name + b"TRC", curve) for name in ((b"r", b"g", b"b") if columns else (b"k",))]
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I", at + len(body)) + b"\0" * 4 + b"\2\x40\0\0mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + xyz((0.9642, 1, 0.8249))[8:]
    return head + b"\0" * 48 + table + body


P3 = profile(b"RGB ", 2.2, ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)))
GREY_18 = profile(b"GRAY", 1.8)
GREEN, SHOWN = (100, 200, 100), (43, 204, 85)  # as stored in Display P3, and what sRGB shows for it


def flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (32, 32), colour)


PROFILED = {
    "RGB PNG": (flat("RGB", GREEN), "PNG", P3, SHOWN),
    "RGB JPEG": (flat("RGB", GREEN), "JPEG", P3, SHOWN),
    "RGB WebP": (flat("RGB", GREEN), "WEBP", P3, SHOWN),
    "palette": (flat("RGB", GREEN).quantize(4), "PNG", P3, SHOWN),
    "opaque RGBA": (flat("RGBA", (*GREEN, 255)), "PNG", P3, SHOWN),
    "half transparent": (flat("RGBA", (*GREEN, 128)), "PNG", P3, (149, 229, 170)),
    "clear": (flat("RGBA", (*GREEN, 0)), "PNG", P3, WHITE),
    "grey": (flat("L", 100), "PNG", GREY_18, (119, 119, 119)),
    "grey JPEG": (flat("L", 100), "JPEG", GREY_18, (119, 119, 119)),
    "grey with alpha": (flat("LA", (100, 255)), "PNG", GREY_18, (119, 119, 119)),
    "16-bit grey": (Image.fromarray(np.full((32, 32), 25700, np.uint16)), "PNG", GREY_18, (119, 119, 119)),
    "grey, another's profile": (flat("L", 100), "PNG", P3, (100, 100, 100)),
    "RGB, another's profile": (flat("RGB", GREEN), "PNG", GREY_18, GREEN),
    "broken profile": (flat("RGB", GREEN), "PNG", b"junk" * 40, GREEN),
}


@pytest.mark.parametrize(("picture", "kind", "icc", "shown"), PROFILED.values(), ids=PROFILED)
def test_colour_profiles_are_applied(picture: Image.Image, kind: str, icc: bytes, shown: tuple) -> None:
    quality = {} if kind == "PNG" else {"quality": 100}
    found = read_image(saved(picture, kind, icc_profile=icc, **quality))[5, 5]
    assert np.abs(found.astype(int) - shown).max() <= (1 if kind == "PNG" else 12), found


@pytest.mark.parametrize("background", [0, 1])
def test_a_gif_frame_smaller_than_its_canvas_lies_on_white(background: int) -> None:
    frame = flat("P", 1)
    frame.putpalette([255, 0, 0, 0, 0, 255])
    data = bytearray(saved(frame, "GIF"))
    data[6:10], data[11] = struct.pack("<HH", 60, 50), background
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    data[at + 1 : at + 5] = struct.pack("<HH", 10, 5)
    picture = read_image(bytes(data))
    assert picture.shape == (50, 60, 3)
    assert (picture[5:37, 10:42] == (0, 0, 255)).all()
    picture[5:37, 10:42] = 255
    assert (picture == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once_and_metadata_gone(orientation: int) -> None:
    upright = Image.new("RGB", (40, 24), WHITE)
    upright.paste(RED, (0, 0, 20, 12))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    picture = read_image(saved(stored, "JPEG", exif=exif, quality=95))
    assert picture.shape == (24, 40, 3)
    assert picture[4, 4, 1] < 60
    assert picture[20, 36, 1] > 240
    again = Image.open(io.BytesIO(encode_webp(picture)))
    assert not again.getexif()
    assert not {"exif", "xmp", "icc_profile"} & set(again.info)


def test_broken_exif_is_no_reason_to_refuse() -> None:
    assert read_image(saved(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).shape == (48, 64, 3)


@given(st.binary(max_size=400))
def test_random_bytes_raise_only_pinlab_errors(data: bytes) -> None:
    with pytest.raises(PinLabError):
        read_image(data)


@settings(max_examples=200)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_damaged_files_raise_only_pinlab_errors(kind: str, where: int, patch: bytes) -> None:
    data = bytearray(SAMPLES[kind])
    where %= len(data)
    data[where : where + len(patch)] = patch
    try:
        picture = read_image(bytes(data))
    except PinLabError:
        return
    assert picture.ndim == 3
    assert picture.dtype == np.uint8


SAMPLES = {kind: saved(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")}


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 160), st.integers(8, 160), st.integers(0, 2**32 - 1))
def test_any_array_survives_saving_and_letterboxing(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(read_image(saved(Image.fromarray(picture), "PNG")), picture)
    square = letterbox(picture, 96)
    assert square.shape == (96, 96, 3)
    assert square.dtype == np.uint8
    again = read_image(encode_webp(picture))
    assert max(again.shape[:2]) == min(192, 2 * max(height, width))
    assert abs(again.shape[0] / again.shape[1] - height / width) < 0.1 * max(1, height / width)


def test_letterbox_keeps_the_aspect_on_white() -> None:
    square = letterbox(np.zeros((50, 100, 3), np.uint8), 64)
    assert square[0].min() == 255
    assert square[-1].min() == 255
    assert square[32].max() == 0
    assert letterbox(np.zeros((64, 64, 3), np.uint8), 64).max() == 0


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_wrong_arrays_are_programming_errors(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        letterbox(bad, 8)


def test_re_encoding_cuts_shrinks_and_compresses() -> None:
    picture = np.zeros((100, 200, 3), dtype=np.uint8)
    picture[:, 100:] = 255
    again = reencode(picture, crop=(0.25, 0.1, 0.0, 0.2), scale=0.5, quality=90)
    assert again.shape == (35, 75, 3)
    assert again[:, :20].max() < 30
    assert again[:, 30:].min() > 225
    assert reencode(np.full((8, 90, 3), 7, dtype=np.uint8), crop=(0.1, 0.1, 0.1, 0.1), scale=0.05).shape == (1, 4, 3)


def test_recolouring_turns_hues_and_leaves_greys() -> None:
    picture = np.array([[[255, 0, 0], [0, 255, 0], [90, 90, 90], [255, 255, 255]]], dtype=np.uint8)
    turned = recolour(picture, 120).astype(int)
    assert np.abs(turned - [[[0, 255, 0], [0, 0, 255], [90, 90, 90], [255, 255, 255]]]).max() <= 6
    assert np.abs(recolour(picture, 0).astype(int) - picture).max() <= 2


def test_encoding_gives_the_same_bytes() -> None:
    picture = np.asarray(gradient(500, 300))
    assert encode_webp(picture) == encode_webp(picture.copy())
    assert max(Image.open(io.BytesIO(encode_webp(picture))).size) == 192
