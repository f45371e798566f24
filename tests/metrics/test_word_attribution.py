"""Word attributions against nets whose answer is known, finite differences, captum, and counting by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from kdlib.capture import find_layer
from kdlib.data.drawn.sentences import SentenceSet, encode, load
from kdlib.errors import KdlibError
from kdlib.metrics.word_attribution import (
    METHODS,
    attribution_summary,
    polar_share,
    rank_auc,
    relative_to_prediction,
    sign_agreement,
    word_attributions,
)
from kdlib.models import build

VOCABULARY = ("[PAD]", "[UNK]", "good", "bad", "the", "not")
LEXICON = {"good": 1, "bad": -1}


class LinearBag(nn.Module):
    """Mean embedding, then a linear layer: a word's part in z_1 - z_0 is e . (w_1 - w_0) / words, whatever the rest."""

    def __init__(self, vectors: list[list[float]], weight: list[list[float]]) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.tensor(vectors), freeze=False)
        self.fc = nn.Linear(len(weight[0]), len(weight))
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(weight))

    def forward(self, tokens: Tensor) -> Tensor:
        is_word = (tokens != 0)[:, :, None]
        return self.fc((self.embedding(tokens) * is_word).sum(1) / is_word.sum(1))


def tiny_set() -> SentenceSet:
    sentences = [["the", "good", "good", "bad"], ["not", "bad"]]
    return encode(sentences, [1, 1], VOCABULARY, LEXICON, length=5, name="tiny")


def linear_bag() -> LinearBag:
    # z_1 - z_0 has the weights (3, -1).
    return LinearBag([[0, 0], [0, 0], [1, 0], [-1, 2], [0, 1], [0.5, 1.5]], [[-1.0, 1.0], [2.0, 0.0]])


class Negation(nn.Module):
    """z_1 - z_0 = good (1 - 2 not): the smallest net that knows negation."""

    def __init__(self) -> None:
        super().__init__()
        vectors = torch.zeros(len(VOCABULARY), 2)
        vectors[2, 0], vectors[3, 0], vectors[5, 1] = 1.0, -1.0, 1.0
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False)

    def forward(self, tokens: Tensor) -> Tensor:
        good, no = self.embedding(tokens).sum(1).unbind(1)
        return torch.stack([torch.zeros_like(good), good * (1 - 2 * no)], 1)


@pytest.fixture(scope="module")
def sentences() -> SentenceSet:
    return load(n_train=60, n_val=10, n_test=12).test


@pytest.fixture(scope="module")
def transformer(sentences):
    return build("small_transformer", width=8, depth=2, heads=2, seed=1, **sentences.model_options())


def difference(logits: Tensor, _: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 0]


def predicted_logit(logits: Tensor, whole: Tensor) -> Tensor:
    return logits.gather(1, whole.argmax(1, keepdim=True))[:, 0]


def slow_attributions(model: nn.Module, sentences: SentenceSet, output, scales=(1.0,), step: float = 1e-6) -> Tensor:
    """sum_d e_d df/de_d is how fast f changes as a word's vector is stretched: central differences in float64."""
    model = model.double()
    whole = model(sentences.tokens)
    found = torch.zeros(sentences.tokens.shape, dtype=torch.float64)

    def stretched(scale: float, word: int, by: float) -> Tensor:
        def change(module, inputs, vectors):
            factors = torch.full(vectors.shape[1:2], scale, dtype=torch.float64)
            factors[word] += by
            return vectors * factors[:, None]

        handle = model.embedding.register_forward_hook(change)
        try:
            return output(model(sentences.tokens), whole)
        finally:
            handle.remove()

    with torch.no_grad():
        for word in range(sentences.length):
            for scale in scales:
                rise = stretched(scale, word, step) - stretched(scale, word, -step)
                found[:, word] += rise / (2 * step) / len(scales)
    model.float()
    return found * sentences.is_word


