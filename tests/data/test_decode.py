"""Every kind of picture file comes out as the eye sees it, or is refused in one sentence."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdlib.data import decode
from kdlib.data.broden import BrodenFolder
from kdlib.data.decode import BACKGROUND, FORMATS, MAX_PIXELS, read_numbers, read_rgb, without_far_ends
from kdlib.data.image_folder import centre_decoder
from kdlib.errors import KdlibError

RAMP = np.array([[0, 257, 32768, 65535]], np.uint16)
GREY = [0, 1, 128, 255]  # RAMP / 257
WHITE = list(BACKGROUND)


def pixels(path: Path) -> list[list[int]]:
    return np.asarray(read_rgb(path)).reshape(-1, 3).tolist()


def write_png(
    path: Path, colour_type: int, values: list[int], width: int, seen_through: bytes = b"", bits: int = 16
) -> Path:
    """One row of 16 bits a channel, or of fewer where `values` are whole bytes: Pillow itself can't write such."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0))
    row = zlib.compress(b"\0" + struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values))
    middle = chunk(b"tRNS", seen_through) if seen_through else b""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", row) + chunk(b"IEND", b""))
    return path


class TestDepth:
    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    def test_16_bit_grey_is_scaled_by_its_range(self, tmp_path, suffix):
        Image.fromarray(RAMP).save(tmp_path / f"ramp.{suffix}")
        assert pixels(tmp_path / f"ramp.{suffix}") == [[value] * 3 for value in GREY]

    @pytest.mark.parametrize("order", ["<u2", ">u2"])
    @pytest.mark.parametrize("compression", [None, "tiff_lzw"])
    def test_in_either_byte_order(self, tmp_path, order, compression):
        Image.fromarray(RAMP.astype(order)).save(tmp_path / "ramp.tif", compression=compression)
        assert pixels(tmp_path / "ramp.tif") == [[value] * 3 for value in GREY]

    def test_a_tiff_whose_white_is_zero(self, tmp_path):
        Image.fromarray(RAMP).save(tmp_path / "ramp.tif", tiffinfo={262: 0})
        assert pixels(tmp_path / "ramp.tif") == [[255 - value] * 3 for value in GREY]

    def test_every_value_of_16_bits(self, tmp_path):
        ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        Image.fromarray(ramp).save(tmp_path / "ramp.png")
        found = np.asarray(read_rgb(tmp_path / "ramp.png"))
        assert np.array_equal(found[..., 0], np.rint(ramp / 257))

    def test_colours_of_16_bits_give_the_upper_8(self, tmp_path):
        path = write_png(tmp_path / "rgb.png", 2, [65535, 32768, 0, 2313, 0, 12345], 2)
        assert pixels(path) == [[255, 128, 0], [9, 0, 48]]

    @pytest.mark.parametrize(("values", "suffix"), [(np.float32, "tif"), (np.int32, "tif"), (np.float32, "pfm")])
    def test_what_has_no_known_white_is_refused(self, tmp_path, values, suffix):
        Image.fromarray(RAMP.astype(values)).save(tmp_path / f"ramp.{suffix}")
        with pytest.raises(KdlibError, match=r"holds .* numbers, and nothing says which is white; save it with 8 bits"):
            read_rgb(tmp_path / f"ramp.{suffix}")

    @pytest.mark.parametrize("sample_format", [1, 2])
    def test_signed_bytes_have_none_either(self, tmp_path, sample_format):
        """Pillow can't write such a TIFF: one row of three pixels."""
        tags = {256: 3, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3, 339: sample_format}
        entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
        content = (
            b"II*\0" + struct.pack("<I", 12) + b"\x01\xc8\xff\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
        )
        (tmp_path / "signed.tif").write_bytes(content)
        if sample_format == 1:
            assert pixels(tmp_path / "signed.tif") == [[value] * 3 for value in (1, 200, 255)]
            return
        with pytest.raises(KdlibError, match=r"signed.tif holds 32-bit or signed numbers, and nothing says which is"):
            read_rgb(tmp_path / "signed.tif")

    def test_colours_that_are_not_converted_are_named(self, tmp_path):
        Image.new("LAB", (2, 2)).save(tmp_path / "lab.tif")
        with pytest.raises(KdlibError, match=r"lab.tif holds colours of mode LAB, which are not converted; save it as"):
            read_rgb(tmp_path / "lab.tif")

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_cmyk_stays_right(self, tmp_path, suffix):
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / f"cyan.{suffix}")
        assert np.abs(np.array(pixels(tmp_path / f"cyan.{suffix}")) - [0, 255, 255]).max() <= 3


