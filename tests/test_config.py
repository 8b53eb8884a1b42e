import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from milmer.config import PRESETS, Config, load_config
from milmer.config_text import documented
from milmer.errors import MilmerError
from milmer.options import Options

REPOSITORY = Path(__file__).resolve().parents[1]


def milmer(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "milmer", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sections(model=Config):
    """All options below a model, as (path, field)."""
    for name, field in model.model_fields.items():
        yield name, field
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            for below, option in sections(field.annotation):
                yield f"{name}.{below}", option


def stages(config):
    """The JSON that each stage gets."""
    experiment = config.experiment(next(iter(config.experiments)))
    return {
        "segments": config.segments_json("default"),
        "faces": config.faces_json("default"),
        "pretrain": config.pretrain_json("default"),
        "tokens": config.tokens_json("default", "default"),
        "split": config.split_json("default", "trial"),
        "train": experiment.model.result_json() + experiment.training.result_json(),
    }


def changed(user, base=None):
    """Names of the stages whose JSON differs for what a user sets."""
    before, after = stages(load_config(base or {})), stages(load_config((base or {}) | user))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("user", "path", "near"),
    [
        ({"modle": {}}, "modle", "model"),
        ({"training": {"epoch": 3}}, "training.epoch", "training.epochs"),
        ({"model": {"epochs": 3}}, "model.epochs", "training.epochs"),
        ({"faces": {"num_select": 3}}, "faces.num_select", "model.num_select"),
        ({"instances": 5}, "instances", "faces.instances"),
        (
            {"experiments": {"mine": {"model": {"fuson": "mlp"}}}},
            "experiments.mine.model.fuson",
            "experiments.mine.model.fusion",
        ),
        (
            {"experiments": {"mine": {"training": {"epochen": 5}}}},
            "experiments.mine.training.epochen",
            "experiments.mine.training.epochs",
        ),
        (
            {"experiments": {"mine": {"modle": {}}}},
            "experiments.mine.modle",
            "experiments.mine.model",
        ),
        (
            {
                "variants": {"eeg": {"wide": {"bnad": [1, 50]}}},
                "experiments": {"mine": {"eeg": "wide"}},
            },
            "variants.eeg.wide.bnad",
            "variants.eeg.wide.band",
        ),
        ({"variants": {"labesl": {}}}, "variants.labesl", "variants.labels"),
        (
            {"backbone": {"pretrain": {"epoch": 3}}},
            "backbone.pretrain.epoch",
            "backbone.pretrain.epochs",
        ),
        (
            {"backbone": {"class_weights": 3}},
            "backbone.class_weights",
            "backbone.pretrain.class_weights",
        ),
        (
            {"variants": {"backbone": {"fer": {"pretrain": {"imges": "fer"}}}}},
            "variants.backbone.fer.pretrain.imges",
            "variants.backbone.fer.pretrain.images",
        ),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(user, path, near, refused):
    with refused(f"{path}: unknown key; did you mean {near}?"):
        load_config(user)


def test_an_unknown_key_like_no_other_points_to_the_list(refused):
    with refused("training.qqqqqqqq: unknown key", "config.yaml"):
        load_config({"training": {"qqqqqqqq": 1}})


@pytest.mark.parametrize(
    ("user", "parts"),
    [
        ({"model": {"fusion": "sum"}}, ["model.fusion", "'sum'", "cross_attention", "mlp"]),
        ({"model": {"num_heads": 7}}, ["model", "num_heads", "768"]),
        (
            {"training": {"epochs": 0}},
            ["training.epochs", "0 is not allowed; use a number of at least 1"],
        ),
        ({"training": {"epochs": "many"}}, ["training.epochs", "'many'", "use a whole number"]),
        ({"training": 3}, ["training", "3"]),
        ({"eeg": {"band": [50, 1]}}, ["eeg", "band", "rising"]),
        ({"eeg": {"band": "wide"}}, ["eeg.band", "'wide'"]),
        ({"dataset": {"subjects": ["s00"]}}, ["dataset.subjects", "s00", "write s01 or 1"]),
        ({"dataset": {"subjects": [1, "s01"]}}, ["dataset.subjects", "once"]),
        ({"dataset": {"subjects": []}}, ["dataset.subjects", "at least one"]),
        ({"labels": {"threshold": "mean"}}, ["labels.threshold", "'mean'", "median"]),
        ({"labels": {"ties": "as_published", "scheme": "valence"}}, ["labels", "quadrant"]),
        ({"protocols": {"names": ["trials"]}}, ["protocols.names", "'trials'", "trial"]),
        ({"protocols": {"validation": 0}}, ["experiments.milmer", "protocols.validation", "last"]),
        ({"preset": "publish"}, ["preset", "'publish'", "published"]),
        ({"experiments": {}}, ["experiments"]),
        ({"experiments": {"a/b": {}}}, ["'a/b'", "letters"]),
        ({"experiments": {"mine": {"eeg": "narrow"}}}, ["'narrow'", "default", "as_published"]),
        ({"experiments": {"mine": {"model": {"dropout": 2}}}}, ["experiments.mine.model.dropout"]),
        ({"variants": {"eeg": {"unused": {"band": [1]}}}}, ["variants.eeg.unused.band"]),
        ({"variants": {"eeg": {"default": {}}}}, ["variants.eeg.default", "another name"]),
        ({"training": {"lr": float("inf")}}, ["training.lr", "finite"]),
        ({"segmentation": {"seconds": "nan"}}, ["segmentation.seconds"]),
        ({"backbone": {"pretrain": 3}}, ["backbone.pretrain", "3"]),
        (
            {"backbone": {"pretrain": {"validation": 0}}},
            ["backbone.pretrain.validation: 0 is not allowed; use a number above 0", "hold out"],
        ),
        (
            {"variants": {"backbone": {"fer": {"pretrain": {"patience": 0}}}}},
            ["variants.backbone.fer.pretrain.patience", "better macro-F1"],
        ),
        ({"labels": {"threshold": "nan"}}, ["labels.threshold"]),
        ({"labels": {"threshold": [5]}}, ["[5] is not allowed; use a number or 'median' ("]),
        ({"training": {"lr": "fast"}}, ["training.lr: 'fast' is not allowed; use a number ("]),
        ({"eeg": 3}, ["eeg: 3 is not allowed; use keys with values, such as {key: value}"]),
        ({"eeg": {"band": [1]}}, ["eeg.band.1: a value is missing"]),
        ({"protocols": {"names": []}}, ["names: [] is not allowed; use a list of 1 or more"]),
        ({"protocols": {"names": "trial"}}, ["'trial' is not allowed; use a list, such as [a, b]"]),
        ({"model": {"modalities": ["eeg", "eye"]}}, ["modalities.1", "use 'eeg' or 'face'"]),
        ({"experiments": {None: {}}}, ["experiments.None: None is not allowed; use text"]),
        ({"experiments": {1: {}}}, ["experiments.1: 1 is not allowed; use text, in quotes"]),
        ({"training.epochs": 3}, ["unknown key; write training: {epochs: 3}"]),
        ({"backbone.pretrain.images": "f"}, ["write backbone: {pretrain: {images: 'f'}}"]),
        ({"backbone": {"pretrain.images": "f"}}, ["write pretrain: {images: 'f'}"]),
        ({"training.epoch": 3}, ["training.epoch: unknown key; did you mean training.epochs?"]),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(user, parts, refused):
    with refused(*parts):
        load_config(user)


def test_several_wrong_keys_are_counted_by_their_places(refused):
    with refused("training.epochs", "(and 1 more)"):
        load_config({"training": {"epochs": 0, "lr": 0}})
    with pytest.raises(MilmerError) as caught:
        load_config({"dataset": {"subjects": "s01"}})  # two branches of one union
    assert "more)" not in str(caught.value)


def test_null_on_top_takes_an_experiment_or_a_variant_out():
    user = {
        "experiments": {"a": None, "b": {}, "c": "null"},
        "variants": {"eeg": {"x": None, "y": {"band": None}}},
    }
    config = load_config(user)
    assert list(config.experiments) == ["b"]
    assert list(config.variants.eeg) == ["y"]


def test_the_user_goes_over_the_preset_and_the_preset_over_the_defaults():
    config = load_config({"preset": "published", "model": {"train_cls": True}})
    assert config.model.train_cls is True
    assert config.model.selection_gradient == PRESETS["published"]["model"]["selection_gradient"]
    assert config.eeg.layout == "as_published"
    assert config.model.num_queries == Config().model.num_queries


def test_the_preset_sets_each_row_of_what_the_published_code_does():
    whole = load_config({"preset": "published"})
    one = load_config({"experiments": {"mine": {"preset": "published"}}})
    for config, name in ((whole, "milmer"), (one, "mine")):
        made = config.experiment(name)
        assert made.protocols == ["segment"]
        assert (made.validation and config.protocols.validation) == 0
        assert made.training.select == "best_on_test"
        assert config.variant("eeg", made.eeg).layout == "as_published"
        assert made.model.selection_gradient == "none"
        assert not made.model.train_cls
        assert config.variant("labels", made.labels).ties == "as_published"
        assert (made.model.eeg_encoder, made.model.channel_embeddings) == ("published", False)
        assert made.finetune
        faces = config.variant("faces", made.faces)
        assert (faces.choice, faces.smoothing, faces.second_detection_size) == ("first", 0, None)
        assert (faces.detector, faces.margin, faces.size) == ("yunet", 0.1, 224)
    frozen = load_config({"experiments": {"mine": {"preset": "published", "backbone": "default"}}})
    assert not frozen.experiment("mine").finetune
    eeg = load_config(
        {"experiments": {"mine": {"preset": "published", "model": {"modalities": ["eeg"]}}}}
    )
    assert not eeg.experiment("mine").finetune


@pytest.mark.parametrize(
    ("user", "part"),
    [
        ({"protocols": {"names": ["segment"]}}, "the protocol segment"),
        ({"experiments": {"mine": {"eeg": "as_published"}}}, "eeg.layout as_published"),
        ({"experiments": {"mine": {"preset": "published"}}}, "experiments.mine"),
    ],
    ids=str,
)
def test_overlapping_segments_are_refused_where_they_would_leak(user, part, refused):
    load_config(user)
    with refused("segmentation.overlap", part):
        load_config(user | {"segmentation": {"overlap": 1}})


def test_an_empty_section_changes_nothing():
    assert load_config({"training": None, "preset": None}) == load_config({})
    assert load_config({"backbone": {"pretrain": None}}) == load_config({})


def test_values_may_come_as_text_as_snakemake_hands_them_over():
    plain = {
        "training": {"epochs": 7, "lr": 0.001},
        "eeg": {"band": None},
        "faces": {"detector_model": None, "use_borrowed_boxes": True},
        "model": {"train_cls": False},
        "protocols": {"names": ["trial"], "folds": 3},
    }
    text = {
        "training": {"epochs": "7", "lr": "1e-3"},
        "eeg": {"band": "null"},
        "faces": {"detector_model": "null", "use_borrowed_boxes": "true"},
        "model": {"train_cls": "False"},
        "protocols": {"names": ["trial"], "folds": "3"},
    }
    assert load_config(text) == load_config(plain)
    assert stages(load_config(text)) == stages(load_config(plain))


def test_an_experiment_takes_its_preset_its_variants_and_its_own_options():
    config = load_config(
        {
            "model": {"num_select": 2},
            "variants": {"backbone": {"v2": {"name": "some/swinv2"}}},
            "experiments": {
                "mine": {"backbone": "v2", "model": {"fusion": "mlp"}},
                "published": {"preset": "published", "training": {"epochs": 2}},
            },
        }
    )
    mine, published = config.experiment("mine"), config.experiment("published")
    assert (mine.model.num_select, mine.model.fusion, mine.backbone) == (2, "mlp", "v2")
    assert (mine.eeg, mine.validation) == ("default", True)
    assert (published.eeg, published.labels) == ("as_published", "as_published")
    assert (published.training.epochs, published.training.select) == (2, "best_on_test")
    assert "some/swinv2" in config.tokens_json("default", "v2")
    assert "some/swinv2" not in config.tokens_json("default", "default")


@pytest.mark.parametrize(
    "user",
    [
        {"faces": {"threads": 7}},
        {"backbone": {"device": "cpu"}},
        {"backbone": {"pretrain": {"checkpoint_minutes": 30}}},
        {"training": {"device": "cpu"}},
        {"training": {"checkpoint_minutes": 30}},
        {"dataset": {"root": "elsewhere"}},
        {"report": {"seed": 3}},
    ],
)
def test_how_a_stage_runs_is_not_among_its_options(user):
    assert changed(user) == set()


@pytest.mark.parametrize(
    ("user", "stage"),
    [
        ({"eeg": {"band": [4, 45]}}, {"segments"}),
        ({"segmentation": {"seconds": 2}}, {"segments", "faces", "split"}),
        ({"faces": {"margin": 0.2}}, {"faces"}),
        ({"faces": {"use_borrowed_boxes": True}}, {"tokens"}),
        ({"backbone": {"batch_size": 4}}, {"tokens"}),
        ({"backbone": {"revision": "main"}}, {"pretrain", "tokens"}),
        ({"backbone": {"pretrain": {"lr": 1}}}, {"pretrain"}),
        ({"labels": {"threshold": "median"}}, {"split"}),
        ({"protocols": {"seed": 4}}, {"split"}),
        ({"training": {"epochs": 4}}, {"train"}),
        ({"training": {"threads": 1}}, {"train"}),
        ({"model": {"fusion": "mlp"}}, {"train"}),
    ],
)
def test_what_can_change_a_result_reaches_its_stages_and_no_other(user, stage):
    assert changed(user) == stage


def test_of_pretraining_tokens_know_no_more_than_that_the_weights_lie_in_a_folder():
    plain = json.loads(load_config({}).tokens_json("default", "default"))
    assert "pretrain" not in plain["backbone"]
    one, other = (
        load_config({"backbone": {"pretrain": {"images": images, "seed": seed}}})
        for images, seed in (("/data/fer", 0), ("/elsewhere", 1))
    )
    tokens = one.tokens_json("default", "default")
    assert tokens == other.tokens_json("default", "default")
    expected = plain["backbone"] | {"name": "a local directory"}
    assert json.loads(tokens)["backbone"] == expected
    assert "/data/fer" not in one.pretrain_json("default")


def test_a_variant_changes_single_options_of_a_nested_section():
    user = {
        "backbone": {"pretrain": {"images": "fer", "epochs": 5}},
        "variants": {
            "backbone": {
                "longer": {"pretrain": {"epochs": 9}},
                "plain": {"pretrain": {"images": None}},
            }
        },
    }
    config = load_config(user)
    longer, plain = (config.variant("backbone", n).pretrain for n in ("longer", "plain"))
    assert (longer.images, longer.epochs) == ("fer", 9)
    assert (plain.images, plain.epochs) == (None, 5)


def test_a_stage_reads_back_what_it_is_given():
    from milmer.faces.options import FaceStageOptions

    text = load_config({"faces": {"threads": 5, "margin": 0.3, "min_score": 0.5}}).faces_json(
        "default"
    )
    assert FaceStageOptions.from_json(text).result_json() == text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_every_option_has_a_description():
    silent = [path for path, field in sections() if not (field.description or _doc(field))]
    assert silent == []


def _doc(field):
    return getattr(field.annotation, "__doc__", None) if isinstance(field.annotation, type) else ""


def test_the_documented_defaults_are_the_defaults():
    text = documented({})
    shown = yaml.safe_load("\n".join(_uncommented(text)))
    assert load_config(shown) == load_config({})
    for path, _ in sections():
        assert f"{path.rpartition('.')[2]}:" in text


def test_documenting_keeps_what_the_user_sets():
    user = {
        "training": {"epochs": 3},
        "backbone": {"pretrain": {"images": "fer"}},
        "variants": {"eeg": {"raw": {"band": None}}},
        "experiments": {"a": {}, "b": {"eeg": "raw", "model": {"modalities": ["eeg"]}}},
    }
    text = documented(user, "# mine\n")
    assert yaml.safe_load(text)["training"] == {"epochs": 3}
    assert load_config(yaml.safe_load(text)) == load_config(user)
    assert documented(yaml.safe_load(text), "# mine\n") == text


def _uncommented(text):
    """The lines of keys, with those that are commented out for being defaults."""
    for line in text.splitlines():
        bare = line.lstrip()
        if bare.startswith("# ") or bare == "#":
            continue
        yield line.replace("#", "", 1) if bare.startswith("#") else line


def test_config_yaml_shows_every_option():
    path = REPOSITORY / "config.yaml"
    assert milmer("config", path) == path.read_text(), "run `make docs`"


def test_the_schema_is_that_of_the_models():
    path = REPOSITORY / "workflow" / "schemas" / "config.schema.json"
    schema = json.loads(milmer("config", "--schema"))
    assert schema == json.loads(path.read_text()), "run `make docs`"


@pytest.mark.parametrize("module", ["milmer.plan", "milmer.config"])
def test_reading_the_configuration_loads_nothing_heavy(module):
    heavy = [
        "torch",
        "mne",
        "pandas",
        "h5py",
        "transformers",
        "cv2",
        "av",
        "scipy",
        "pyarrow",
        "sklearn",
        "matplotlib",
    ]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_grid_is_an_experiment_for_each_combination():
    grid = {"model.num_select": [1, 5], "backbone": ["default", "large"], "training.lr": [0.001]}
    config = load_config(
        {
            "variants": {"backbone": {"large": {"name": "some/swin"}}},
            "experiments": {
                "milmer": {},
                "wide": {"model": {"fusion": "mlp"}, "grid": grid},
                "modalities": {"grid": {"model.modalities": [["eeg"], ["eeg", "face"]]}},
            },
        }
    )
    assert list(config.experiments) == [
        "milmer",
        *(
            f"wide-num_select-{k}-backbone-{name}-lr-0_001"
            for k in (1, 5)
            for name in ("default", "large")
        ),
        *("modalities-eeg", "modalities-eeg_face"),
    ]
    row = config.experiment("wide-num_select-5-backbone-large-lr-0_001")
    assert (row.model.num_select, row.backbone, row.training.lr) == (5, "large", 0.001)
    assert row.model.fusion == "mlp"
    assert config.experiment("modalities-eeg").model.modalities == ["eeg"]


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ({"modle.num_select": [1]}, ["experiments.a.grid.modle.num_select", "use model.OPTION"]),
        ({"model.num_selct": [1]}, ["num_selct: unknown key", "num_select?"]),
        ({"model.num_select": [0]}, ["num_select", "0 is not allowed"]),
        (
            {"model.num_select": []},
            ["a.grid.model.num_select", "use a list of 1 or more"],
        ),
        ({"model.num_select": [1, 1]}, ["gives a-num_select-1 twice"]),
        ({"backbone": ["large"]}, ["no variant 'large' of backbone"]),
    ],
)
def test_a_wrong_grid_is_one_line(grid, parts, refused):
    with refused(*parts):
        load_config({"experiments": {"a": {"grid": grid}}})


def test_the_papers_ablation_can_be_loaded():
    text = (REPOSITORY / "workflow/ablation.yaml").read_text()
    config = load_config(yaml.safe_load(text))
    rows = {name: config.experiment(name) for name in config.experiments}
    assert len(rows) == 22
    assert rows["fusion-mlp"].model.fusion == "mlp"
    assert rows["num_select-10"].model.num_select == 10
    assert rows["backbone-swinv2"].backbone == "swinv2"


@pytest.mark.parametrize("name", ["band_power", "band_power-permuted"])
def test_the_name_of_the_baseline_is_no_experiments(name, refused):
    with refused(f"config: experiments.{name}: ", "another name"):
        load_config({"experiments": {name: {}}})
    load_config({"experiments": {"band_powerful": {}}})


def test_a_control_exchanges_ratings_and_changes_nothing_else():
    config = load_config(
        {"labels": {"scheme": "valence"}, "experiments": {"control": {"labels": "permuted"}}}
    )
    assert config.experiment("control").labels == "permuted"
    assert config.variant("labels", "permuted") == config.labels.updated({"permuted": True})
