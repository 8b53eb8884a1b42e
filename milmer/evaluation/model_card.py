"""The model card of a run: what the model saw, under which protocol it was tested, and what not to
conclude from it. Hugging Face's form: metadata in YAML, then Markdown.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from huggingface_hub import ModelCardData
from tabulate import tabulate

from milmer.model.configuration import MilmerConfig

_PROTOCOLS = {
    "segment": "segments drawn at random, so that segments of one trial are trained on and tested",
    "trial": "whole trials of one subject held out; the subject itself is known from training",
    "loso": "a subject held out",
    "stimulus": "stimuli held out; the subjects are known from training",
}
_SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "auroc": "AUROC",
}
_SELECTED = {
    "validation": "the epoch with the best macro-F1 on the validation part",
    "last": "the last epoch",
    "best_on_test": "the epoch with the best accuracy on the test part",
}
_RATED = (
    "The classes are participants' ratings of their own feeling during a stimulus in a laboratory, "
    "cut at a threshold."
)
_NAMED = "The classes are the names that the laboratory gave to its trials."
_CAVEATS = [
    "These are the numbers of one fold. The tables of all folds, with intervals and baselines, are "
    "what a claim can rest on.",
    "{classes} Nothing here says how well other people, other stimuli or daily life are "
    "recognised; do not decide about a person by it.",
    "Input has to be prepared as the training data was, which `milmer predict` does; channels in "
    "another order or another backbone give numbers without meaning.",
    "The recordings' licence decides whether weights trained on them may be passed on.",
]


def model_card(
    config: MilmerConfig, parts: Mapping[str, pd.DataFrame], metrics: Mapping[str, Any]
) -> str:
    """The text of a run's ``README.md``.

    ``parts`` are the segments of train, val and test, a row each with its ``subject``; ``metrics``
    is the content of the run's ``metrics.json``.
    """
    data = ModelCardData(
        library_name="transformers",
        tags=["milmer", "emotion-recognition", *config.model.modalities],
        metrics=["accuracy", "f1"],
    )
    made = metrics["provenance"]
    protocol = metrics["protocol"]
    seen = " and ".join(
        {"eeg": "EEG", "face": f"{config.num_instances} face pictures"}[m]
        for m in config.model.modalities
    )
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# Milmer: protocol {protocol}, fold {metrics['fold']}, seed {metrics['seed']}",
        f"Names one of {', '.join(metrics['labels'])} for a segment of {seen}. "
        f"{metrics['parameters'] / 1e6:.2f} M parameters. Model: Wang et al. 2025, "
        "arXiv:2502.00547.",
        "## Data and protocol",
        _parts(parts),
        f"`{protocol}`: {_PROTOCOLS[protocol]}. Kept: {_SELECTED[metrics['select']]} "
        f"({metrics['epoch']}, counted from 0).",
        "## Results on the test part",
        _results(metrics),
        "## Calibration",
        _calibration(metrics),
        "## Caveats",
        "\n".join(f"* {text}" for text in [*_own_caveats(metrics), *_caveats(made)]),
        "## Use",
        _USE.format(recording=_recording(config), inputs=_inputs(config)),
        "## How it was made",
        "Options of the training, and of the stages before it:",
        "\n".join(
            f"* {stage}: `{json.dumps(options, sort_keys=True)}`"
            for stage, options in sorted(_options(made).items())
        ),
    ]
    return "\n\n".join(lines) + "\n"


def statement(parts: Mapping[str, pd.DataFrame], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What has to go along with every prediction, in the card's words, as plain JSON values."""
    people = {part: sorted(held["subject"].unique()) for part, held in parts.items()}
    return {
        "trained_on": {"subjects": people["train"], "segments": len(parts["train"])},
        "validated_on": {"subjects": people["val"], "segments": len(parts["val"])},
        "tested_on": {"subjects": people["test"], "segments": len(parts["test"])},
        "protocol": metrics["protocol"],
        "protocol_means": _PROTOCOLS[metrics["protocol"]],
        "fold": metrics["fold"],
        "seed": metrics["seed"],
        "results": {
            level: {name: metrics[level][name] for name in _SHOWN} for level in ("segment", "trial")
        },
        "majority": metrics["majority"],
        "calibration": metrics["calibration"],
        "calibration_means": _calibration(metrics),
        "caveats": [*_own_caveats(metrics), *_caveats(metrics["provenance"])],
    }


