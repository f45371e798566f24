"""A small grammar of reviews, written for this book: every sentiment word's polarity is known, alone and in context.

A sentence is one or two clauses that judge something, perhaps with a clause that judges nothing. Each sentiment word
has a lexical polarity (good +1, dull -1) and a contextual one, which negation reverses: "not good" is a reproach,
"not dull" is praise. Each adds strength x contextual polarity to the sentence's score:

    strength = that of the word (2, 1.5 or 1; half of it before a noun), x 1.5 after "really", x 0.5 after "rather",
               x 0.8 under negation, x 0.4 in the clause that a contrast gives up, x 1.4 in the one it insists on
    P(label = positive) = 1 / (1 + exp(-SHARPNESS x score))

The label is drawn from that probability, so faint or mixed sentences stay uncertain, as people's judgements do. Neither
negation nor contrast can be recognised from a bag of words.

>>> import random
>>> sentence = draw_sentence(random.Random(36))
>>> " ".join(word.text for word in sentence.words)
'it was not a flop .'
>>> [(word.text, word.lexical, word.contextual) for word in sentence.words if word.lexical]
[('flop', -1, 1)]
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

SHARPNESS = 5.0
NEGATED = 0.3  # share of clauses with a negation
NEGATORS = ("not", "never", "hardly")
DEGREES = {"really": 1.5, "truly": 1.5, "rather": 0.5, "somewhat": 0.5}  # fit before adjectives, verbs and nouns
CONCEDED, INSISTED = 0.4, 1.4
BEFORE_NOUN, UNDER_NEGATION = 0.5, 0.8
_STRENGTHS = (2.0, 1.5, 1.0)

# Strong, plain and mild words; within a list, earlier words are more frequent.
_ADJECTIVES = {
    1: (
        "wonderful excellent brilliant superb splendid dazzling magnificent flawless glorious exquisite",
        "good great funny charming clever moving lovely delightful witty touching vivid lively inspired graceful "
        "thrilling",
        "nice pleasant fresh gentle warm neat tidy decent cosy mellow",
    ),
    -1: (
        "terrible awful dreadful horrible unbearable disgusting appalling atrocious ghastly abysmal",
        "bad boring dull stupid ugly clumsy rude tedious lifeless sloppy annoying shallow pointless dreary muddled",
        "slow bland weak stale noisy plain cold cheap dated uneven",
    ),
}
_VERBS = {
    1: ("loved adored treasured", "enjoyed admired praised recommended", "liked welcomed approved"),
    -1: ("hated loathed despised", "disliked regretted resented mocked", "avoided questioned endured"),
}
_NOUNS = {
    1: ("masterpiece triumph marvel", "joy treat gem delight", "pleasure success comfort"),
    -1: ("disaster catastrophe fiasco", "failure mess bore flop", "mistake letdown chore"),
}
_THINGS = (
    *("film", "plot", "cast", "song", "ending", "story", "book", "chapter", "camera"),
    *("food", "meal", "room", "service", "hotel", "staff", "garden"),
)
_JUDGES = ("i", "we", "my family", "the critics", "they", "most guests")
_COPULAS = ("was", "is", "seemed", "felt")
_NEUTRAL = (
    "we saw it on {day}",
    "my {person} picked the {thing}",
    "it took two hours",
    "the {thing} came first",
    "there was also the {thing}",
    "i went there with my {person}",
    "on {day} we tried the {thing}",
)
_FILLERS: dict[str, Sequence[str]] = {
    "day": ["monday", "tuesday", "friday", "sunday", "saturday"],
    "person": ["brother", "sister", "mother", "friend", "neighbour", "teacher"],
    "thing": _THINGS,
}

#: Every sentiment word's own polarity, +1 or -1.
LEXICON: dict[str, int] = {
    word: sign
    for lists in (_ADJECTIVES, _VERBS, _NOUNS)
    for sign, tiers in lists.items()
    for tier in tiers
    for word in tier.split()
}


class Word(NamedTuple):
    """A word with its polarity in a dictionary and in this sentence: +1, -1, or 0 for neither."""

    text: str
    lexical: int = 0
    contextual: int = 0


class Sentence(NamedTuple):
    """Words and the sum of strength x contextual polarity over them."""

    words: tuple[Word, ...]
    score: float


def positive_probability(score: float) -> float:
    """P(label = positive) of a sentence with this score.

    >>> positive_probability(0.0)
    0.5
    """
    return 1 / (1 + math.exp(-SHARPNESS * score))


def draw_sentence(generator: random.Random) -> Sentence:
    """One sentence; the same generator state gives the same sentence on every machine."""
    polarity = generator.choice((-1, 1))
    form = generator.random()
    if form < 0.35:
        words, score = _clause(generator, polarity)
    elif form < 0.6:
        words, score = _clause(generator, polarity)
        more, added = _clause(generator, generator.choice((-1, 1)))
        words, score = [*words, *_plain("and"), *more], score + added
    else:
        given_up, lost = _clause(generator, -polarity)
        words, score = _clause(generator, polarity)
        if form < 0.85:
            words = [*given_up, *_plain("but"), *words]
        else:
            words = [*_plain("although"), *given_up, *_plain(","), *words]
        score = CONCEDED * lost + INSISTED * score
    aside = generator.random()
    if aside < 0.2:
        words = [*_neutral(generator), *_plain("and"), *words]
    elif aside < 0.4:
        words = [*words, *_plain("and"), *_neutral(generator)]
    return Sentence((*words, Word(".")), score)


def _clause(generator: random.Random, polarity: int) -> tuple[list[Word], float]:
    """A clause whose main word has the contextual `polarity`, and its score."""
    negated = generator.random() < NEGATED
    lexical = -polarity if negated else polarity
    strength = UNDER_NEGATION if negated else 1.0
    degree = generator.choice(list(DEGREES)) if generator.random() < 0.35 and not negated else ""
    strength *= DEGREES.get(degree, 1.0)
    before = _plain(degree)
    kind = generator.random()
    extra = 0.0
    if kind < 0.6:
        word, own = _pick(generator, _ADJECTIVES[lexical])
        thing = generator.choice(_THINGS)
        subject = [*_plain("the"), *_plain(thing)]
        if generator.random() < 0.2:
            sign = generator.choice((-1, 1))
            attribute, weight = _pick(generator, _ADJECTIVES[sign])
            subject = [*_plain("the"), Word(attribute, sign, sign), *_plain(thing)]
            extra = BEFORE_NOUN * weight * sign
        start = [*subject, *_plain(generator.choice(_COPULAS))]
        negator = generator.choice(NEGATORS)
        end: list[Word] = []
    elif kind < 0.85:
        word, own = _pick(generator, _VERBS[lexical])
        start = _plain(generator.choice(_JUDGES))
        negator = generator.choice(NEGATORS[1:])
        end = _plain(f"the {generator.choice(_THINGS)}")
    else:
        word, own = _pick(generator, _NOUNS[lexical])
        start = _plain("it was")
        negator = generator.choice(NEGATORS)
        before = [*before, *_plain("a")]
        end = []
    middle = [*(_plain(negator) if negated else []), *before, Word(word, lexical, polarity)]
    return [*start, *middle, *end], strength * own * polarity + extra


def _pick(generator: random.Random, tiers: Sequence[str]) -> tuple[str, float]:
    """A word of one of the three tiers and its strength; the n-th of a list is taken in proportion to 1 / (n + 2)."""
    tier = generator.randrange(len(tiers))
    words = tiers[tier].split()
    chosen = generator.choices(words, [1 / (rank + 3) for rank in range(len(words))])[0]
    return chosen, _STRENGTHS[tier]


def _neutral(generator: random.Random) -> list[Word]:
    template = generator.choice(_NEUTRAL)
    return _plain(template.format(**{name: generator.choice(words) for name, words in _FILLERS.items()}))


def _plain(text: str) -> list[Word]:
    return [Word(word) for word in text.split()]
