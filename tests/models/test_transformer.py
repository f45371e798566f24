"""The small transformer against a forward pass written word by word, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kdlib.capture import features_of, shapes_of
from kdlib.errors import KdlibError
from kdlib.models import build, count_parameters

OPTIONS = {"num_classes": 3, "vocabulary": 20, "length": 7}


def make(**options):
    return build("small_transformer", **{**OPTIONS, "width": 8, "depth": 2, "heads": 2, "seed": 3, **options}).eval()


def some_tokens(count: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 20, (count, 7), generator=generator)
    lengths = torch.randint(1, 8, (count, 1), generator=generator)
    return tokens * (torch.arange(7) < lengths)


def slow_forward(model, tokens: list[int]) -> torch.Tensor:
    """One sentence without its padding, one word and one head at a time, from the definition, in float64."""
    words = [token for token in tokens if token]
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}

    def linear(name, x):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def normalised(name, x):
        spread = torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
        return (x - x.mean()) / spread * state[f"{name}.weight"] + state[f"{name}.bias"]

    stream = [state["embedding.weight"][word] + state["position"][place] for place, word in enumerate(words)]
    for number in range(1, model.depth + 1):
        layer = f"layer{number}"
        parts = [linear(f"{layer}.attention.query_key_value", normalised(f"{layer}.attention_norm", x)) for x in stream]
        width, heads = len(stream[0]), model.layer1.attention.heads
        size = width // heads
        new = []
        for place, x in enumerate(stream):
            mixed = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                query = parts[place][:width][own]
                scores = [float(query @ part[width : 2 * width][own]) / math.sqrt(size) for part in parts]
                weights = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
                values = [part[2 * width :][own] for part in parts]
                mixed.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
            new.append(x + linear(f"{layer}.attention.output", torch.cat(mixed)))
        stream = [
            x
            + linear(f"{layer}.network.2", F.gelu(linear(f"{layer}.network.0", normalised(f"{layer}.network_norm", x))))
            for x in new
        ]
    mean = sum(normalised("norm", x) for x in stream) / len(stream)
    return linear("fc", mean)


@pytest.mark.parametrize(("depth", "heads"), [(1, 1), (2, 4)])
def test_logits_equal_the_slow_twin(depth, heads):
    model, tokens = make(depth=depth, heads=heads), some_tokens()
    twin = torch.stack([slow_forward(model, row) for row in tokens.tolist()])
    assert torch.allclose(model(tokens).double(), twin, atol=1e-5)


def test_padding_and_the_other_sentences_of_a_batch_do_not_matter():
    model, tokens = make(), some_tokens()
    together = model(tokens)
    for row, logits in zip(tokens, together, strict=True):
        alone = row[row != 0][None]
        assert torch.allclose(model(alone)[0], logits, atol=1e-6)


def test_the_order_of_words_matters():
    model = make()
    assert not torch.allclose(model(torch.tensor([[4, 5, 6]])), model(torch.tensor([[6, 5, 4]])), atol=1e-4)


def test_padding_learns_nothing():
    model = make().train()
    model(some_tokens()).sum().backward()
    assert not model.embedding.weight.grad[0].any() and not model.embedding.weight[0].any()
    assert model.embedding.weight.grad[1:].any()


def test_training_and_evaluation_give_the_same_logits():
    model, tokens = make(), some_tokens()
    assert torch.equal(model.train()(tokens), model.eval()(tokens))


def test_layers_to_capture():
    model, tokens = make(), some_tokens()
    assert shapes_of(model, tokens, "embedding") == {"embedding": (7, 8)}
    assert torch.equal(features_of(model, tokens, "embedding"), model.embedding.weight[tokens])
    assert {"layer1", "layer2"} <= dict(model.named_modules()).keys()


def test_parameters_of_a_hand_counted_net():
    embeddings = 20 * 8 + 7 * 8
    attention = 8 * 24 + 24 + 8 * 8 + 8
    network = 8 * 32 + 32 + 32 * 8 + 8
    expected = embeddings + 2 * (attention + network + 4 * 8) + 2 * 8 + (8 * 3 + 3)
    assert count_parameters(make()) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width must be a multiple of heads, but 8 is none of 3"),
        ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ({"vocabulary": 1}, "vocabulary must be a whole number of at least 2, not 1"),
        ({"channels": 3}, "no option 'channels'; it has vocabulary, length, width, depth, heads"),
        ({"length": None}, "needs the options vocabulary and length, which a data set of sentences gives; they are"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(options, message):
    with pytest.raises(KdlibError, match=message):
        make(**options)


@pytest.mark.parametrize("tokens", [torch.zeros(2, 8, dtype=torch.int64), torch.rand(2, 7), torch.ones(7).long()])
def test_what_is_no_batch_of_token_ids_is_refused(tokens):
    with pytest.raises(KdlibError, match=r"takes token ids of shape \(batch, at most 7\)"):
        make()(tokens)