_USE = """`milmer predict` does to a new recording what was done to the training data, by the file
`milmer_processor.json` beside this one. In Python:

```python
from milmer.prediction.processor import MilmerProcessor

inputs = MilmerProcessor.from_pretrained("this folder")({recording})
```

or, with inputs that are prepared already:

```python
import milmer.model.modeling  # makes the model known to transformers
from transformers import AutoModel

model = AutoModel.from_pretrained("this folder").eval()
model({inputs}).logits.softmax(dim=1)  # classes as in config.json's id2label
```"""


def _recording(config: MilmerConfig) -> str:
    given = {"eeg": 'eeg="recording.bdf"', "face": 'video="face.mp4"'}
    return ", ".join(given[m] for m in config.model.modalities)


def _inputs(config: MilmerConfig) -> str:
    face = "pixel_values=pictures" if config.backbone_config else "face_tokens=tokens"
    return ", ".join({"eeg": "eeg=eeg", "face": face}[m] for m in config.model.modalities)


def _parts(parts: Mapping[str, pd.DataFrame]) -> str:
    rows = [
        [part, ", ".join(sorted(held["subject"].unique())) or "none", len(held)]
        for part, held in parts.items()
    ]
    return tabulate(rows, ["part", "subjects", "segments"], tablefmt="github")


def _results(metrics: Mapping[str, Any]) -> str:
    levels = ("segment", "trial")
    rows = [[name, *(metrics[level][key] for level in levels)] for key, name in _SHOWN.items()]
    rows += [
        [name, *(metrics[key][level] for level in levels)]
        for key, name in (
            ("majority", "accuracy of the majority class"),
            ("chance", "accuracy of chance"),
        )
    ]
    rows.append(["tested", *(metrics["tested"][level] for level in levels)])
    shown = [[name, *(_number(v) for v in values)] for name, *values in rows]
    return tabulate(shown, ["", "by segment", "by trial"], tablefmt="github", disable_numparse=True)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _calibration(metrics: Mapping[str, Any]) -> str:
    known = metrics["calibration"]
    text = (
        "The mean gap between how sure the model is and how often it is right (expected "
        f"calibration error) is {_number(known['ece'])} on the test part."
    )
    if known["temperature"] is not None:
        return (
            f"{text} At the temperature {known['temperature']:.3g}, fitted on the "
            f"{metrics['segments']['val']} segments of the validation part, it is "
            f"{_number(known['tempered_ece'])}."
        )
    if metrics["segments"]["val"]:
        return (
            f"{text} The validation part, all of it named rightly, tells no temperature: "
            "probabilities are as the model gives them."
        )
    return f"{text} There was no validation part: probabilities are as the model gives them."


def _caveats(made: Mapping[str, Any]) -> list[str]:
    labels = _options(made).get("split", {}).get("labels", {})
    classes = _NAMED if labels.get("scheme") == "label" else _RATED
    return [text.format(classes=classes) for text in _CAVEATS]


def _own_caveats(metrics: Mapping[str, Any]) -> list[str]:
    found = []
    if metrics["leaky"]:
        found.append(
            "**Leaky**: segments of the same trial lie in training and test. The accuracy says how "
            "well trials are told apart, not how well emotions are recognised."
        )
    if metrics["permuted"]:
        found.append(
            "**Permuted**: trials exchanged their ratings, so that there was nothing to learn. "
            "What is above chance comes from a leak."
        )
    if metrics["selected_on_test"]:
        found.append(
            "**Selected on the test part**: each metric is the best of all epochs there, which is "
            "above what the model reaches on new data."
        )
    if metrics["without_valid_face"]:
        counts = ", ".join(f"{n} of {part}" for part, n in metrics["without_valid_face"].items())
        found.append(f"Segments without a valid face were left out: {counts}.")
    return found + [f"Of the split: {text}." for text in metrics["warnings"]]


def _options(made: Mapping[str, Any]) -> dict[str, Any]:
    """Options by stage; those of all subjects are the same."""
    stages: dict[str, Any] = {"train": made["options"]}

    def visit(upstream: Mapping[str, Any]) -> None:
        for name, known in upstream.items():
            stage = name.partition("_")[0]
            if not stage.startswith("trials"):
                stages.setdefault(stage, known["options"])
                visit(known["upstream"])

    visit(made["upstream"])
    return stages
