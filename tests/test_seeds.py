"""One bound for seeds, wherever one is given: beyond it torch would give the numbers of a smaller seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdlib.book.limits import LIMITS
from kdlib.book.parameters import check_parameters, read_parameters
from kdlib.cohort.verify import verify
from kdlib.data.augment import Augmentation
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.drawn.drawing import part_seed
from kdlib.data.splitting import take
from kdlib.distill.contrastive import ContrastiveMemory
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.dark_knowledge import shuffled_per_image, wrong_classes
from kdlib.distill.factor_transfer import train_paraphraser
from kdlib.distill.kd import kd_loss
from kdlib.distill.mistakes.checks import diagnose, diagnose_supply, diagnose_total
from kdlib.distill.mistakes.losses import total_loss
from kdlib.distill.mistakes.teachers import live_supply
from kdlib.distill.self_supervision import make_head, train_head
from kdlib.errors import MOST_SEED, KdlibError, check_seed
from kdlib.metrics.diffroar import rank_codes
from kdlib.metrics.dissection.controls import random_rotation
from kdlib.metrics.information.maps import information_discarding
from kdlib.metrics.information.response import noise_generator
from kdlib.models import build
from kdlib.models.seeded import seeded
from kdlib.papers.han2023.roar import Ranking
from kdlib.papers.study import Study
from kdlib.runs.spec import make_spec
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

TOO_LARGE = [2**32, 2**44, 99999999999999999999]
RECIPE = Recipe(epochs=1, batch_size=2)
TEACHER = nn.Sequential(nn.Conv2d(3, 2, 1))


@pytest.mark.parametrize("seed", TOO_LARGE)
@pytest.mark.parametrize(
    "use",
    [
        check_seed,
        lambda seed: LIMITS["seed"].check(seed, "seed"),
        lambda seed: make_spec("small_resnet", "cross_entropy", RECIPE, seed),
        lambda seed: seeded(nn.Linear, seed, in_features=1, out_features=1),
        lambda seed: build("small_resnet", num_classes=2, seed=seed),
        lambda seed: Study("smoke", seed, 1, "cpu"),
        lambda seed: part_seed("cells", seed, "train"),
        lambda seed: draw_scenes(1, seed, 16),
        lambda seed: take(torch.zeros(4).long(), 2, seed, "n_test", "the toy"),
        lambda seed: information_discarding(nn.Flatten(), torch.rand(1, 1, 4, 4), "", seed=seed),
        lambda seed: shuffled_per_image(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([0]), seed),
        lambda seed: wrong_classes((0, 0, 1, 1), seed),
        lambda seed: ContrastiveMemory(2, 2, torch.tensor([0, 1]), negatives=1, seed=seed),
        lambda seed: make_head(2, seed),
        lambda seed: train_head(torch.rand(2, 4, 3), seed=seed),
        lambda seed: train_paraphraser(TEACHER, "0", draw_scenes(2, 0, 16), Augmentation("none"), seed=seed),
        lambda seed: diagnose(kd_loss, seed),
        lambda seed: diagnose_total(total_loss, seed),
        lambda seed: diagnose_supply(live_supply, seed),
        lambda seed: rank_codes(torch.rand(1, 1, 2, 2), (0.5,), seed=seed),
        lambda seed: random_rotation(3, seed),
        lambda seed: noise_generator(seed, 0),
        lambda seed: Ranking(None, seed),
        lambda seed: verify(None, 1, seed=seed),
    ],
)
def test_a_seed_beyond_the_bound_is_refused_in_one_sentence(use, seed):
    with pytest.raises(KdlibError, match=f"^seed must be a whole number from 0 to 4294967295, not {seed}$"):
        use(seed)


@pytest.mark.parametrize("seed", [2**32, -1, 1.0, True])
@pytest.mark.parametrize("recipe", [RECIPE, Recipe(epochs=0, batch_size=2)], ids=["an epoch", "no epoch"])
def test_fit_refuses_it_before_a_step(splits, recipe, seed):
    model = build("small_resnet", num_classes=2, features=16)
    with pytest.raises(KdlibError, match=f"from 0 to 4294967295, not {seed}"):
        fit(lambda: model, splits, CrossEntropy(), recipe, seed, device="cpu")


@pytest.mark.parametrize("seed", [-1, 1.0, True])
def test_what_python_s_own_generator_would_take_is_refused(seed):
    with pytest.raises(KdlibError, match="from 0 to 4294967295, not "):
        verify(None, 1, seed=seed)


@pytest.mark.parametrize("seed", [-1, 1.0, True, None, "0"])
def test_what_is_no_whole_number_from_0_on_is_no_seed(seed):
    with pytest.raises(KdlibError, match="seed must be a whole number from 0 to 4294967295, not "):
        check_seed(seed)


def test_the_largest_seed_is_one_of_its_own():
    weights = [seeded(nn.Linear, seed, in_features=3, out_features=3).weight for seed in (0, 1, MOST_SEED)]
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[1], weights[2])


def test_a_study_refuses_seeds_that_run_beyond_the_bound():
    message = (
        "n_seeds=2 from seed=4294967295 on go beyond the largest seed, 4294967295; give a seed of at most 4294967294"
    )
    with pytest.raises(KdlibError, match=message):
        Study("smoke", MOST_SEED, 2, "cpu")
    form = read_parameters("seed = 0\nn_seeds = None")
    with pytest.raises(KdlibError, match=message):
        check_parameters(form, {"seed": str(MOST_SEED), "n_seeds": "2"}, "toy")
    with pytest.raises(KdlibError, match="n_seeds=3 from seed=4294967295 on"):
        check_parameters(read_parameters("seed = 0\nn_seeds = 3"), {"seed": str(MOST_SEED)}, "toy")
    last = {"seed": MOST_SEED - 1, "n_seeds": 2}
    assert check_parameters(form, last, "toy") == last
    assert check_parameters(form, {"seed": MOST_SEED}, "toy") == {"seed": MOST_SEED}
