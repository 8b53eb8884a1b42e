"""The model card says what the run's files say, and warns where there is ground to."""

import html
import json
import re

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from milmer import storage
from milmer.evaluation import model_card
from milmer.evaluation.evaluate import evaluate_run
from milmer.evaluation.options import METRIC_TITLES
from milmer.metrics.scores import NAMES
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from tests.conftest import REPOSITORY
from tests.training.test_loop import options


@pytest.fixture(scope="module")
def train(twin_results, tmp_path_factory):
    """``train(protocol, fold, **training)``: the card's text and the metrics of a run."""

    def made(protocol, fold, model=None, **training):
        folder = tmp_path_factory.mktemp("card")
        made.folder = folder / "seed0"
        split = folder / f"{fold}.parquet"
        make_split(
            [twin_results / "trials/s01.parquet"], protocol, fold, SplitOptions(folds=2), split
        )
        files = [
            [twin_results / part / "s01.h5"]
            for part in ("segments/default", "tokens/default/default")
        ]
        train_fold(split, *files, options(model, epochs=2, **training), 0, folder / "seed0")
        evaluate_run(folder / "seed0")
        metrics = json.loads((folder / "seed0/metrics.json").read_text())
        return (folder / "seed0/model/README.md").read_text(), metrics

    return made


def cells(text, name):
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.split("|")[2:-1]]


@pytest.fixture(scope="module")
def trained(train):
    """The facts and the metrics of a run."""
    _, metrics = train("trial", "s01-k0")
    return storage.read_provenance(train.folder / "predictions.parquet")["facts"], metrics


def epoch_kept(text):
    return re.search(r"Epoch kept: that with [^(]*\((.*)\)\.", text)[1]


def epoch_in_words(epoch, modalities):
    if epoch != -1:
        return f"{epoch}, counted from 0, of 7"
    text = "before the first step: no epoch was better than the linear path alone"
    frames = ", and nothing was learned about which frames to choose"
    return text + (frames if "face" in modalities else "")


@pytest.mark.parametrize("epoch", [-1, 1])
@pytest.mark.parametrize("modalities", [["eeg"], ["eeg", "face"]], ids="-".join)
def test_it_tells_which_epoch_was_kept(trained, epoch, modalities):
    facts, metrics = trained
    text = model_card.model_card(
        facts | {"epoch": epoch, "epochs": 7, "modalities": modalities}, metrics
    )
    assert epoch_kept(text) == epoch_in_words(epoch, modalities)


def test_it_tells_the_data_the_protocol_and_the_metrics(train):
    text, metrics = train("trial", "s01-k0")
    assert ModelCard(text).data.to_dict()["tags"] == [
        "milmer",
        "emotion-recognition",
        "eeg",
        "face",
    ]
    split = metrics["provenance"]["inputs"]["split"]
    assert f"protocol trial, fold {split[:12]}, seed 0" in text
    for part, count in metrics["segments"].items():
        assert cells(text, part) == ["1", str(count)]
    for row, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("kappa", "kappa")):
        levels = (metrics["segment"][key], metrics["trial"][key])
        assert cells(text, row) == ["–" if v is None else f"{v:.3f}" for v in levels]
    assert (
        cells(text, "accuracy of the majority class")[0] == f"{metrics['majority']['segment']:.3f}"
    )
    assert epoch_kept(text) == epoch_in_words(metrics["epoch"], ["eeg", "face"])
    assert '"layout": "channels_by_time"' in text
    assert "/tmp" not in text
    assert "Leaky" not in text
    assert "Selected on the test part" not in text


def test_it_warns_of_a_leak_and_of_a_selection_on_the_test_part(train):
    text, _ = train("segment", "s01", validation=False, select="best_on_test")
    assert "**Leaky**: training and test contain segments of the same trials" in text
    assert "**Selected on the test part**" in text


