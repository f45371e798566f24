"""Network dissection straight from its definition: one image, one unit, one concept at a time."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def slow_thresholds(activations: torch.Tensor, quantile: float) -> np.ndarray:
    """numpy's quantile of all native-resolution values of each unit."""
    values = activations.transpose(0, 1).flatten(1).double().numpy()
    return np.quantile(values, 1 - quantile, axis=1).astype(activations.numpy().dtype)


def slow_dissection(
    activations: torch.Tensor,
    masks: dict[str, torch.Tensor],
    num_concepts: dict[str, int],
    denominator: str,
    quantile: float = 0.005,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """IoU per category (U, n), and the number of active pixels of each unit (U,)."""
    images, units = activations.shape[:2]
    thresholds = slow_thresholds(activations, quantile)
    size = next(iter(masks.values())).shape[1:]
    intersection = {k: np.zeros((units, n), dtype=np.int64) for k, n in num_concepts.items()}
    activated = {k: np.zeros(units, dtype=np.int64) for k in num_concepts}
    concept_area = {k: np.zeros(n, dtype=np.int64) for k, n in num_concepts.items()}
    pixels = np.zeros(units, dtype=np.int64)
    for image in range(images):
        for category, n in num_concepts.items():
            labels = masks[category][image].numpy()
            for concept in range(1, n + 1):
                concept_area[category][concept - 1] += int((labels == concept).sum())
        for unit in range(units):
            native = activations[image, unit]
            if not native.max() > thresholds[unit]:
                continue
            upsampled = F.interpolate(native[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            active = upsampled.numpy() > thresholds[unit]
            pixels[unit] += int(active.sum())
            for category, n in num_concepts.items():
                labels = masks[category][image].numpy()
                counted = labels > 0 if denominator == "original" else (labels > 0) & active
                if counted.any():
                    activated[category][unit] += int(active.sum())
                for concept in range(1, n + 1):
                    intersection[category][unit, concept - 1] += int((active & (labels == concept)).sum())
    iou = {}
    for category in num_concepts:
        both = intersection[category].astype(float)
        union = activated[category][:, None] + concept_area[category][None] - both
        iou[category] = both / (union + 1e-10)
    return iou, pixels
