"""The one door for pictures: every file that people give, and every picture of a catalog, comes in here.

What comes out is always the same thing, a plain uint8 (H, W, 3) RGB array on white, turned upright and without
any metadata, so that no model has to know about palettes, transparency, EXIF or colour profiles.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pinlab.records import PinLabError

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
_MEGAPIXELS = MAX_PIXELS // 1_000_000
MAX_ASPECT = 20
MIN_SIDE = 8
# Only what browsers and cameras give: Pillow opens some 40 formats, and its security fixes are mostly in the others.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
WHITE = (255, 255, 255)
_ASK = "save it as PNG or JPEG and try again"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHER_FORMATS = (
    (b"%PDF", "a PDF document"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an SVG or XML file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)


def read_image(data: bytes | Path, name: str = "the picture") -> np.ndarray:
    """Decode an untrusted picture; its file name and claimed type play no part.

    Args:
        data: the file's bytes, or its path.
        name: what messages call the picture.

    Returns:
        uint8 (H, W, 3) RGB: first frame, upright, transparency on white, own memory, no metadata.

    Raises:
        PinLabError: with one sentence on what is wrong with the picture and what to do.
    """
    raw = _read_bytes(data, name)
    try:
        # Pillow's own limit only warns below 179 megapixels, so the size is checked here before `load`.
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            _check_size(image.size, name)
            image.load()
            rgb = _to_rgb(_upright(_on_whole_canvas(image)))
    except PinLabError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PinLabError(f"{name}: more than {_MEGAPIXELS} megapixels; make it smaller and try again") from error
    except Image.UnidentifiedImageError as error:
        raise PinLabError(_unknown_format(raw, name)) from error
    except Exception as error:  # decoders raise a dozen types on hostile bytes; none may reach the app
        raise PinLabError(f"{name}: damaged or incomplete picture file; {_ASK}") from error
    return np.array(rgb, dtype=np.uint8)


def letterbox(image: np.ndarray, side: int) -> np.ndarray:
    """Fit a picture inside a white square: the only preprocessing, shared by all models.

    Args:
        image: uint8 (H, W, 3) RGB.
        side: pixels of the square's side.

    Returns:
        uint8 (side, side, 3), aspect kept, centred, antialiased.
    """
    picture = _from_array(image)
    scale = side / max(picture.size)
    fitted = _resize(picture, scale)
    square = Image.new("RGB", (side, side), WHITE)
    square.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    return np.array(square)


def encode_webp(image: np.ndarray, long_side: int = 192, quality: int = 80) -> bytes:
    """A thumbnail as WebP without metadata, the same bytes each time.

    Args:
        image: uint8 (H, W, 3) RGB.
        long_side: pixels of the longer side; a small picture is enlarged at most twice.
        quality: WebP quality, 0 to 100.
    """
    picture = _from_array(image)
    scale = min(long_side / max(picture.size), 2.0)
    out = io.BytesIO()
    _resize(picture, scale).save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def reencode(
    image: np.ndarray, *, crop: tuple[float, float, float, float] = (0, 0, 0, 0), scale: float = 1.0, quality: int = 60
) -> np.ndarray:
    """A picture as it comes back from the web: cropped, resized, compressed as JPEG, decoded again.

    Args:
        image: uint8 (H, W, 3) RGB.
        crop: share of the width or height that is cut off at the left, top, right and bottom.
        scale: factor of both sides.
        quality: JPEG quality, 0 to 100.

    Returns:
        uint8 (H', W', 3).
    """
    picture = _from_array(image)
    left, top, right, bottom = (round(c * side) for c, side in zip(crop, 2 * picture.size, strict=True))
    cut = picture.crop((left, top, picture.width - right, picture.height - bottom))
    out = io.BytesIO()
    _resize(cut, scale).save(out, "JPEG", quality=quality)
    return np.array(Image.open(out, formats=["JPEG"]))


def recolour(image: np.ndarray, degrees: float) -> np.ndarray:
    """A picture with its hues turned on the colour circle; greys stay grey.

    Args:
        image: uint8 (H, W, 3) RGB.
        degrees: of 360.
    """
    hue, saturation, value = _from_array(image).convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(round(degrees / 360 * 256) % 256)  # wraps around, as hues do
    return np.array(Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB"))


def _read_bytes(data: bytes | Path, name: str) -> bytes:
    if isinstance(data, (str, Path)):
        path = Path(data)
        try:
            size = path.stat().st_size
            raw = path.read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            raise PinLabError(f"{name}: the file cannot be read ({error.strerror}); check that it exists") from error
    else:
        raw, size = bytes(data), len(data)
    if size > MAX_BYTES:
        raise PinLabError(
            f"{name}: the file has {size / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB taken; make it smaller"
        )
    if not raw:
        raise PinLabError(f"{name}: the file is empty; choose another picture")
    return raw


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    shown = f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise PinLabError(f"{name}: {shown} is more than {_MEGAPIXELS} megapixels; make it smaller and try again")
    if min(size) < MIN_SIDE:
        raise PinLabError(f"{name}: {shown} is too small; both sides need at least {MIN_SIDE} pixels")
    if max(size) > MAX_ASPECT * min(size):
        raise PinLabError(f"{name}: {shown} is longer than {MAX_ASPECT}:1; crop it and try again")


def _unknown_format(raw: bytes, name: str) -> str:
    taken = "PinLab reads PNG, JPEG, WebP and GIF"
    if raw[4:8] == b"ftyp" and raw[8:12] in _HEIC_BRANDS:
        return f"{name}: this is an HEIC photo (the iPhone's format); {taken}, so export it as JPEG and try again"
    if raw[4:12] in (b"ftypavif", b"ftypavis"):
        return f"{name}: this is an AVIF picture; {taken}, so {_ASK}"
    start = raw[:64].lstrip().lower()
    for magic, what in _OTHER_FORMATS:
        if start.startswith(magic.lower()):
            return f"{name}: this is {what}; {taken}, so {_ASK}"
    return f"{name}: this file is no picture, or is damaged; {taken}, so {_ASK}"


def _on_whole_canvas(image: Image.Image) -> Image.Image:
    """A GIF whose first frame is smaller than its canvas, with the rest transparent, as browsers show it. Pillow fills
    it with the background colour, which browsers ignore."""
    frame = getattr(image, "dispose_extent", None)
    if image.format != "GIF" or frame is None or frame == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.convert("RGBA").crop(frame), frame[:2])
    return canvas


def _upright(image: Image.Image) -> Image.Image:
    """Apply EXIF orientation; EXIF that cannot be parsed is no reason to refuse the picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - a hostile EXIF block raises anything from struct.error to ZeroDivisionError
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    deep = image.mode.startswith(("I", "F"))  # Pillow reads no transparency with 16 bits
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data and not deep else None
    if deep:
        image = _deep_to_grey(image)
    elif image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    rgb = _to_srgb(image, profile)
    if alpha is None:
        return rgb
    page = Image.new("RGB", rgb.size, WHITE)
    page.paste(rgb, mask=alpha)
    return page


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """16-bit greys to 8 bits. Pillow's own `convert` clips at 255, which turns nearly everything white."""
    grey = np.asarray(image).astype(np.float32)
    top = 65535.0 if image.mode.startswith("I") else max(float(np.nanmax(grey)), 1.0)
    eight = np.clip(np.nan_to_num(grey) / top * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(eight)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A grey, RGB or CMYK picture through its colour profile. Pillow already undid the inversion of Adobe's CMYK."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a broken profile, or one of another kind of picture: the plain formula is still a fair picture
    return image.convert("RGB")


def _from_array(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {image.dtype} {image.shape}")
    return Image.fromarray(np.ascontiguousarray(image))


def _resize(picture: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size == picture.size:
        return picture
    # reducing_gap shrinks large pictures by whole factors first: several times faster, no visible difference
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
