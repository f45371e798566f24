"""A small transformer encoder for sentences (Vaswani et al. 2017; the layout of BERT, Devlin et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, positive_integer

PAD = 0  # the token id that marks the end's padding
_OPTIONS = ("vocabulary", "length", "width", "depth", "heads")


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V in each of several heads, over the words of a sentence; padding is never looked at.

    features: (B, L, W). is_word: (B, L) bool, with at least one word in each sentence.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, features: Tensor, is_word: Tensor) -> Tensor:
        batch, length, width = features.shape
        parts = self.query_key_value(features).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, L, W / heads)
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(~is_word[:, None, None, :], -math.inf)
        mixed = scores.softmax(3) @ value
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class EncoderLayer(nn.Module):
    """Attention, then a two-layer network word by word, each added to its normalised input's original."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, features: Tensor, is_word: Tensor) -> Tensor:
        features = features + self.attention(self.attention_norm(features), is_word)
        return features + self.network(self.network_norm(features))


class SmallTransformer(nn.Module):
    """Token ids (B, L) -> logits (B, K): embeddings, `depth` encoder layers, the mean over the words, a linear layer.

    vocabulary: number of token ids, 0 among them for padding. length: the most tokens a sentence may have. width: of
    embeddings and layers, a multiple of `heads`. Layers to capture: `embedding` (B, L, W) gives each word's vector
    before its position is added, the place for word attributions; `layer1`, `layer2`, ... are the encoder's. There is
    no dropout, so that a training is determined by weights and data alone.

    >>> net = SmallTransformer(2, vocabulary=50, length=12, width=16, depth=1, heads=2)
    >>> net(torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0]])).shape
    torch.Size([2, 2])
    """

    def __init__(
        self, num_classes: int, vocabulary: int, length: int, *, width: int = 32, depth: int = 1, heads: int = 2
    ) -> None:
        super().__init__()
        positive_integer(vocabulary, "vocabulary", minimum=2)
        for value, name in ((length, "length"), (width, "width"), (depth, "depth"), (heads, "heads")):
            positive_integer(value, name)
        if width % heads:
            raise KdlibError(f"width must be a multiple of heads, but {width} is none of {heads}")
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.position = nn.Parameter(torch.empty(length, width))
        self.depth = depth
        for number in range(1, depth + 1):
            self.add_module(f"layer{number}", EncoderLayer(width, heads))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)
        for weight in (self.embedding.weight, self.position):
            nn.init.normal_(weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[PAD].zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        self._check(tokens)
        is_word = tokens != PAD
        features = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for number in range(1, self.depth + 1):
            features = self.get_submodule(f"layer{number}")(features, is_word)
        words = is_word[:, :, None]
        mean = (self.norm(features) * words).sum(1) / words.sum(1)
        return self.fc(mean)

    def _check(self, tokens: Tensor) -> None:
        if tokens.ndim != 2 or tokens.is_floating_point() or tokens.shape[1] > len(self.position):
            raise KdlibError(
                f"this model takes token ids of shape (batch, at most {len(self.position)}), "
                f"not {tokens.dtype} of shape {tuple(tokens.shape)}"
            )


def small_transformer(
    num_classes: int, vocabulary: int | None = None, length: int | None = None, **options: int
) -> SmallTransformer:
    """A `SmallTransformer`; unknown options are refused."""
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise KdlibError(f"small_transformer has no option '{sorted(unknown)[0]}'; it has {', '.join(_OPTIONS)}")
    if vocabulary is None or length is None:
        raise KdlibError(
            f"small_transformer needs the options vocabulary and length, which a data set of sentences gives; "
            f"they are {vocabulary} and {length}"
        )
    return SmallTransformer(num_classes, vocabulary, length, **options)