class TestAttributions:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_linear_bag_of_words_has_each_word_s_exact_part(self, method):
        found = word_attributions(linear_bag(), tiny_set(), method=method)
        # good: 3, bad: -3 - 2, the: -1, not: 1.5 - 1.5; over 4 and 2 words.
        expected = torch.tensor([[-1 / 4, 3 / 4, 3 / 4, -5 / 4, 0], [0, -5 / 2, 0, 0, 0]])
        assert torch.allclose(found, expected, atol=1e-6)

    def test_on_the_predicted_class_a_linear_bag_gives_that_class_s_weights(self):
        found = word_attributions(linear_bag(), tiny_set(), target="predicted")
        # The first sentence is called positive (weights 2, 0), the second negative (-1, 1).
        assert linear_bag()(tiny_set().tokens).argmax(1).tolist() == [1, 0]
        expected = torch.tensor([[0, 2 / 4, 2 / 4, -2 / 4, 0], [1 / 2, 3 / 2, 0, 0, 0]])
        assert torch.allclose(found, expected, atol=1e-6)

    @pytest.mark.parametrize(
        ("target", "output"), [("positive_minus_negative", difference), ("predicted", predicted_logit)]
    )
    def test_a_transformer_s_equal_their_slow_twin(self, transformer, sentences, target, output):
        found = word_attributions(transformer, sentences, method="gradient_x_input", target=target, batch_size=7)
        assert torch.allclose(found.double(), slow_attributions(transformer, sentences, output), atol=1e-5)

    @pytest.mark.parametrize("target", ["positive_minus_negative", "predicted"])
    def test_occlusion_equals_its_slow_twin(self, transformer, sentences, target):
        found = word_attributions(transformer, sentences, target=target, batch_size=9)
        with torch.no_grad():
            for row, tokens in enumerate(sentences.tokens):
                whole = transformer(tokens[None])[0]
                chosen = int(whole.argmax())
                for place in range(int((tokens != 0).sum())):
                    keep = (torch.arange(len(tokens)) != place).float()[None, :, None]
                    handle = transformer.embedding.register_forward_hook(lambda m, i, e, keep=keep: e * keep)
                    change = whole - transformer(tokens[None])[0]
                    handle.remove()
                    expected = change[1] - change[0] if target == "positive_minus_negative" else change[chosen]
                    assert float(found[row, place]) == pytest.approx(float(expected), abs=1e-5)

    @pytest.mark.parametrize(
        ("method", "bad", "no"),
        [("occlusion", 1.0, 2.0), ("gradient_x_input", 1.0, 2.0), ("integrated_gradients", 0.0, 1.0)],
    )
    def test_what_each_method_makes_of_not_bad(self, method, bad, no):
        # f = -1 (1 - 2) = 1. Along the path, where both come in at s: integral of -(1 - 2 s) = 0 and of 2 s = 1.
        found = word_attributions(Negation(), tiny_set(), method=method)[1]
        assert found.tolist() == pytest.approx([no, bad, 0, 0, 0], abs=1e-6)

    def test_a_layer_norm_hides_a_word_from_gradient_x_input_but_not_from_occlusion(self):
        class Normed(LinearBag):
            def forward(self, tokens: Tensor) -> Tensor:
                vectors = self.embedding(tokens)
                lengths = vectors.norm(dim=2, keepdim=True).clamp(min=1e-12)
                return self.fc((vectors / lengths).sum(1))

        net = Normed([[0, 0], [0, 0], [2, 0], [-2, 0], [0, 2], [0, 2.0]], [[-1.0, 0.0], [1.0, 0.0]])
        assert word_attributions(net, tiny_set(), method="gradient_x_input").abs().max() < 1e-6
        assert word_attributions(net, tiny_set())[0].tolist() == pytest.approx([0, 2, 2, -2, 0], abs=1e-6)

    def test_integrated_gradients_equal_their_slow_twin(self, transformer, sentences):
        found = word_attributions(transformer, sentences, method="integrated_gradients", steps=3)
        twin = slow_attributions(transformer, sentences, difference, scales=(1 / 6, 3 / 6, 5 / 6))
        # The twin stretches s_k e_i by an amount of e_i, which is sum_d e_id df/de_id at s_k e.
        assert torch.allclose(found.double(), twin, atol=1e-5)

    def test_integrated_gradients_agree_with_captum(self, transformer, sentences):
        from captum.attr import LayerIntegratedGradients

        def output(tokens):
            return difference(transformer(tokens), tokens)

        oracle = LayerIntegratedGradients(output, transformer.embedding)
        theirs = oracle.attribute(
            sentences.tokens, baselines=torch.zeros_like(sentences.tokens), n_steps=16, method="riemann_middle"
        )
        ours = word_attributions(transformer, sentences, method="integrated_gradients", steps=16)
        assert torch.allclose(ours, theirs.sum(-1).float() * sentences.is_word, atol=1e-5)

    def test_integrated_gradients_add_up_to_what_the_words_change(self, transformer, sentences):
        found = word_attributions(transformer, sentences, method="integrated_gradients", steps=40).sum(1)
        with torch.no_grad():
            with_words = difference(transformer(sentences.tokens), sentences.tokens)
            handle = transformer.embedding.register_forward_hook(lambda module, inputs, vectors: 0 * vectors)
            without = difference(transformer(sentences.tokens), sentences.tokens)
            handle.remove()
        assert torch.allclose(found, with_words - without, atol=1e-3)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_model_is_left_as_it_was(self, transformer, sentences, method):
        transformer.train()
        frozen = transformer.fc.weight.requires_grad_(False)
        word_attributions(transformer, sentences, method=method, target="predicted")
        assert transformer.training and not frozen.requires_grad and transformer.fc.bias.requires_grad
        assert all(parameter.grad is None for parameter in transformer.parameters())
        assert not find_layer(transformer, "embedding")._forward_hooks
        transformer.fc.weight.requires_grad_(True)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_frozen_net_has_attributions_too(self, transformer, sentences, method):
        expected = word_attributions(transformer, sentences, method=method)
        transformer.requires_grad_(False)
        assert torch.equal(word_attributions(transformer, sentences, method=method), expected)
        transformer.requires_grad_(True)

    def test_padding_has_none(self, transformer, sentences):
        found = word_attributions(transformer, sentences)
        assert bool((found[~sentences.is_word] == 0).all()) and bool((found[sentences.is_word] != 0).all())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "gradient"}, "unknown attribution method 'gradient'; did you mean 'gradient_x_input'"),
            ({"target": "positive"}, "unknown attribution target 'positive'"),
            ({"layer": "embeding"}, "no layer 'embeding'; the nearest are embedding"),
            ({"layer": "fc"}, "name the layer that gives each word's embedding"),
            ({"layer": "fc", "method": "gradient_x_input"}, "name the layer that gives each word's embedding"),
            ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ],
    )
    def test_bad_requests_are_refused_in_one_sentence(self, transformer, sentences, options, message):
        with pytest.raises(KdlibError, match=message):
            word_attributions(transformer, sentences, **options)


