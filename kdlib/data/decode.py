"""The one reader of picture files: what is opened, how much of it, and how every kind of pixel becomes RGB.

- Only the formats in `FORMATS` are opened, whatever the file is called: Pillow knows some forty, and one of them starts
  another program (Ghostscript, for an EPS). Of several pictures in a file (GIF, TIFF) the first is read.
- A picture of more than `MAX_PIXELS` is refused by its header, before anything is decoded. So is what is no regular
  file: a pipe never ends, a device has no end.
- A picture is turned as its EXIF orientation says, as every viewer shows it.
- Transparent parts show `BACKGROUND`, as on a page, and so does what a GIF's first picture leaves free of its canvas.
  What lies under them in the file can't be seen and isn't read.
- 16-bit grey is scaled by the range of its type, 0 to 65,535 (less where a TIFF says that fewer bits are used), to 0
  to 255; Pillow by itself would clip it. Colours of 16 bits give their upper 8.
- Floating-point and 32-bit pictures are refused: nothing in them says which value is white.
- CMYK and YCbCr are converted by Pillow's own formulas, without a colour profile.
"""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from PIL import Image

from kdlib.data.root import expanded
from kdlib.errors import KdlibError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# Of files that are taken for pictures in a folder; upper case counts too.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
MAX_PIXELS = 178_956_970  # where Pillow itself refuses, too: half a GiB of RGB
MAX_SIDE = 13_377  # of a square of as many pixels; no picture is enlarged beyond it
MAX_ELONGATION = 32  # long side by short side; `without_far_ends` cuts off what lies beyond
BACKGROUND = (255, 255, 255)
REMEDY = "replace or remove the file"

_ORIENTATION, _BITS, _PHOTOMETRIC, _WHITE_IS_ZERO, _SAMPLE_FORMAT = 0x0112, 258, 262, 0, 339
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK = _TURNS | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
_DIRECT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_FEW_BITS = {"L;2": 85, "L;4": 17}  # how far apart Pillow puts the levels of grey of 2 and 4 bits
_DRAWN, _APART = "kdlib drawn", "kdlib levels apart"  # what is noted in a picture's `info`
_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # Pillow's names of compressions within a TIFF


def read_rgb(path: str | Path, remedy: str = REMEDY, *, turned: bool = True) -> Image.Image:
    """The picture in a file as RGB of 8 bits, whole or not at all.

    remedy: what to do about a file that is missing or damaged; it ends the sentence. turned: whether the EXIF
    orientation is applied. Where boxes or masks come with the picture it isn't: they count in the stored pixels.

    Raises KdlibError for what is missing, no regular file, unreadable, too large, of another format, damaged, or has
    pixels without a known range.

    >>> read_rgb("nowhere.png", "unpack the archive again")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: nowhere.png is missing; unpack the archive again
    """
    image, upright, stored, _ = _opened(path, remedy)
    turn = upright if turned else stored
    try:
        rgb = _as_rgb(image, path)
        return rgb if turn is None else rgb.transpose(turn)
    except MemoryError as error:
        raise _too_large(path) from error


