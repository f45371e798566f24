"""The language experiment's common ground: sentences, sizes and nets of each preset, and word attributions of its nets.

The nets, recipes and sizes were fixed on accuracies of teachers and students from scratch, before any attribution
was looked at: a student is small enough to have something to learn from its teacher.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from kdlib.data import sst2
from kdlib.data.drawn import sentences
from kdlib.data.labelled_set import Splits
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.errors import choose
from kdlib.metrics.word_attribution import METHODS, attribution_summary, word_attributions
from kdlib.models import build
from kdlib.papers.han2023.study import HanStudy
from kdlib.papers.presets import Preset
from kdlib.train.loop import fit
from kdlib.train.predict import score
from kdlib.train.recipe import Recipe

ARMS = ("scratch", "label_smoothing", "kd", "kd_t4")


def _recipe(epochs: int, learning_rate: float, weight_decay: float, batch_size: int = 64) -> Recipe:
    return Recipe(
        epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer="adamw",
        augment="none",
        channels_last=False,
    )


PRESETS = {
    # seconds: everything runs, nothing is learned
    "smoke": Preset(
        n_train=400,
        n_val=100,
        n_test=200,
        n_probe=None,
        n_seeds=2,
        teacher={"depth": 2, "width": 16, "heads": 2},
        student={"depth": 1, "width": 8, "heads": 2},
        teacher_recipe=_recipe(2, 5e-3, 0.01),
        student_recipe=_recipe(2, 5e-3, 0.01),
    ),
    # minutes on two cores
    "quick": Preset(
        n_train=8000,
        n_val=1000,
        n_test=1500,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 4, "width": 64, "heads": 4},
        student={"depth": 1, "width": 8, "heads": 2},
        teacher_recipe=_recipe(7, 1.5e-3, 0.1),
        student_recipe=_recipe(6, 5e-3, 0.01),
    ),
    # an hour or so on two cores: more sentences, a deeper teacher, students trained longer
    "retrain": Preset(
        n_train=16_000,
        n_val=2000,
        n_test=3000,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 6, "width": 64, "heads": 4},
        student={"depth": 1, "width": 8, "heads": 2},
        teacher_recipe=_recipe(10, 1.5e-3, 0.1),
        student_recipe=_recipe(10, 5e-3, 0.01),
    ),
    # the paper's depths, 12 layers and 3
    "gpu": Preset(
        n_train=40_000,
        n_val=4000,
        n_test=10_000,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 12, "width": 128, "heads": 8},
        student={"depth": 3, "width": 16, "heads": 2},
        teacher_recipe=_recipe(12, 5e-4, 0.1),
        student_recipe=_recipe(8, 3e-3, 0.01),
    ),
}


def language_study(
    preset: str = "quick",
    seed: int = 0,
    n_seeds: int | None = None,
    device: str = "auto",
    *,
    sst_folder: str = "",
    temperature: float = 1.0,
    alpha: float = 0.5,
    smoothing: float = 0.1,
) -> HanStudy:
    """A `HanStudy` of small transformers on sentences: the grammar's, or SST-2 from `sst_folder` if one is named.

    The preset's numbers of sentences are upper bounds for SST-2; its dev part, which is reported on, is always whole.
    """
    sizes = PRESETS[choose(preset, PRESETS, "preset")]
    counts = {"n_train": sizes.n_train or 0, "n_val": sizes.n_val or 0}
    if sst_folder:
        splits = sst2.load(sst_folder, **counts, seed=seed)
    else:
        splits = sentences.load(**counts, n_test=sizes.n_test or 0, seed=seed)
    return HanStudy(
        splits,
        preset,
        seed,
        n_seeds,
        device,
        temperature=temperature,
        alpha=alpha,
        smoothing=smoothing,
        presets=PRESETS,
        network="small_transformer",
    )


def negation_sentences() -> Splits[sentences.SentenceSet]:
    """ "the film is good", "the film is not good", ...: 6 things, 4 sentiment words; the things of test are new.

    In train there are neutral sentences too ("the film is not new"), each of them once as praise and once as blame, so
    that a net learns that no sentiment word means neither.

    >>> splits = negation_sentences()
    >>> len(splits.train), len(splits.test), " ".join(splits.test.words[-1])
    (64, 16, 'the room is not dull')
    """
    lexicon = {"good": 1, "fine": 1, "bad": -1, "dull": -1}
    train: list[tuple[tuple[str, ...], int]] = []
    test: list[tuple[tuple[str, ...], int]] = []
    for thing, no in product(("film", "book", "song", "plot", "cast", "room"), ((), ("not",))):
        part = test if thing in ("cast", "room") else train
        part += [(("the", thing, "is", *no, word), int((sign > 0) != bool(no))) for word, sign in lexicon.items()]
        if part is train:
            part += [(("the", thing, "is", *no, word), label) for word in ("new", "old") for label in (0, 1)]
    vocabulary = sentences.make_vocabulary([words for words, _ in train], 1)

    def encoded(part: list[tuple[tuple[str, ...], int]]) -> sentences.SentenceSet:
        texts, labels = [words for words, _ in part], [label for _, label in part]
        return sentences.encode(texts, labels, vocabulary, lexicon, length=5, name="negation")

    return Splits("negation", encoded(train), encoded(test), encoded(test), encoded(test))


def instrument_check(num_nets: int = 4) -> list[dict[str, float | str]]:
    """What each attribution method says of tiny transformers that have learned `negation_sentences`.

    One row a method: the share of words with the right sign, plain and negated, and the nets' accuracy, as means over
    nets. Where accuracy is 1, a method that is short of 1 errs, not the nets.
    """
    splits = negation_sentences()
    options = splits.train.model_options()
    recipe = _recipe(60, 1e-2, 0.01, batch_size=8)

    def trained(seed: int):
        def make():
            return build("small_transformer", seed=seed, width=16, depth=1, heads=2, **options)

        return fit(make, splits, CrossEntropy(), recipe, seed, device="cpu").model()

    nets = [trained(seed) for seed in range(num_nets)]
    right = float(np.mean([score(net, splits.test) for net in nets]))
    rows: list[dict[str, float | str]] = []
    for method in METHODS:
        found = [attribution_summary(word_attributions(net, splits.test, method=method), splits.test) for net in nets]
        means = {kind: float(np.mean([f[f"agreement_{kind}"] for f in found])) for kind in ("plain", "negated")}
        rows.append({"method": method, **means, "accuracy": right})
    return rows