def random_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Attributions with ties and zeros, polarity, and where words are."""
    generator = torch.Generator().manual_seed(seed)
    is_word = torch.arange(9) < torch.randint(1, 10, (30, 1), generator=generator)
    attributions = torch.randint(-3, 4, (30, 9), generator=generator).float() * is_word
    polarity = torch.randint(-1, 2, (30, 9), generator=generator, dtype=torch.int8) * is_word
    return attributions, polarity, is_word


def slow_pairs(attributions: Tensor, polarity: Tensor) -> list[tuple[float, int]]:
    rows = zip(attributions.tolist(), polarity.tolist(), strict=True)
    return [(a, p) for values, signs in rows for a, p in zip(values, signs, strict=True) if p]


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestTwins:
    def test_sign_agreement(self, seed):
        attributions, polarity, _ = random_case(seed)
        points = [0.5 if a == 0 else float(a * p > 0) for a, p in slow_pairs(attributions, polarity)]
        assert sign_agreement(attributions, polarity) == pytest.approx(sum(points) / len(points))

    def test_rank_auc(self, seed):
        attributions, polarity, _ = random_case(seed)
        pairs = slow_pairs(attributions, polarity)
        wins = [0.5 if a == b else float(a > b) for a, sign in pairs if sign > 0 for b, other in pairs if other < 0]
        assert rank_auc(attributions, polarity) == pytest.approx(sum(wins) / len(wins))

    def test_polar_share(self, seed):
        attributions, polarity, is_word = random_case(seed)
        shares, chances = [], []
        for values, signs, words in zip(attributions.tolist(), polarity.tolist(), is_word.tolist(), strict=True):
            size = sum(map(abs, values))
            if size and any(signs):
                shares.append(sum(abs(a) for a, p in zip(values, signs, strict=True) if p) / size)
                chances.append(sum(map(abs, signs)) / sum(words))
        expected = sum(shares) / len(shares), sum(chances) / len(chances)
        assert polar_share(attributions, polarity, is_word) == pytest.approx(expected)


class TestAgreement:
    def test_by_hand(self):
        attributions = torch.tensor([[2.0, -1.0, 0.0, 5.0, 1.0]])
        polarity = torch.tensor([[1, 1, -1, 0, -1]])
        assert sign_agreement(attributions, polarity) == (1 + 0 + 0.5 + 0) / 4
        assert rank_auc(attributions, polarity) == (1 + 1 + 0 + 0) / 4  # 2 beats 0 and 1, -1 beats neither
        assert polar_share(attributions, polarity, torch.ones(1, 5, dtype=torch.bool)) == (4 / 9, 4 / 5)

    def test_chance_is_one_half(self):
        generator = torch.Generator().manual_seed(0)
        polarity = torch.randint(-1, 2, (2000, 10), generator=generator)
        noise = torch.randn(2000, 10, generator=generator)
        assert sign_agreement(noise, polarity) == pytest.approx(0.5, abs=0.02)
        assert rank_auc(noise, polarity) == pytest.approx(0.5, abs=0.02)
        assert sign_agreement(torch.zeros(2000, 10), polarity) == 0.5
        assert rank_auc(torch.zeros(2000, 10), polarity) == 0.5

    def test_neutral_words_do_not_count(self):
        attributions, polarity, _ = random_case(3)
        other = torch.where(polarity == 0, 99 * torch.ones_like(attributions), attributions)
        assert sign_agreement(other, polarity) == sign_agreement(attributions, polarity)
        assert rank_auc(other, polarity) == rank_auc(attributions, polarity)

    def test_turning_every_sign_round_turns_the_measures_round(self):
        attributions, polarity, _ = random_case(4)
        assert sign_agreement(-attributions, polarity) == pytest.approx(1 - sign_agreement(attributions, polarity))
        assert rank_auc(-attributions, polarity) == pytest.approx(1 - rank_auc(attributions, polarity))

    def test_a_shift_spoils_signs_but_not_ranks(self):
        polarity = torch.tensor([[1, -1, 1]])
        shifted = polarity + 5.0
        assert sign_agreement(shifted, polarity) == pytest.approx(2 / 3)
        assert rank_auc(shifted, polarity) == 1.0

    def test_attributions_on_the_predicted_class_are_judged_relative_to_it(self):
        sentences = tiny_set()
        found = word_attributions(linear_bag(), sentences, target="predicted")
        truth = relative_to_prediction(sentences.polarity, linear_bag()(sentences.tokens).argmax(1))
        assert truth.tolist() == [[0, 1, 1, -1, 0], [0, -1, 0, 0, 0]]  # "not bad" is praise, the net says blame
        assert sign_agreement(found, truth) == 3 / 4

    def test_without_polar_words_there_is_no_number(self):
        nothing = torch.zeros(2, 3, dtype=torch.int8)
        assert math.isnan(sign_agreement(torch.ones(2, 3), nothing))
        assert math.isnan(rank_auc(torch.ones(2, 3), nothing + 1))
        assert all(map(math.isnan, polar_share(torch.ones(2, 3), nothing, torch.ones(2, 3, dtype=torch.bool))))

    def test_unfit_tensors_are_refused(self):
        with pytest.raises(KdlibError, match=r"of one shape \(N, L\), not \(2, 3\) and \(2, 4\)"):
            sign_agreement(torch.ones(2, 3), torch.ones(2, 4))
        with pytest.raises(KdlibError, match="not all finite"):
            rank_auc(torch.full((2, 3), math.nan), torch.ones(2, 3))


class TestSummary:
    def test_negated_words_stand_apart(self):
        # A net that knows the words but not what "not" does.
        sentences = tiny_set()
        found = attribution_summary(word_attributions(linear_bag(), sentences), sentences)
        assert (found["polar_words"], found["negated_words"]) == (4, 1)
        assert (found["agreement"], found["agreement_plain"], found["agreement_negated"]) == (3 / 4, 1.0, 0.0)

    def test_the_truth_itself_is_perfect(self, sentences):
        found = attribution_summary(sentences.polarity.float(), sentences)
        assert [found[k] for k in ("agreement", "agreement_negated", "auc", "polar_share")] == [1, 1, 1, 1]
        assert 0.05 < found["polar_share_chance"] < 0.3