def read_numbers(path: str | Path, remedy: str = REMEDY, *, of_grey: bool = False) -> Image.Image:
    """The picture in a file as it is stored, for masks whose pixels are numbers of 8 bits a channel or fewer.

    of_grey: the numbers are levels of grey, so that those of 2 and 4 bits are spread from 0 to 255. Otherwise nothing
    is scaled, turned or put on a background. Raises KdlibError as `read_rgb` does, for more bits a channel, and for
    JPEG and WEBP, in which numbers become others.
    """
    image, _, stored, deep = _opened(path, remedy)
    if deep or image.mode in (*_SIXTEEN, "I", "F"):
        raise KdlibError(f"{path} has more than 8 bits a channel, where a mask has numbers of 8 bits; {remedy}")
    if image.format in ("JPEG", "MPO", "WEBP") or image.info.get("compression") in _LOSSY:
        raise KdlibError(f"{path} is compressed as JPEG or WEBP, which changes the numbers of a mask; {remedy}")
    apart = image.info.get(_APART)
    if apart and not of_grey:
        image = Image.fromarray(np.asarray(image) // apart)
    return image if stored is None else image.transpose(stored)


def without_far_ends(image: Image.Image, side: int = 1) -> Image.Image:
    """The middle of a picture that is more than `MAX_ELONGATION` times as long as wide; others as they are.

    The ends would be cut off anyway after the short side was resized, and resizing them may take any memory: 1 x
    1,000,000 pixels would first become 64 x 64,000,000.

    side: what the short one will be resized to. Where it is large, less is left: so many times as long as wide as
    `MAX_PIXELS` allow, and twice at least.

    >>> without_far_ends(Image.new("RGB", (1000, 2))).size, without_far_ends(Image.new("RGB", (60, 2))).size
    ((64, 2), (60, 2))
    """
    longest = max(2, min(MAX_ELONGATION, MAX_PIXELS // side**2)) * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _opened(path: str | Path, remedy: str) -> tuple[Image.Image, Image.Transpose | None, Image.Transpose | None, bool]:
    """The decoded picture, and what is left to do with it or was done.

    (the picture, the turn that makes it upright, the turn that brings it back to the stored pixels, whether Pillow cut
    16-bit colours to 8). Pillow turns a TIFF when it is decoded, and no other format.
    """
    path = expanded(path, "the path of a picture")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise KdlibError(f"{path} is a folder, pipe or device, not a file; {remedy}")
        # Given a path, Pillow maps some files into memory, and mixes up the rows of a TIFF that lies on its side.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise KdlibError(f"{path} has {image.width:,} x {image.height:,} {_TOO_MANY}")
            raw = [str(tile[3]) for tile in image.tile]
            deep = any(";16" in name for name in raw) and image.mode not in _SIXTEEN
            # Pillow fills what the first picture of a GIF leaves free with any colour.
            drawn = image.tile[0][1] if image.format == "GIF" and image.tile else None
            before = _orientation(image) if image.format == "TIFF" else None  # a PNG would be decoded for it
            image.load()
            left = _orientation(image)
    except KdlibError:
        raise
    except FileNotFoundError:
        raise KdlibError(f"{path} is missing; {remedy}") from None
    except Image.DecompressionBombError:
        raise KdlibError(f"{path} has too many {_TOO_MANY}") from None
    except MemoryError as error:
        raise _too_large(path) from error
    except Exception as error:  # Pillow's decoders answer damage with errors of almost any type
        if isinstance(error, OSError) and error.errno:
            raise KdlibError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error
        raise KdlibError(f"{path} holds no whole image ({_FORMATS_IN_WORDS}); {remedy}") from error
    seen_through = image.info.get("transparency")
    if deep and isinstance(seen_through, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in seen_through)
    if image.mode == "L" and raw and raw[0] in _FEW_BITS:
        image.info[_APART] = _FEW_BITS[raw[0]]
        if isinstance(seen_through, int):
            image.info["transparency"] = seen_through * _FEW_BITS[raw[0]]  # Pillow spreads the pixels, but not this one
    if drawn and drawn != (0, 0, *image.size):
        image.info[_DRAWN] = drawn
    return image, _TURNS.get(left), _BACK.get(before) if before and before != left else None, deep


_FORMATS_IN_WORDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
_TOO_MANY = f"pixels, more than the {MAX_PIXELS:,} that are decoded; make it smaller"


def _too_large(path: str | Path) -> KdlibError:
    return KdlibError(f"{path} does not fit into memory; make it smaller")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where there is none or the EXIF data are damaged, as in viewers."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # see above; the pixels are whole
        return 1
    return found if isinstance(found, int) else 1


def _as_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "P" and not image.getpalette():
        raise KdlibError(f"{path} holds numbers of colours and no palette that names them; save it as RGB")
    drawn = image.info.pop(_DRAWN, None)
    if drawn is not None:
        canvas = Image.new("RGB", image.size, BACKGROUND)
        canvas.paste(_as_rgb(image, path).crop(drawn), drawn)
        return canvas
    if image.mode in _SIXTEEN or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_sixteen_bits(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info or _has_alpha_palette(image):
        straight = image.convert("LA") if image.mode == "La" else image  # Pillow has no other way from it
        return _on_background(straight.convert("RGBA"))
    signed = 2 in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())  # Pillow takes -1 of 8 bits for 255
    if image.mode in _DIRECT and not signed:
        return image.convert("RGB")
    kind = {"F": "floating-point numbers", "I": "32-bit or signed numbers"}.get("I" if signed else image.mode)
    if kind is None:
        raise KdlibError(f"{path} holds colours of mode {image.mode}, which are not converted; save it as RGB")
    raise KdlibError(f"{path} holds {kind}, and nothing says which is white; save it with 8 bits a channel")


def _has_alpha_palette(image: Image.Image) -> bool:
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _on_background(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image).convert("RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    largest = 2**bits - 1
    values = np.asarray(image)
    shade = np.clip((2 * 255 * np.arange(65_536) + largest) // (2 * largest), 0, 255).astype(np.uint8)
    grey = shade[values]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    rgb = np.repeat(grey[..., None], 3, axis=2)
    seen_through = image.info.get("transparency")
    if isinstance(seen_through, int):
        rgb[values == seen_through] = BACKGROUND
    return Image.fromarray(rgb)
