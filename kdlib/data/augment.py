"""Augmentation as a finite set of numbered views, so that a teacher's answer to (image, view) can be kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.errors import KdlibError, choose

_MAXIMUM_SHIFT = 2
# name -> (mirrored or not, largest shift in pixels)
AUGMENTATIONS = {"none": (1, 0), "flip": (2, 0), "flip_shift": (2, _MAXIMUM_SHIFT)}
RESIZED_CROP = "resized_crop"
_UNCOUNTED = 2**31


class Augmentation:
    """Horizontal mirroring and shifts by whole pixels (edges repeated), applied batched on the images' device.

    name: "none" (1 view), "flip" (2 views: 0 as is, 1 mirrored) or "flip_shift" (2 x 5 x 5 views: each of the two
    shifted by -2 to 2 pixels either way). View 0 is always the image itself. "resized_crop" is for streamed folders
    alone (`kdlib.data.folder_stream`), which cut while they decode: its views have no numbers and can't be asked for.

    >>> image = torch.tensor([[[[1.0, 2.0]]]])
    >>> Augmentation("flip")(image, torch.tensor([1]))
    tensor([[[[2., 1.]]]])
    >>> Augmentation("flip_shift").num_views
    50
    """

    def __init__(self, name: str) -> None:
        choose(name, (*AUGMENTATIONS, RESIZED_CROP), "augmentation")
        self.name = name
        self.mirrors, self.shift = AUGMENTATIONS.get(name, (1, 0))
        self.num_views = _UNCOUNTED if name == RESIZED_CROP else self.mirrors * (2 * self.shift + 1) ** 2

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        """The given view of each image; images (B, C, H, W), views (B,) integers below `num_views`."""
        if self.name == RESIZED_CROP:
            raise KdlibError("augment 'resized_crop' is for folders that are streamed; images in memory take 'flip'")
        if self.mirrors == 2:
            mirrored = (views % 2 == 1).view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(3), images)
        if self.shift:
            images = self._shifted(images, views // 2)
        return images

    def _shifted(self, images: Tensor, offsets: Tensor) -> Tensor:
        reach = 2 * self.shift + 1
        # Offset 0 must be the unshifted image: count the shifts 0, 1, 2, -2, -1 (modulo the reach).
        down, right = offsets // reach, offsets % reach
        down = torch.where(down > self.shift, down - reach, down)
        right = torch.where(right > self.shift, right - reach, right)
        height, width = images.shape[2:]
        padded = F.pad(images, (self.shift,) * 4, mode="replicate")
        rows = torch.arange(height, device=images.device) + self.shift - down[:, None]
        columns = torch.arange(width, device=images.device) + self.shift - right[:, None]
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
