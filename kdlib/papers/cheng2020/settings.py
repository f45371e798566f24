"""The settings of Cheng et al. 2020 (CVPR), with where each is known from.

The paper's text could not be read. All of these are from its released code.
"""

from __future__ import annotations

# Epochs of 150 after which the released code keeps the weights; the first is before training.
PAPER_CHECKPOINTS = (0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 70, 90, 110, 130, 150)
PAPER_EPOCHS = 150
# The released code's own list for its runs of 400 epochs (the students of the supplement): these and seven more.
PAPER_CHECKPOINTS_400 = (*PAPER_CHECKPOINTS, 170, 190, 240, 280, 320, 360, 400)
# In runs of either length the image-discard rule looks from this checkpoint on.
PAPER_FIRST_JUDGED = 40


def checkpoint_epochs(epochs: int) -> tuple[int, ...]:
    """The released code's checkpoints for its own 150 and 400 epochs, for another length the same fractions of 150 in
    whole epochs.

    >>> checkpoint_epochs(150) == PAPER_CHECKPOINTS, checkpoint_epochs(15)
    (True, (0, 1, 2, 3, 4, 5, 7, 9, 11, 13, 15))
    >>> checkpoint_epochs(400)[-9:]
    (130, 150, 170, 190, 240, 280, 320, 360, 400)
    """
    if epochs == PAPER_CHECKPOINTS_400[-1]:
        return PAPER_CHECKPOINTS_400
    return tuple(sorted({(2 * epoch * epochs + PAPER_EPOCHS) // (2 * PAPER_EPOCHS) for epoch in PAPER_CHECKPOINTS}))


def first_judged(epochs: int) -> int:
    """The epoch from which the image-discard rule looks: 40 of 150 and of 400, as much of another length.

    >>> first_judged(150), first_judged(400), first_judged(15)
    (40, 40, 4)
    """
    if epochs == PAPER_CHECKPOINTS_400[-1]:
        return PAPER_FIRST_JUDGED
    return -(-PAPER_FIRST_JUDGED * epochs // PAPER_EPOCHS)
