"""The data card of the cohort: what was trained, how, how often, under which licence, with which limits; in Markdown,
made from the protocol, the premise and the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdlib.cohort.cohort import Cohort
from kdlib.cohort.listing import FOLDER, INDEX, read_index
from kdlib.cohort.population import Population
from kdlib.cohort.premise import RESULTS, read_results
from kdlib.cohort.premise import table as premise_table
from kdlib.cohort.protocol import Protocol
from kdlib.names import DATA_SETS, arm_in_prose
from kdlib.runs.arms import Arm, Net

CARD = "README.md"

_WHAT = """\
A population of trained networks that all chapters measure. A **replicate** is a teacher of its own and one student of
every arm, from the same first weights and in the same order of images; where the data are drawn, the images of train
and val are its own too. Test and probe are the same for all. So replicates are independent given test and probe, and
an interval over them speaks of teachers and students alike."""

_PREMISE = """\
Accuracy on val, by which the protocol was chosen; gains with their 95 % intervals. The seconds tell candidates apart
only roughly: the machine did other work beside."""

_USE = """\
`load_cohort("{data}")` gives the networks, their logits and accuracies. `kdlib cohort train` makes the files again,
and `kdlib cohort verify --sample 2` trains two networks anew and compares: bit for bit on a like machine, by accuracy
elsewhere."""

_LIMITS = """\
- Small networks on small images. What holds here need not hold for ResNet-50 on ImageNet.
- The weights are rounded to half precision. Every number on these pages was computed from the rounded weights.
- Test and probe are one draw. An interval over replicates says nothing of other test images.
- The protocol was chosen by accuracy on val, in replicates that are used for nothing else. It was fixed before any
  measure of interpretability was taken of one of its distilled students.
- No network here is meant for use outside this companion."""

_LICENCE = "The weights have the licence of this repository (MIT)."
_LICENCES = {
    "fashion_mnist": "Fashion-MNIST, the source of the images, is under the MIT licence.",
    "garment_scenes": "Fashion-MNIST, the source of the garments, is under the MIT licence.",
    "concept_world": "The images are drawn by this package.",
}


def card(protocol: Protocol, folder: Path = FOLDER, premise: Path = RESULTS) -> str:
    """The data card of what is on file in `folder`; a population without files is named as not yet trained."""
    lines = ["# The cohort", "", _WHAT, ""]
    if premise.exists():
        lines += ["## The premise", ""]
        lines += [_PREMISE, ""]
        lines += [premise_table(read_results(premise)), ""]
    for data, population in protocol.populations.items():
        lines += [f"## {DATA_SETS[population.data].title}", ""]
        lines += [*_how(population), ""]
        if (folder / data / INDEX).exists():
            lines += [*_on_file(data, Cohort(population, folder / data, "cpu"), folder / data), ""]
        else:
            lines += ["No network of it is published yet.", ""]
        lines += [f"{_LICENCE} {_LICENCES.get(population.data, '')}".strip(), ""]
    return "\n".join([*lines, "## Known limits", "", _LIMITS, ""])


def _how(population: Population) -> Iterator[str]:
    options = ", ".join(f"{name} = {value}" for name, value in population.options.items())
    yield f"Data: `{population.data}`" + (f" with {options}." if options else ".")
    yield ""
    yield "| network | model | epochs | batch | learning rate | weight decay | augmentation |"
    yield "|---" * 7 + "|"
    for role, net in population.nets.items():
        yield f"| {role} | {_model(net)} | {_recipe(net)} |"


def _model(net: Net) -> str:
    return f"`{net.model}` ({', '.join(f'{name} {value}' for name, value in net.options.items())})"


def _recipe(net: Net) -> str:
    recipe = net.recipe
    cells = (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.weight_decay, recipe.augment)
    return " | ".join(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells)


def _on_file(data: str, cohort: Cohort, place: Path) -> Iterator[str]:
    yield "| arm | objective | taught by | epochs | replicates | test accuracy, % | deviation |"
    yield "|---" * 7 + "|"
    for row in cohort.summary():
        name = str(row["arm"])
        arm = cohort.population.arms[name]
        epochs = cohort.population.spec(name, 0).recipe.epochs
        accuracy = f"{row['test accuracy']} | {row['deviation']}"
        taught = arm_in_prose(arm.teacher) if arm.teacher else "labels alone"
        yield f"| `{name}` | {_objective(arm)} | {taught} | {epochs} | {row['replicates']} | {accuracy} |"
    yield ""
    yield _USE.format(data=data)
    yield ""
    yield from _trained_on(cohort)
    yield ""
    yield "Files and their SHA-256:"
    yield ""
    yield "```"
    for files in read_index(place).values():
        yield from (f"{row['sha256']}  {data}/{name}" for name, row in files.items())
    yield "```"


def _objective(arm: Arm) -> str:
    options: Mapping[str, Any] = arm.options
    return f"`{arm.objective}`" + "".join(f", {name} = {value:g}" for name, value in options.items())


def _trained_on(cohort: Cohort) -> Iterator[str]:
    """With what the networks were trained: each value that occurs, once."""
    found: dict[str, set[str]] = {"torch": set(), "kdlib": set(), "device": set()}
    for arm in cohort.arms:
        for replicate in cohort.replicates(arm):
            for name, value in cohort.provenance(arm, replicate).items():
                if name in found:
                    found[name].add(str(value))
    yield "Trained with " + "; ".join(f"{name} {', '.join(sorted(values))}" for name, values in found.items()) + "."