class TestTransparency:
    def test_grey_multiplied_by_its_opacity(self, tmp_path):
        Image.fromarray(np.array([[[0, 255], [128, 128], [0, 0]]], np.uint8), "LA").save(tmp_path / "a.tif")
        content = (tmp_path / "a.tif").read_bytes()
        unassociated, associated = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 1))
        assert content.count(unassociated) == 1
        (tmp_path / "a.tif").write_bytes(content.replace(unassociated, associated))
        assert pixels(tmp_path / "a.tif") == [[0] * 3, [255] * 3, WHITE]

    @pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
    def test_shows_the_background_and_not_what_lies_under_it(self, tmp_path, suffix):
        red = np.array([[[255, 0, 0, 0], [255, 0, 0, 128], [255, 0, 0, 255]]], np.uint8)
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        Image.fromarray(red).save(tmp_path / f"red.{suffix}", **options)
        assert pixels(tmp_path / f"red.{suffix}") == [WHITE, [255, 127, 127], [255, 0, 0]]

    def test_of_grey(self, tmp_path):
        grey = np.array([[[10, 0], [10, 255]]], np.uint8)
        Image.fromarray(grey, "LA").save(tmp_path / "grey.png")
        assert pixels(tmp_path / "grey.png") == [WHITE, [10, 10, 10]]

    @pytest.mark.parametrize(
        ("suffix", "transparency", "second"),
        [("png", 1, WHITE), ("gif", 1, WHITE), ("png", b"\xff\x80", [127, 255, 127])],
    )
    def test_of_a_palette(self, tmp_path, suffix, transparency, second):
        image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(tmp_path / f"p.{suffix}", transparency=transparency)
        assert pixels(tmp_path / f"p.{suffix}") == [[255, 0, 0], second, [0, 0, 255]]

    def test_of_one_value(self, tmp_path):
        Image.fromarray(np.array([[0, 7, 9]], np.uint8)).save(tmp_path / "grey.png", transparency=7)
        assert pixels(tmp_path / "grey.png") == [[0, 0, 0], WHITE, [9, 9, 9]]
        Image.fromarray(RAMP).save(tmp_path / "deep.png", transparency=257)
        assert pixels(tmp_path / "deep.png") == [[0] * 3, WHITE, [128] * 3, [255] * 3]
        path = write_png(tmp_path / "rgb.png", 2, [2570, 0, 0, 2313, 0, 0], 2, struct.pack(">3H", 2570, 0, 0))
        assert pixels(path) == [WHITE, [9, 0, 0]]

    @pytest.mark.parametrize(
        ("bits", "row", "shown"), [(1, 0b0110, [0, 1, 1, 0]), (2, 0b00011011, [0, 1, 2, 3]), (4, 0x01, [0, 1])]
    )
    def test_of_one_value_of_few_bits(self, tmp_path, bits, row, shown):
        most = 2**bits - 1
        row = row << 4 if bits == 1 else row
        path = write_png(tmp_path / "few.png", 0, [row], len(shown), struct.pack(">H", 1), bits=bits)
        assert pixels(path) == [WHITE if value == 1 else [255 * value // most] * 3 for value in shown]

    @pytest.mark.parametrize(("colour_type", "values"), [(6, [9, 9, 9, 0, 0, 0, 0, 65535]), (4, [9, 0, 0, 65535])])
    def test_of_16_bits(self, tmp_path, colour_type, values):
        assert pixels(write_png(tmp_path / "deep.png", colour_type, values, 2)) == [WHITE, [0, 0, 0]]

    def test_an_opaque_picture_keeps_its_bits(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).convert("RGBA").save(tmp_path / "noise.png")
        assert np.array_equal(np.asarray(read_rgb(tmp_path / "noise.png")), noise)


# How a picture lies in the file so that the orientation puts it upright.
STORED = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.transpose(1, 0, 2),
    6: lambda up: np.rot90(up, 1),
    7: lambda up: up[::-1, ::-1].transpose(1, 0, 2),
    8: lambda up: np.rot90(up, -1),
}


class TestCanvas:
    def test_what_the_first_picture_of_a_gif_leaves_free_is_background(self, tmp_path):
        small = Image.new("P", (2, 1), 1)
        small.putpalette([255, 0, 0, 0, 255, 0])
        small.save(tmp_path / "a.gif", optimize=False)
        content = bytearray((tmp_path / "a.gif").read_bytes())
        content[6:10] = struct.pack("<HH", 4, 1)  # the canvas
        place = content.index(b",", 13 + 3 * 2 ** ((content[10] & 7) + 1))
        content[place + 1 : place + 5] = struct.pack("<HH", 1, 0)  # where the picture lies on it
        (tmp_path / "a.gif").write_bytes(content)
        assert pixels(tmp_path / "a.gif") == [WHITE, [0, 255, 0], [0, 255, 0], WHITE]


class TestOrientation:
    upright = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
    def test_of_a_tiff_of_any_mode(self, tmp_path, mode, orientation):
        noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        deep = noise[..., 0].astype(np.uint16) * 257
        image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(noise).convert(mode)
        image.save(tmp_path / "plain.tif")
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "p.tif", exif=exif)
        stored = np.asarray(read_rgb(tmp_path / "plain.tif"))
        assert np.array_equal(np.asarray(read_rgb(tmp_path / "p.tif", turned=False)), stored)
        upright = np.asarray(read_rgb(tmp_path / "p.tif"))
        assert np.array_equal(STORED[orientation](upright), stored)

    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("reader", [lambda path: read_rgb(path, turned=False), read_numbers])
    def test_stored_pixels_are_those_of_the_file(self, tmp_path, reader, suffix, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(self.upright).save(tmp_path / f"p.{suffix}", exif=exif)
        assert reader(tmp_path / f"p.{suffix}").size == (6, 4)
        assert np.array_equal(np.asarray(reader(tmp_path / f"p.{suffix}")), self.upright)

    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_is_applied_once(self, tmp_path, suffix, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](self.upright)))
        stored.save(tmp_path / f"p.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
        assert np.array_equal(np.asarray(read_rgb(tmp_path / f"p.{suffix}")), self.upright)

    def test_of_a_jpeg_and_not_where_masks_count_in_stored_pixels(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (6, 4)).save(tmp_path / "p.jpg", exif=exif)
        assert read_rgb(tmp_path / "p.jpg").size == (4, 6)
        assert read_rgb(tmp_path / "p.jpg", turned=False).size == (6, 4)

    @pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"])
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_damaged_exif_data_cost_no_picture(self, tmp_path, exif):
        Image.new("RGB", (6, 4)).save(tmp_path / "p.jpg", exif=exif)
        assert read_rgb(tmp_path / "p.jpg").size == (6, 4)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_a_number_that_is_none_turns_nothing(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (6, 4)).save(tmp_path / "p.jpg", exif=exif)
        assert read_rgb(tmp_path / "p.jpg").size == (6, 4)


class TestFormats:
    def test_only_the_named_ones_are_opened(self, tmp_path, monkeypatch):
        from PIL import EpsImagePlugin

        def started(*_, **__):
            raise AssertionError("Ghostscript was started")

        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
        text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
        (tmp_path / "x.png").write_text(text)
        Image.new("RGB", (4, 4)).save(tmp_path / "x.tga")
        for path in ("x.png", "x.tga"):
            with pytest.raises(KdlibError, match=rf"{path} holds no whole image \(PNG, JPEG, .* or PPM\); replace or"):
                read_rgb(tmp_path / path)
        assert "EPS" not in FORMATS

    @pytest.mark.parametrize("suffix", ["png", "jfif", "JPG", "jpe", "bmp", "tiff", "webp", "gif", "ppm", "pgm", "pbm"])
    def test_every_suffix_that_is_listed_is_read(self, tmp_path, suffix):
        path = tmp_path / f"p.{suffix}"
        mode = {"pgm": "L", "pbm": "1"}.get(suffix, "RGB")
        Image.new(mode, (5, 3)).save(path, "JPEG" if suffix.lower() in ("jfif", "jpe", "jpg") else None)
        assert read_rgb(path).size == (5, 3)
        assert path.suffix.lower() in decode.SUFFIXES

    @pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.tif", {}), ("a.jpg", {"format": "MPO"})])
    def test_of_several_pictures_the_first_is_read(self, tmp_path, name, options):
        first, second = (Image.new("RGB", (5, 5), (value, value, value)) for value in (10, 200))
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        assert pixels(tmp_path / name)[0] == [10, 10, 10]


class TestSize:
    def test_too_many_pixels_are_told_as_such(self, tmp_path):
        Image.new("1", (14000, 14000), 1).save(tmp_path / "huge.png")
        with pytest.raises(
            KdlibError, match=r"huge.png has too many pixels, more than the 178,956,970 that are decoded"
        ):
            read_rgb(tmp_path / "huge.png")
        assert MAX_PIXELS == 178_956_970

    @pytest.mark.parametrize(("side", "left"), [(64, 64), (2364, 64), (5000, 14), (13377, 4)])
    def test_the_larger_the_side_the_less_is_left_of_the_ends(self, side, left):
        assert without_far_ends(Image.new("L", (1000, 2)), side).size == (left, 2)
        assert left / 2 * side**2 < 2.1 * MAX_PIXELS

    def test_before_anything_is_decoded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decode, "MAX_PIXELS", 100)
        Image.new("RGB", (11, 10)).save(tmp_path / "p.png")
        whole = (tmp_path / "p.png").read_bytes()
        (tmp_path / "p.png").write_bytes(whole[: whole.index(b"IDAT") + 6])
        with pytest.raises(KdlibError, match=r"p.png has 11 x 10 pixels, more than the"):
            read_rgb(tmp_path / "p.png")

    def test_a_thread_of_a_picture_takes_no_memory(self, tmp_path):
        for size in ((1, 1_000_000), (1_000_000, 1)):
            Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "thin.png")
            assert centre_decoder(64)(str(tmp_path / "thin.png")).flatten(1).float().mean(1).tolist() == [9, 8, 7]

    def test_the_middle_is_kept(self):
        image = Image.fromarray(np.arange(101, dtype=np.uint8)[None])
        assert np.asarray(without_far_ends(image)).tolist() == [list(range(34, 66))]


