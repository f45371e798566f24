"""Which words a sentiment classifier goes by, against the words' own sentiment.

Han et al. 2023 (ICML) say that the words which matter to a distilled language model are the sentiment words; their
measure is not known. Ours: what each word adds to the logit of "positive" minus that of "negative", given the rest of
the sentence. Its sign says which way the word moves the net, and the primary measure is the share of sentiment words
whose sign is right: `PRIMARY`. A word's truth is its polarity in context, so that "good" in "not good" is negative.

Notation: e_i in R^W is the embedding of word i, e all of them, f a difference of logits or one logit.

    occlusion               a_i = f(e) - f(e with e_i = 0): the word's vector is left out, its place stays
    gradient x input        a_i = sum_d e_id df/de_id, the linear estimate of that (Shrikumar et al. 2016)
    integrated gradients    a_i = sum_d e_id mean over k of df/de_id at s_k e,  s_k = (k - 1/2) / m,  k = 1 ... m
                            (Sundararajan et al. 2017; midpoint rule; baseline: no word has a vector)

For a net that is linear in its embeddings all three give each word's exact part in f. In others they part, and only
occlusion asks what polarity in context means. A layer norm ignores the length of the vector that it is given, so that
stretching a word's vector, which is what gradient x input does, says little of the word. Integrated gradients bring all
words in at once and share out what two words do together: of "not good" = good (1 - 2 not) they give "good" nothing.
`kdlib.papers.han2023.language.instrument_check` compares the three on small nets, apart from the experiment, that
learned a task whose answer is known: there gradient x input fails. It was the measure first named; occlusion took its
place on that evidence, before any net of the experiment at preset quick had been looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdlib.capture import capture, find_layer
from kdlib.data.drawn.sentences import SentenceSet
from kdlib.errors import KdlibError, choose, positive_integer

PRIMARY = "agreement"
METHODS = ("occlusion", "gradient_x_input", "integrated_gradients")
TARGETS = ("positive_minus_negative", "predicted")
NEGATIVE, POSITIVE = 0, 1


def word_attributions(
    model: nn.Module,
    sentences: SentenceSet,
    *,
    layer: str = "embedding",
    method: str = "occlusion",
    target: str = "positive_minus_negative",
    steps: int = 16,
    batch_size: int = 512,
) -> Tensor:
    """Each word's attribution, (N, L) float32 on the CPU, 0 at padding; the net is in eval mode and left as it was.

    layer: the one that gives each word's vector, (B, L, W). method: one of `METHODS`; steps is m of integrated
    gradients. target: "positive_minus_negative" (z_1 - z_0) or "predicted", the logit of the class that the net
    chooses, whose sign says whether the word speaks for that class (see `relative_to_prediction`).

    >>> from kdlib.data.drawn.sentences import load
    >>> from kdlib.models import build
    >>> test = load(n_train=50, n_val=10, n_test=10).test
    >>> word_attributions(build("small_transformer", **test.model_options()), test).shape == test.tokens.shape
    True
    """
    choose(method, METHODS, "attribution method")
    choose(target, TARGETS, "attribution target")
    positive_integer(steps, "steps")
    positive_integer(batch_size, "batch_size")
    embed = find_layer(model, layer)
    scales = [(k + 0.5) / steps for k in range(steps)] if method == "integrated_gradients" else [1.0]
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    frozen = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval().requires_grad_(False)
    pieces = []
    try:
        for start in range(0, len(sentences), batch_size):
            tokens = sentences.inputs(slice(start, start + batch_size)).to(device)
            with torch.no_grad():
                logits = model(tokens)
            chosen = logits.argmax(1) if target == "predicted" else None
            if method == "occlusion":
                here = sentences.is_word[start : start + batch_size].to(device)
                pieces.append(
                    _occlusion(model, tokens, embed, layer, _output(logits, chosen), here, chosen, batch_size)
                )
            else:
                each = [_gradient_x_input(model, tokens, embed, layer, scale, chosen) for scale in scales]
                pieces.append(torch.stack(each).mean(0))
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, required in frozen:
            parameter.requires_grad_(required)
    return torch.cat(pieces).float().cpu().masked_fill(~sentences.is_word.cpu(), 0)


def _output(logits: Tensor, chosen: Tensor | None) -> Tensor:
    """f, (B,): the difference of the two logits, or the logit of the class in `chosen`."""
    if chosen is None:
        return logits[:, POSITIVE] - logits[:, NEGATIVE]
    return logits.gather(1, chosen[:, None])[:, 0]


def _check_vectors(vectors: Tensor, tokens: Tensor, layer: str) -> None:
    if vectors.ndim != 3 or vectors.shape[:2] != tokens.shape:
        raise KdlibError(
            f"layer '{layer}' gives {tuple(vectors.shape)} for {tuple(tokens.shape)} words; "
            "name the layer that gives each word's embedding"
        )


@torch.no_grad()
def _occlusion(
    model: nn.Module,
    tokens: Tensor,
    embed: nn.Module,
    layer: str,
    whole: Tensor,
    is_word: Tensor,
    chosen: Tensor | None,
    batch_size: int,
) -> Tensor:
    """(B, L): f with every word minus f without the vector of this one."""
    found = torch.zeros(tokens.shape, dtype=whole.dtype, device=tokens.device)
    rows, places = is_word.nonzero(as_tuple=True)
    for start in range(0, len(rows), batch_size):
        row, place = rows[start : start + batch_size], places[start : start + batch_size]

        def left_out(module: nn.Module, inputs: object, vectors: Tensor, row=row, place=place) -> Tensor:
            _check_vectors(vectors, tokens[row], layer)
            vectors = vectors.clone()
            vectors[torch.arange(len(place)), place] = 0
            return vectors

        handle = embed.register_forward_hook(left_out)
        try:
            without = _output(model(tokens[row]), None if chosen is None else chosen[row])
        finally:
            handle.remove()
        found[row, place] = whole[row] - without
    return found


def _gradient_x_input(
    model: nn.Module, tokens: Tensor, embed: nn.Module, layer: str, scale: float, chosen: Tensor | None
) -> Tensor:
    """(B, L): sum over d of e_d df/de_d, the gradient taken where every embedding is `scale` times itself."""

    def scaled(module: nn.Module, inputs: object, vectors: Tensor) -> Tensor:
        _check_vectors(vectors, tokens, layer)
        # A leaf, so that a frozen net has gradients too and no parameter collects any.
        return vectors.detach().mul(scale).requires_grad_()

    handle = embed.register_forward_hook(scaled)
    try:
        with torch.enable_grad(), capture(model, layer, gradients=True) as seen:
            _output(model(tokens), chosen).sum().backward()
    finally:
        handle.remove()
    return (seen[layer].detach() / scale * seen.gradients[layer]).sum(-1)


def relative_to_prediction(polarity: Tensor, predicted: Tensor) -> Tensor:
    """(N, L): +1 where a word speaks for the predicted class, -1 where against it; truth for target="predicted".

    polarity: (N, L) in -1, 0, +1. predicted: (N,) class indices, 1 = positive.

    >>> relative_to_prediction(torch.tensor([[1, -1, 0]]), torch.tensor([0]))
    tensor([[-1,  1,  0]])
    """
    return polarity * (2 * predicted.to(polarity) - 1)[:, None]


def sign_agreement(attributions: Tensor, polarity: Tensor) -> float:
    """Share of polar words whose attribution has their polarity's sign, in [0, 1]; chance 1/2; NaN without polar words.

    attributions: (N, L). polarity: (N, L) in -1, 0, +1. An attribution of exactly 0 points neither way and counts half.

    >>> sign_agreement(torch.tensor([[0.5, -2.0, 0.0, 7.0]]), torch.tensor([[1, 1, -1, 0]]))
    0.5
    """
    attributions, polarity = _checked(attributions, polarity)
    right = attributions.sign() * polarity
    polar = polarity != 0
    return float((right[polar] + 1).double().mean() / 2) if bool(polar.any()) else math.nan


def rank_auc(attributions: Tensor, polarity: Tensor) -> float:
    """Probability that a positive word's attribution exceeds a negative word's, ties half; chance 1/2.

    NaN without words of both kinds. The area under the ROC curve, from average ranks (Mann and Whitney 1947): a shift
    of all attributions, which can spoil every sign, leaves it as it is.

    >>> rank_auc(torch.tensor([[3.0, 2.0, 2.5, 9.0]]), torch.tensor([[1, 1, -1, 0]]))
    0.5
    """
    attributions, polarity = _checked(attributions, polarity)
    polar = polarity != 0
    values, positive = attributions[polar], polarity[polar] > 0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    ranks = (count.cumsum(0) - (count - 1).double() / 2)[place]  # equal values share the mean of their ranks
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def polar_share(attributions: Tensor, polarity: Tensor, is_word: Tensor) -> tuple[float, float]:
    """Share of |attribution| on polar words, and its chance: their share of the words; both in [0, 1].

    Each sentence counts once; sentences without a polar word or with no attribution at all are left out (NaN if all
    are). is_word: (N, L) bool.

    >>> polar_share(torch.tensor([[3.0, -1.0, 0.0]]), torch.tensor([[1, 0, 0]]), torch.tensor([[True, True, False]]))
    (0.75, 0.5)
    """
    attributions, polarity = _checked(attributions, polarity)
    size = attributions.abs().double() * is_word.cpu()
    polar = (polarity != 0) & is_word.cpu()
    kept = polar.any(1) & (size.sum(1) > 0)
    share = (size * polar).sum(1)[kept] / size.sum(1)[kept]
    chance = polar.sum(1).double()[kept] / is_word.cpu().sum(1)[kept]
    return (float(share.mean()), float(chance.mean())) if bool(kept.any()) else (math.nan, math.nan)


def _checked(attributions: Tensor, polarity: Tensor) -> tuple[Tensor, Tensor]:
    attributions, polarity = attributions.detach().cpu(), polarity.cpu()
    if attributions.shape != polarity.shape or attributions.ndim != 2:
        raise KdlibError(
            f"attributions and polarity must be of one shape (N, L), not {tuple(attributions.shape)} "
            f"and {tuple(polarity.shape)}"
        )
    if not bool(torch.isfinite(attributions).all()):
        raise KdlibError("the attributions are not all finite; check the model's weights")
    return attributions, polarity


def attribution_summary(attributions: Tensor, sentences: SentenceSet) -> dict[str, float]:
    """Every measure of positive-minus-negative attributions (N, L) at once.

    ======================  =============================================================================
    agreement               `sign_agreement` over all polar words: the primary measure
    agreement_negated       over words that negation turns round ("not good")
    agreement_plain         over the other polar words
    auc                     `rank_auc`
    polar_share, ..._chance `polar_share` and its value by chance
    polar_words             how many polar words there are, and how many of them are negated
    negated_words
    ======================  =============================================================================

    >>> from kdlib.data.drawn.sentences import load
    >>> test = load(n_train=50, n_val=10, n_test=100).test
    >>> attribution_summary(test.polarity.float(), test)["agreement"]
    1.0
    """
    polarity, lexical = sentences.polarity.cpu(), sentences.lexical.cpu()
    negated = (polarity != 0) & (polarity == -lexical)
    share, chance = polar_share(attributions, polarity, sentences.is_word)
    return {
        PRIMARY: sign_agreement(attributions, polarity),
        "agreement_negated": sign_agreement(attributions, polarity * negated),
        "agreement_plain": sign_agreement(attributions, polarity * ~negated),
        "auc": rank_auc(attributions, polarity),
        "polar_share": share,
        "polar_share_chance": chance,
        "polar_words": int((polarity != 0).sum()),
        "negated_words": int(negated.sum()),
    }
