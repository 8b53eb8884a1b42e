"""The model card of a run: what the model was trained on, how it was tested, what not to conclude.

It has Hugging Face's form: metadata in YAML, then Markdown. :func:`statement` puts the same words
beside predictions.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from milmer.metrics.calibration import FEWEST
from milmer.metrics.epoch_score import BEFORE

FILE = "evaluation.json"
"""The file with the model's results, beside the card in its folder."""

FORMAT = 1

PROTOCOLS = {
    "segment": "segments are drawn at random, so that training and test share trials",
    "trial": "whole trials of a subject are held out; the model has seen the subject in training",
    "session": "a session of a subject is held out; the model has seen the subject in training",
    "loso": "a subject is held out",
    "stimulus": "stimuli are held out; the model has seen the subjects in training",
}
SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "auroc": "AUROC",
}
SELECTIONS = {
    "validation": "that with the best macro-F1 on the validation part",
    "last": "the last",
    "best_on_test": "that with the best accuracy on the test part",
}
_REFIT = (
    " Then the model was trained anew on the training and the validation part, for as many steps; "
    "what is said of the validation part comes from before."
)
_ALIGNED = (
    "Each subject's EEG, or session's, is multiplied by the inverse square root of its mean "
    "covariance (He and Wu 2020): of its training segments, or of all of it where none of it "
    "trained, as in a new recording. So what is said of a subject who did not train was computed "
    "once all of that recording was there; no label was looked at."
)
_LOGIT_PARTS = {
    "linear_eeg": "the linear path of the EEG's log power",
    "linear_face": "the linear path of all valid frames' mean token",
    "frames": "the deep path's chosen frames",
    "eeg": "the deep path's EEG",
}
_RATED = (
    "The classes are participants' ratings of how they felt during a stimulus in a laboratory, "
    "divided by a threshold."
)
_NAMED = "The classes are the names that the laboratory gave its trials."
_CAVEATS = [
    "These are the results of one fold. Base claims on the tables of all folds, with their "
    "intervals and baselines.",
    "{classes} Nothing here says how well emotions are recognised in other people, with other "
    "stimuli or in daily life.",
    "Input has to be prepared like the training data, which `milmer predict` does; with channels "
    "in another order or another backbone the output is meaningless.",
    "The recordings' licence decides whether weights trained on them may be shared.",
]
INTENDED_USE = (
    "For research: to compare methods and to reproduce results, on recordings of people who have "
    "agreed to be recorded and analysed for that purpose. Show or pass on a face, or what was "
    "inferred of a person, only as far as that person has agreed.",
    "Not for diagnosis or treatment, and not for decisions about a person.",
    "In the European Union, AI systems that infer emotions of people at work or in education are "
    "prohibited, except for medical or safety reasons (AI Act, Regulation (EU) 2024/1689, "
    "Article 5(1)(f)).",
)
"""What a model may be used for: in the card, beside predictions and, word by word, the README."""

_CONVERTED = (
    "**Converted** from a checkpoint of the authors' code: on whom it was trained and tested is "
    "not known here. Recordings are prepared as for another run, which may not be how its "
    "training data was."
)