def test_it_says_where_the_logits_come_from_and_that_the_model_was_trained_again(train):
    text, _ = train("trial", "s01-k0")
    sentence = re.search("Of the logits' variation on the test part come (.*)\\.", text)[1]
    shares = [int(n) for n in re.findall(r"(-?\d+) % from", sentence)]
    assert len(shares) == 4
    assert abs(sum(shares) - 100) <= 2
    assert "trained anew" not in text
    text, _ = train("trial", "s01-k0", refit=True)
    assert "Then the model was trained anew on the training and the validation part" in text


def test_it_names_what_the_model_looks_at(train):
    text, _ = train("trial", "s01-k0", {"modalities": ["eeg"]})
    assert "Classifies a segment of EEG as one of HAHV, LAHV, LALV, HALV." in text
    assert "model(eeg=eeg)" in text


def test_the_card_and_the_readme_say_what_a_model_may_be_used_for(train):
    text, _ = train("trial", "s01-k0", {"modalities": ["eeg"]})
    readme = (REPOSITORY / "README.md").read_text()
    for page in (text, readme):
        section = page.split("## Intended use\n")[1].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("* ")]
        assert lines == [f"* {line}" for line in model_card.INTENDED_USE]
    words = " ".join(model_card.INTENDED_USE)
    for word in ("diagnosis", "agreed", "work", "education", "medical or safety", "5(1)(f)"):
        assert word in words


def test_the_card_shows_the_metrics_that_the_tables_show():
    assert model_card.SCORES.keys() == METRIC_TITLES.keys() <= set(NAMES)


def test_names_that_others_chose_are_text_in_the_card(train):
    _, metrics = train("trial", "s01-k0", {"modalities": ["eeg"]})
    labels = ["<script>alert(1)</script>", "[a](http://b)", "`c`", "*d*|e", "HA_HV"]
    facts = {
        **{name: metrics[name] for name in ("protocol", "fold", "seed", "select", "epoch")},
        **{name: metrics[name] for name in ("leaky", "permuted", "segments")},
        **{"labels": labels, "warnings": [f"no training segment of class {labels[0]}"]},
        **{"subjects": {"train": 1, "val": 1, "test": 1}, "modalities": ["eeg"]},
        **{"num_instances": 10, "parameters": 1, "without_valid_face": {}, "scheme": "label"},
        "rejected": {"train": 7, "test": 2},
        "holds_backbone": False,
    }
    options = {"labels": {"classes": labels}}
    metrics["provenance"] |= {"options": options}
    text = model_card.model_card(facts, metrics)
    page = MarkdownIt("commonmark").enable("table").render(text.split("---", 2)[2])
    assert "<script" not in text + page
    assert "<a " not in page
    shown = html.unescape(re.sub("<[^>]+>", "", page))
    assert f"as one of {', '.join(labels)}." in shown
    assert f"no training segment of class {labels[0]}." in shown
    assert "Segments whose EEG could not be used were left out: 7 in train, 2 in test." in shown
    code = re.search(r"train: ({.*})", shown)[1]
    assert json.loads(code) == options


def test_a_models_folder_names_no_person_and_no_place(train, twin_results):
    for protocol, fold in (("trial", "s01-k0"), ("segment", "s01")):
        _, metrics = train(protocol, fold)
        assert metrics["fold"] == fold  # of what stays inside
        folder = train.folder / "model"
        assert {path.name for path in folder.iterdir()} == {
            *("README.md", "config.json", "evaluation.json", "milmer_processor.json"),
            *("model.safetensors", "modeling_milmer.py", ".milmer-train.json"),
        }
        for path in folder.iterdir():
            content = path.read_bytes()
            if path.suffix == ".safetensors":  # the header; numbers may hold any bytes
                content = content[: 8 + int.from_bytes(content[:8], "little")]
            for word in (b"s01", b"/tmp", str(twin_results).encode(), b"_name_or_path", b".dat"):
                assert word not in content, (path, word)