class TestFiles:
    @pytest.mark.parametrize(
        ("suffix", "options"), [("jpg", {}), ("png", {"format": "JPEG"}), ("png", {"format": "WEBP", "quality": 10})]
    )
    def test_a_mask_of_jpeg_or_webp_is_refused(self, tmp_path, suffix, options):
        Image.new("L", (8, 8), 3).save(tmp_path / f"mask.{suffix}", **options)
        with pytest.raises(
            KdlibError, match=rf"mask.{suffix} is compressed as JPEG or WEBP, which changes .*; unpack it$"
        ):
            read_numbers(tmp_path / f"mask.{suffix}", "unpack it")
        assert read_rgb(tmp_path / f"mask.{suffix}").size == (8, 8)

    @pytest.mark.parametrize("reader", [read_rgb, read_numbers])
    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "bmp"])
    @pytest.mark.parametrize("damage", ["text", "half", "empty"])
    def test_damage_is_told_with_the_remedy(self, tmp_path, reader, suffix, damage):
        path = tmp_path / f"bird.{suffix}"
        noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        if reader is read_rgb or suffix not in ("jpg", "webp"):
            assert reader(path).size == (40, 40)
        whole = path.read_bytes()
        path.write_bytes({"text": b"no image", "half": whole[: len(whole) // 2], "empty": b""}[damage])
        with pytest.raises(KdlibError, match=rf"bird.{suffix} holds no whole image \(PNG, .*\); unpack it"):
            reader(path, "unpack it")

    @pytest.mark.parametrize("path", [None, b"/tmp/a.png", 3])
    def test_what_is_no_path(self, path):
        with pytest.raises(KdlibError, match="the path of a picture must be a path, not "):
            read_rgb(path)

    def test_a_palette_that_is_not_there(self, tmp_path):
        path = write_png(tmp_path / "p.png", 3, [0, 1], 2, bits=8)
        with pytest.raises(KdlibError, match=r"p.png holds numbers of colours and no palette that names them; save it"):
            read_rgb(path)

    def test_what_is_missing(self, tmp_path):
        with pytest.raises(KdlibError, match=r"nothing.png is missing; unpack it$"):
            read_rgb(tmp_path / "nothing.png", "unpack it")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
    def test_pipes_devices_and_folders(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "link.png").symlink_to("/dev/zero")
        for path in (tmp_path / "pipe.png", tmp_path / "link.png", tmp_path):
            with pytest.raises(KdlibError, match="is a folder, pipe or device, not a file; replace or remove"):
                read_rgb(path)

    def test_what_the_system_can_not_open_says_why(self, tmp_path):
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        with pytest.raises(KdlibError, match=r"loop.png cannot be read \(.+\); make it a readable file"):
            read_rgb(tmp_path / "loop.png")

    @pytest.mark.parametrize("suffix", ["png", "gif", "jpg", "tif", "webp", "bmp"])
    @pytest.mark.filterwarnings("ignore")
    def test_random_damage_is_one_sentence_or_does_no_harm(self, tmp_path, suffix):
        path, random = tmp_path / f"p.{suffix}", np.random.default_rng(0)
        Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path)
        whole = path.read_bytes()
        refused = 0
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(4):
                damaged[random.integers(min(len(damaged), 200))] = random.integers(256)
            path.write_bytes(damaged)
            try:
                read_rgb(path)
            except KdlibError as error:  # any other exception fails the test
                refused += 1
                assert "\n" not in str(error)
        assert refused > 5


class TestNumbers:
    def test_are_as_stored(self, tmp_path):
        mask = Image.fromarray(np.array([[0, 3], [255, 20]], np.uint8), "P")
        mask.putpalette([7] * 768)
        mask.save(tmp_path / "mask.png", transparency=3)
        assert np.asarray(read_numbers(tmp_path / "mask.png")).tolist() == [[0, 3], [255, 20]]
        labels = np.array([[[44, 1, 0, 0]]], np.uint8)  # an alpha channel says nothing of numbers
        Image.fromarray(labels).save(tmp_path / "labels.png")
        assert np.asarray(read_numbers(tmp_path / "labels.png")).tolist() == labels.tolist()

    def test_of_fewer_bits_are_the_same_numbers_and_levels_of_grey_if_asked_for(self, tmp_path):
        for bits, packed, numbers in ((4, 0x19, [1, 9]), (2, 0b00011011, [0, 1, 2, 3])):
            path = write_png(tmp_path / "grey.png", 0, [packed], len(numbers), bits=bits)
            assert np.asarray(read_numbers(path)).tolist() == [numbers]
            largest = 2**bits - 1
            assert np.asarray(read_numbers(path, of_grey=True)).tolist() == [[255 * n // largest for n in numbers]]

    def test_of_more_than_8_bits_are_refused(self, tmp_path):
        Image.fromarray(RAMP).save(tmp_path / "grey.png")
        write_png(tmp_path / "rgb.png", 2, [300, 0, 0], 1)
        for name in ("grey.png", "rgb.png"):
            with pytest.raises(KdlibError, match=rf"{name} has more than 8 bits a channel, where a mask has numbers"):
                read_numbers(tmp_path / name)

    def test_pictures_of_broden_go_through_the_same_reader(self, tmp_path):
        (tmp_path / "images").mkdir()
        Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "images" / "a.png")
        (tmp_path / "index.csv").write_text("image,split,ih,iw,sh,sw,object\na.png,train,2,2,2,2,7\n")
        (tmp_path / "c_object.csv").write_text("code,number,name,frequency,coverage\n1,7,dog,1,1\n")
        assert BrodenFolder(tmp_path).image(0).unique().tolist() == [255]