def model_card(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The text of a run's ``README.md``.

    ``facts`` are those of :class:`~milmer.training.results.RunResults`; ``metrics`` is the content
    of the run's ``metrics.json``.
    """
    from huggingface_hub import ModelCardData

    modalities, protocol = facts["modalities"], facts["protocol"]
    data = ModelCardData(
        library_name="transformers",
        tags=["milmer", "emotion-recognition", *modalities],
        metrics=["accuracy", "f1"],
    )
    inputs = {"eeg": "EEG", "face": f"{facts['num_instances']} face pictures"}
    options = stage_options(metrics["provenance"])
    warnings = [_name(text) for text in facts["warnings"]]
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# Milmer: protocol {protocol}, fold {facts['fold']}, seed {facts['seed']}",
        f"Classifies a segment of {' and '.join(inputs[m] for m in modalities)} as one of "
        f"{', '.join(map(_name, facts['labels']))}. {facts['parameters'] / 1e6:.2f} M parameters. "
        "Model: Wang et al. 2025, arXiv:2502.00547.",
        "## Data and protocol",
        _parts(facts),
        f"`{protocol}`: {PROTOCOLS[protocol]}. Epoch kept: {SELECTIONS[facts['select']]} "
        f"({_epoch(facts)})." + (_REFIT if facts.get("refit") else ""),
        _continued(facts.get("init")),
        _ALIGNED if options["train"].get("alignment") == "euclidean" else "",
        shares_text(facts.get("logit_shares", {})),
        "## Results on the test part" + (f" ({metrics['caveat']})" if metrics["caveat"] else ""),
        _results(metrics),
        "## Calibration",
        _calibration(facts, metrics["calibration"]),
        "## Caveats",
        "\n".join(f"* {text}" for text in _caveats({**facts, "warnings": warnings})),
        "## Intended use",
        "\n".join(f"* {text}" for text in INTENDED_USE),
        "## Use",
        _USE.format(recording=_recording(modalities), inputs=_inputs(facts)),
        "## How it was made",
        "Options of training and of the stages before it:",
        "\n".join(f"* {stage}: `{_json(values)}`" for stage, values in sorted(options.items())),
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def _epoch(facts: Mapping[str, Any]) -> str:
    if facts["epoch"] != BEFORE:
        trained = f", of {facts['epochs']}" if facts.get("epochs") else ""
        return f"{facts['epoch']}, counted from 0{trained}"
    text = "before the first step: no epoch was better than the linear path alone"
    if "face" in facts["modalities"]:
        text += ", and nothing was learned about which frames to choose"
    return text


def _continued(init: Mapping[str, Any] | None) -> str:
    """What the model was before, for one that did not begin anew."""
    if init is None:
        return ""
    before = f", of the fold {init['fold']}" if init["fold"] else ""
    text = (
        f"It continues from a model with the weights `{init['weights']}…`{before}: {init['taken']} "
        "tensors were taken from it"
    )
    text += f", new are {', '.join(f'`{name}`' for name in init['new'])}." if init["new"] else "."
    return f"{text} The scale of the EEG and the linear path were fitted to this training part."


def shares_text(shares: Mapping[str, float]) -> str:
    """What :func:`milmer.model.shares.logit_shares` found, as a sentence."""
    if not shares:
        return ""
    parts = [(name, shares[key]) for key, name in _LOGIT_PARTS.items() if key in shares]
    text = ", ".join(f"{100 * share:.0f} % from {name}" for name, share in parts)
    return f"Of the logits' variation on the test part come {text}."


def statement(
    facts: Mapping[str, Any] | None, evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What has to accompany every prediction, in the card's words, as plain JSON values.

    ``facts`` are those of the run, None for a converted checkpoint; ``evaluation`` is the content
    of ``evaluation.json``. If the run was not evaluated, it is None and the results are null.
    """
    if facts is None:
        unknown = (*_PARTS, "protocol", "protocol_means", "fold", "seed", *_RESULTS)
        return {
            **dict.fromkeys(unknown),
            "calibration_means": "Probabilities are those of the model itself: it was not "
            "evaluated by milmer.",
            "caveats": [_CONVERTED, _CAVEATS[1].format(classes=_RATED), _CAVEATS[3]],
            "intended_use": list(INTENDED_USE),
        }
    means = None if evaluation is None else _calibration(facts, evaluation["calibration"])
    return {
        **{
            name: {"subjects": facts["subjects"][part], "segments": facts["segments"][part]}
            for name, part in _PARTS.items()
        },
        "protocol": facts["protocol"],
        "protocol_means": PROTOCOLS[facts["protocol"]],
        "fold": facts["fold"],
        "seed": facts["seed"],
        "results": evaluation
        and {
            level: {name: evaluation[level][name] for name in SCORES}
            for level in ("segment", "trial")
        },
        "majority": evaluation and evaluation["majority"],
        "calibration": evaluation and evaluation["calibration"],
        "calibration_means": means or "The model was not evaluated after training.",
        "caveats": _caveats(facts),
        "intended_use": list(INTENDED_USE),
    }


_RESULTS = ("results", "majority", "calibration")
_PARTS = {"trained_on": "train", "validated_on": "val", "tested_on": "test"}

_USE = """`milmer predict` prepares a new recording like the training data, as described by
`milmer_processor.json` in this folder. In Python:

```python
from milmer.prediction.processor import MilmerProcessor

inputs = MilmerProcessor.from_pretrained("this folder")({recording})
```

or, with inputs that are already prepared:

```python
import milmer.model.huggingface  # registers the model with transformers
from transformers import AutoModel

model = AutoModel.from_pretrained("this folder").eval()
model({inputs}).logits.softmax(dim=1)  # classes as in config.json's id2label
```"""


def _recording(modalities: Sequence[str]) -> str:
    arguments = {"eeg": 'eeg="recording.bdf"', "face": 'video="face.mp4"'}
    return ", ".join(arguments[m] for m in modalities)


def _inputs(facts: Mapping[str, Any]) -> str:
    face = "pixel_values=pictures" if facts["holds_backbone"] else "face_tokens=tokens"
    return ", ".join({"eeg": "eeg=eeg", "face": face}[m] for m in facts["modalities"])


def _parts(facts: Mapping[str, Any]) -> str:
    rows = [[part, facts["subjects"][part], facts["segments"][part]] for part in _PARTS.values()]
    return tabulate(rows, ["part", "subjects", "segments"], tablefmt="github")


def _results(metrics: Mapping[str, Any]) -> str:
    levels = ("segment", "trial")
    rows = [[name, *(metrics[level][key] for level in levels)] for key, name in SCORES.items()]
    rows += [
        [name, *(metrics[key][level] for level in levels)]
        for key, name in (
            ("majority", "accuracy of the majority class"),
            ("chance", "accuracy of chance"),
        )
    ]
    rows.append(["tested", *(metrics["tested"][level] for level in levels)])
    texts = [[name, *(_number(v) for v in values)] for name, *values in rows]
    return tabulate(texts, ["", "by segment", "by trial"], tablefmt="github", disable_numparse=True)


def _name(text: str) -> str:
    """A name, which others chose, as Markdown that shows it: neither markup nor HTML."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(text, quote=False))


def _json(values: Any) -> str:
    """Plain values as JSON that ends no code span and begins no HTML."""
    text = json.dumps(values, sort_keys=True)
    return re.sub("[`<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _calibration(facts: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    text = (
        "The expected calibration error, the mean gap between confidence and accuracy, is "
        f"{_number(calibration['ece'])} on the test part."
    )
    if calibration["temperature"] is not None:
        return (
            f"{text} At temperature {calibration['temperature']:.3g}, fitted on the "
            f"{facts['segments']['val']} segments of the validation part, it is "
            f"{_number(calibration['tempered_ece'])}."
        )
    if count := facts["segments"]["val"]:
        reason = f"{count} segments of the validation part are too few to fit a temperature"
        if count >= FEWEST:
            reason = "No temperature lowered the loss on left-out trials of the validation part"
        return f"{text} {reason}: probabilities are those of the model itself."
    return f"{text} There was no validation part: probabilities are those of the model itself."


def _caveats(facts: Mapping[str, Any]) -> list[str]:
    caveats = []
    if facts["leaky"]:
        caveats.append(
            "**Leaky**: training and test contain segments of the same trials. The accuracy says "
            "how well trials are told apart, not how well emotions are recognised."
        )
    if facts["permuted"]:
        caveats.append(
            "**Permuted**: ratings were permuted among trials, so that there was nothing to learn. "
            "Any accuracy above chance comes from a leak."
        )
    if facts["select"] == "best_on_test":
        caveats.append(
            "**Selected on the test part**: each metric is its best over all epochs there, which "
            "is more than the model reaches on new data."
        )
    if (init := facts.get("init")) and not init["checked"]:
        caveats.append(
            "**Unknown past**: the model that it continues from does not say on whom it was "
            "trained, which may be those that it is tested on."
        )
    if facts["without_valid_face"]:
        counts = ", ".join(f"{n} in {part}" for part, n in facts["without_valid_face"].items())
        caveats.append(f"Segments without a valid face were left out: {counts}.")
    if facts["rejected"]:
        counts = ", ".join(f"{n} in {part}" for part, n in facts["rejected"].items())
        caveats.append(f"Segments whose EEG could not be used were left out: {counts}.")
    caveats += [f"Warning about the split: {text}." for text in facts["warnings"]]
    classes = _NAMED if facts["scheme"] == "label" else _RATED
    return caveats + [text.format(classes=classes) for text in _CAVEATS]


def stage_options(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run's training and of the stages before it, which all subjects share."""
    options: dict[str, Any] = {"train": provenance["options"]}
    waiting = [provenance["upstream"]]
    while waiting:
        for name, upstream in sorted(waiting.pop().items()):
            stage = name.partition("_")[0]  # inputs are named by their stage and subject
            if not stage.startswith("trials"):
                options.setdefault(stage, upstream["options"])
                waiting.append(upstream["upstream"])
    return options
