"""What the widgets over grids of cells share: packed masks, borders, marks."""

from __future__ import annotations

import numpy as np
import torch

from kdlib.names import MODEL_COLOURS
from kdlib.widgets.cells import MARKS, border, pack_cells


def test_masks_are_packed_one_after_the_other_each_from_a_byte_on():
    masks = torch.rand(3, 2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    rows = np.frombuffer(pack_cells(masks), np.uint8).reshape(6, 5)  # 35 cells in 5 bytes
    unpacked = np.unpackbits(rows, axis=1)[:, :35].reshape(masks.shape)
    assert torch.equal(torch.from_numpy(unpacked).bool(), masks)


def test_a_border_has_a_segment_for_every_side_on_which_a_cell_has_no_neighbour():
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.4
    expected = set()
    for y in range(6):
        for x in range(5):
            if not mask[y, x]:
                continue
            for dy, dx, segment in (
                (-1, 0, ((x, y), (x + 1, y))), (1, 0, ((x, y + 1), (x + 1, y + 1))),
                (0, -1, ((x, y), (x, y + 1))), (0, 1, ((x + 1, y), (x + 1, y + 1))),
            ):  # fmt: skip
                inside = 0 <= y + dy < 6 and 0 <= x + dx < 5
                if not (inside and mask[y + dy, x + dx]):
                    expected.add(segment)
    found = [tuple(segment) for segment in border(mask)]
    assert len(found) == len(set(found)) and set(found) == expected


def test_marks_of_one_picture_differ_in_colour_and_in_shape_and_have_no_models_colour():
    for kinds in (("foreground", "background"), ("new", "kept", "vanished")):
        colours, shapes = zip(*(MARKS[kind] for kind in kinds), strict=True)
        assert len(set(colours)) == len(set(shapes)) == len(kinds)
    assert not {colour.upper() for colour, _ in MARKS.values()} & {colour.upper() for colour in MODEL_COLOURS.values()}
