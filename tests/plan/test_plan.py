"""What there is to do: the shipped configuration on copies of DEAP as people have them."""

import inspect
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from milmer.errors import MilmerError
from milmer.plan import Plan, paths
from milmer.plan.dataset import _listing
from milmer.plan.problems import require_ready
from milmer.plan.results import ResultsPlan
from milmer.plan.snakemake_state import as_argument
from tests.conftest import REPOSITORY

EEG_ONLY = {"model": {"modalities": ["eeg"]}}


@pytest.fixture
def shipped():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


@pytest.fixture
def copy(tmp_path):
    """A copy by its names alone; ``copy(2, video=[1])`` has two subjects, one with video."""

    def make(subjects, video=()):
        names = ["metadata_csv/participant_ratings.csv"]
        names += [f"data_preprocessed_python/s{s:02d}.dat" for s in range(1, subjects + 1)]
        names += [f"face_video/s{s:02d}/s{s:02d}_trial01.avi" for s in video]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return {"dataset": {"root": str(tmp_path)}}

    return make


def folds(plan):
    """Experiments and protocols with their folds, of all runs."""
    found = {}
    for path in plan.results.predictions():
        experiment, protocol, fold = path.split("/")[2:5]
        found.setdefault((experiment, protocol), set()).add(fold)
    return found


@pytest.mark.parametrize(
    "labels",
    [{}, {"scheme": "valence"}, {"threshold": "median"}, {"threshold": 4.5}, {"ties": "drop"}],
    ids=str,
)
def test_the_shipped_configuration_takes_every_label_scheme(shipped, copy, labels):
    plan = Plan.read(shipped | copy(2, [1, 2]) | {"labels": labels})
    assert plan.warnings == []
    assert '"ties":"as_published"' in plan.config.split_json("as_published", "trial")


def test_without_video_only_eeg_is_left_and_the_rest_is_told(shipped, copy):
    plan = Plan.read(shipped | copy(2))
    assert set(folds(plan)) == {("eeg_only", "trial"), ("eeg_only", "loso")}
    assert sum("holds no face video" in warning for warning in plan.warnings) == 3


def test_one_subject_alone_is_done_within_the_subject(shipped, copy):
    plan = Plan.read(shipped | copy(1, [1]))
    assert {protocol for _, protocol in folds(plan)} == {"trial", "segment"}
    assert any("protocol loso is left out" in warning for warning in plan.warnings)


def test_a_subject_without_video_is_in_no_fold_of_faces(shipped, copy):
    found = folds(Plan.read(shipped | copy(3, [1, 3])))
    assert found["milmer", "loso"] == {"s01", "s03"}
    assert found["eeg_only", "loso"] == {"s01", "s02", "s03"}


def test_nothing_that_can_be_done_is_one_clear_line(shipped, copy):
    only = {"experiments": {"milmer": {}}}
    with pytest.raises(MilmerError, match=r"experiments: none can be run: .*no face video"):
        Plan.read(shipped | copy(2) | only)


def test_an_experiment_is_run_as_it_says_itself(shipped, copy):
    own = {"training": {"device": "cpu", "threads": 3, "checkpoint_minutes": 5}}
    plan = Plan.read(shipped | copy(2, [1, 2]) | {"experiments": {"milmer": {}, "own": own}})
    training = plan.training.options(SimpleNamespace(experiment="own"))
    assert (training.device, training.threads, training.checkpoint_minutes) == ("cpu", 3, 5)


def test_no_path_of_a_machine_is_among_the_options_of_a_stage(shipped, copy, tmp_path):
    (tmp_path / "swin").mkdir()
    user = shipped | copy(2, [1, 2])
    user["backbone"] = {"name": str(tmp_path / "swin"), "pretrain": {"images": str(tmp_path)}}
    user["faces"] = {"detector_model": str(tmp_path / "yunet.onnx")}
    config = Plan.read(user).config
    options = config.tokens_json("default", "default") + config.faces_json("default")
    options += config.pretrain_json("default")
    assert not re.search(re.escape(str(tmp_path)), options)


def test_a_pretrained_backbone_takes_the_place_of_the_configured_one(shipped, copy, tmp_path):
    for name in ("swin/config.json", "swin/model.safetensors", "faces/happy/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pretrain = {"images": str(tmp_path / "faces")}
    user = shipped | copy(2, [1, 2])
    user["backbone"] = {"name": str(tmp_path / "swin"), "pretrain": pretrain}
    user["variants"] = {"backbone": {"plain": {"pretrain": {"images": None}}}}
    plan = Plan.read(user)
    fer, plain = "default", "plain"
    assert str(plan.data.backbone_name(fer)) == "results/backbones/default"
    assert "results/backbones/default/model.safetensors" in plan.data.pretrained_files(fer)
    assert plan.data.own_files(fer) == plan.data.pretrained_files(plain) == []
    assert str(plan.data.backbone_name(plain)) == str(tmp_path / "swin")
    assert plan.data.own_files(plain) == plan.data.start_files(fer) != []


def test_a_backbone_that_is_trained_too_begins_from_the_pretrained_one(shipped, copy, tmp_path):
    (tmp_path / "faces").mkdir()
    user = shipped | copy(2, [1, 2]) | {"experiments": {"milmer": {}, "frozen": {"backbone": "f"}}}
    user["backbone"] = {"finetune": True, "pretrain": {"images": str(tmp_path / "faces")}}
    user["variants"] = {"backbone": {"f": {"finetune": False}}}
    plan = Plan.read(user)
    trained, frozen = (
        SimpleNamespace(experiment=name, protocol="trial", fold="s01-k0")
        for name in ("milmer", "frozen")
    )
    assert str(plan.training.arguments(trained)).endswith(" --backbone results/backbones/default")
    assert "results/backbones/default/model.safetensors" in plan.training.pretrained_files(trained)
    assert plan.training.own_files(trained) == []
    assert (plan.training.faces(trained), plan.training.tokens(trained)) == (
        ["results/faces/default/s01.h5"],
        [],
    )
    assert "--backbone" not in str(plan.training.arguments(frozen))
    assert plan.training.pretrained_files(frozen) == plan.training.own_files(frozen) == []
    assert plan.training.tokens(frozen) == ["results/tokens/default/f/s01.h5"]
    assert "finetune" in plan.training.train_json("milmer")
    assert "finetune" not in plan.training.train_json("frozen")
    assert plan.training.memory(trained) > plan.training.memory(frozen)


def test_pictures_that_are_added_or_of_another_size_are_others(shipped, copy, tmp_path):
    picture = tmp_path / "faces/happy/1.png"
    picture.parent.mkdir(parents=True)

    def digest(content, name="1.png", folder="faces"):
        picture.with_name(name).write_bytes(content)
        user = shipped | copy(2, [1, 2])
        user["backbone"] = {"pretrain": {"images": f"{tmp_path}/{folder}"}}
        _listing.cache_clear()  # as a new process would find it
        return Plan.read(user).data.pictures(SimpleNamespace(backbone="default"))

    first = digest(b"1")
    assert digest(b"1", folder="faces/") == first
    assert len({first, digest(b"12"), digest(b"12", "2.png")}) == 3


def test_a_folder_of_pictures_that_is_not_there_is_told_at_once(shipped, copy):
    user = shipped | copy(2, [1, 2])
    user["backbone"] = {"pretrain": {"images": "nowhere"}}
    with pytest.raises(MilmerError, match=r"backbone.pretrain.images: no such folder: nowhere"):
        Plan.read(user | {"experiments": {"milmer": {}}})
    assert Plan.read(user | {"experiments": {"eeg": EEG_ONLY}})  # looks at no faces


@pytest.fixture
def continued(shipped, copy):
    """Subjects who go on from the fold of loso that tests them; errors of another start."""

    def plan(init="results/runs/milmer/loso/{subject}/seed{seed}", protocol="trial"):
        personal = {"training": {"init": init}, "protocols": [protocol]}
        experiments = {"milmer": EEG_ONLY, "personal": personal | EEG_ONLY}
        protocols = {"folds": 2, "seed": 3, "names": ["loso", "trial", "stimulus"]}
        return Plan.read(copy(2) | {"experiments": experiments, "protocols": protocols})

    return plan


def test_a_run_that_continues_from_another_waits_for_it(continued):
    plan = continued()
    training, run = plan.training, of("personal", fold="s02-k1", seed="3")
    folder = "results/runs/milmer/loso/s02/seed3/model"
    names = ("config.json", "milmer_processor.json", "model.safetensors")
    assert training.init_files(run, made_here=True) == [f"{folder}/{name}" for name in names]
    assert training.init_files(run, made_here=False) == []
    assert f"--init {folder}" in str(training.arguments(run))
    assert json.loads(training.train_json("personal"))["training"]["init"] == "a local directory"
    assert training.init_files(of("milmer", seed="3"), made_here=True) == []
    assert "--init" not in str(training.arguments(of("milmer", seed="3")))
    require_ready(plan)


def test_a_model_of_elsewhere_counts_by_its_content(continued, tmp_path):
    (tmp_path / "theirs/model").mkdir(parents=True)
    (tmp_path / "theirs/model/config.json").touch()
    plan = continued(str(tmp_path / "theirs"))
    run = of("personal", fold="s01-k0", seed="3")
    place = tmp_path / "theirs/model"
    assert plan.training.init_files(run, made_here=False) == [f"{place}/config.json"]
    assert plan.training.init_files(run, made_here=True) == []
    assert str(tmp_path) not in plan.training.train_json("personal")


@pytest.mark.parametrize(
    ("init", "protocol", "said"),
    [
        ("nowhere", "trial", "training.init: no such folder: nowhere"),
        ("results/runs/milmer/loso/s09/seed3", "trial", "s09/seed3 is no run of another"),
        ("results/runs/personal/trial/s01-k0/seed3", "trial", "is no run of another"),
        ("results/runs/milmer/loso/{subject}/seed3", "stimulus", "cannot be filled in for stimul"),
        ("results/runs/{experiment}/loso/s01/seed3", "trial", "cannot be filled in for trial"),
        ("results/{", "trial", "cannot be filled in"),
    ],
)
def test_a_start_that_is_not_there_is_one_line_before_any_job(continued, init, protocol, said):
    with pytest.raises(MilmerError) as error:
        require_ready(continued(init, protocol))
    assert said in str(error.value)
    assert str(error.value).startswith("experiments.personal: training.init")


def test_the_published_preset_for_an_experiment_brings_its_protocol(shipped, copy):
    user = shipped | copy(2, [1, 2]) | {"experiments": {"mine": {"preset": "published"}}}
    assert set(folds(Plan.read(user))) == {("mine", "segment")}


def test_the_published_preset_as_a_whole(shipped, copy):
    user = shipped | copy(2, [1, 2]) | {"experiments": {"mine": {}}, "preset": "published"}
    plan = Plan.read(user)
    assert set(folds(plan)) == {("mine", "segment")}
    assert '"layout":"as_published"' in plan.config.segments_json("default")


def test_duplicate_recordings_are_refused(shipped, copy, tmp_path):
    user = shipped | copy(1)
    shutil.copytree(tmp_path / "data_preprocessed_python", tmp_path / "again")
    with pytest.raises(MilmerError, match=r"keep one of them"):
        Plan.read(user)


def test_the_published_layout_is_left_out_where_recordings_are_original(shipped, copy, tmp_path):
    user = shipped | copy(1, [1])
    (tmp_path / "data_original").mkdir()
    (tmp_path / "data_preprocessed_python/s01.dat").rename(tmp_path / "data_original/s01.bdf")
    plan = Plan.read(user)
    assert plan.dataset.trials_json("s01") == '{"source": "bdf"}'
    assert "published_frozen" not in {experiment for experiment, _ in folds(plan)}
    assert any("experiments.published_frozen is left out: eeg.layout" in w for w in plan.warnings)


def test_there_are_the_baselines_of_what_experiments_look_at(shipped, copy):
    """One job for all of a protocol, with the inputs of the experiments that were run under it."""
    experiments = {
        "milmer": {},
        "raw": {"eeg": "as_published", "model": {"modalities": ["eeg"]}, "protocols": ["trial"]},
        "control": {"labels": "permuted", "protocols": ["trial"], **EEG_ONLY},
    }
    plan = Plan.read(shipped | copy(3, [1, 2]) | {"experiments": experiments})
    names = ["band_power", "band_power_lda", "tangent_space_lda", "mean_token_lda", "stacked_lda"]
    jobs = [("default", "trial"), ("default", "loso"), ("permuted", "trial")]
    assert plan.results.baselines() == [
        f"results/baselines/{name}/{labels}/{protocol}.parquet"
        for labels, protocol in jobs
        for name in names
    ]
    both = ["default", "default/default"]
    inputs = {"milmer": both, "raw": ["as_published", ""], "control": ["default", ""]}
    tables = json.loads(plan.results.tables_json())
    assert {name: about["inputs"] for name, about in tables["experiments"].items()} == inputs
    used = {jobs[0]: [both, inputs["raw"]], jobs[1]: [both], jobs[2]: [["default", ""]]}
    for (labels, protocol), seen in used.items():
        wildcards = SimpleNamespace(labels=labels, protocol=protocol)
        options = json.loads(plan.results.baseline_json(wildcards))
        folds = plan.experiments.folds_by_labels()[labels][protocol]
        assert options == {"folds": folds, "names": names, "inputs": seen}
        read = plan.results.baseline_inputs(wildcards)
        assert read["splits"] == [paths.split(labels, protocol, fold) for fold in folds]
        # The third subject has no video.
        tokens = ["results/tokens/default/default/s01.h5", "results/tokens/default/default/s02.h5"]
        assert read["tokens"] == (tokens if both in seen else [])
        assert read["segments"] == [
            f"results/segments/{eeg}/s0{i}.h5" for eeg, _ in seen for i in (1, 2, 3)
        ]
        trials = [f"results/trials/s0{i}.parquet" for i in (1, 2, 3)]
        assert plan.results.control_inputs(wildcards) == read | {"trials": trials}


def test_an_experiment_that_trains_its_backbone_is_compared_on_tokens_of_another(shipped, copy):
    experiments = {"tuned": {"preset": "published"}, "milmer": {"protocols": ["trial"]}}
    plan = Plan.read(shipped | copy(2, [1, 2]) | {"experiments": experiments})
    tables = json.loads(plan.results.tables_json())["experiments"]
    assert tables["tuned"]["inputs"] == ["as_published", "default/default"]
    alone = Plan.read(shipped | copy(2, [1, 2]) | {"experiments": {"tuned": experiments["tuned"]}})
    tables = json.loads(alone.results.tables_json())["experiments"]
    assert tables["tuned"]["inputs"] == ["as_published", ""]
    names = ["band_power", "band_power_lda", "tangent_space_lda"]
    assert alone.results.baseline_names() == names


def test_what_a_model_goes_by_is_told_of_honest_runs_alone(shipped, copy):
    user = shipped | copy(2, [1, 2])
    user["protocols"] = {"names": ["segment", "loso"]}
    user["experiments"] = {
        "milmer": {},
        "control": {"labels": "permuted"},
        "upper": {"training": {"select": "best_on_test"}},
    }
    told = Plan.read(user).results.explanations()
    assert told == [f"results/explanations/milmer/loso/s0{i}/seed0.h5" for i in (1, 2)]
    assert Plan.read(user | {"report": {"explain": 0}}).results.explanations() == []


# ------------------------------------------------- an uneven configuration, by value


@pytest.fixture
def uneven(shipped, copy):
    """Three subjects, of whom the first has no video; two repeats; variants of everything."""
    user = shipped | copy(3, [2, 3])
    user["protocols"] = {"names": ["loso", "trial"], "folds": 2, "seed": 5, "repeats": 2}
    user["protocols"] |= {"validation": 0.3}
    user["labels"] = {"scheme": "valence"}
    user["training"] = {"epochs": 7, "jobs_per_gpu": 3}
    user["report"] = {"explain": 9, "resamples": 300, "seed": 4}
    user["variants"] = {
        "labels": {"high": {"scheme": "arousal", "threshold": 6}},
        "eeg": {"wide": {"band": [2, 40]}, "unused": {"band": [3, 30]}},
        "faces": {"few": {"instances": 6}, "idle": {"instances": 5}},
        "backbone": {"big": {"name": "some/swin"}},
    }
    user["experiments"] = {
        "eeg_only": {"model": {"modalities": ["eeg"]}, "eeg": "wide", "faces": "idle"},
        "both": {
            **{"labels": "high", "faces": "few", "backbone": "big", "protocols": ["trial"]},
            "training": {"lr": 0.5, "threads": 3, "epochs": 3, "checkpoint_minutes": 8},
        },
        "face_only": {"model": {"modalities": ["face"]}, "protocols": ["loso"]},
        "last": {"validation": 0, "training": {"select": "best_on_test"}, "labels": "permuted"},
    }
    return Plan.read(user)


def of(experiment, protocol="trial", fold="s02-k1", **more):
    return SimpleNamespace(experiment=experiment, protocol=protocol, fold=fold, **more)


LOSO = ["s01", "s02", "s03"]
FILMED = ["s02-k0", "s02-k1", "s03-k0", "s03-k1"]


def test_each_run_has_its_fold_and_seed(uneven):
    experiments = uneven.experiments
    assert experiments.seeds == [5, 6]
    assert experiments.folds("eeg_only") == {"loso": LOSO, "trial": ["s01-k0", "s01-k1", *FILMED]}
    assert experiments.folds("both") == {"trial": FILMED}
    assert [tuple(run) for run in experiments.runs("both")] == [
        ("both", "trial", fold, seed) for fold in FILMED for seed in (5, 6)
    ]
    assert [run.unit for run in experiments.runs("face_only")] == [
        f"{fold}/seed{seed}" for fold in ("s02", "s03") for seed in (5, 6)
    ]
    assert experiments.folds_by_labels() == {
        "default": {"loso": LOSO, "trial": ["s01-k0", "s01-k1", *FILMED]},
        "high": {"trial": FILMED},
        "permuted": {"loso": ["s02", "s03"], "trial": FILMED},
    }
    assert len(experiments.all_runs()) == len(set(experiments.all_runs())) == 2 * (9 + 4 + 2 + 6)
    assert experiments.eeg_variants() == ["wide", "default"]
    assert experiments.faces_variants() == ["few", "default"]


def test_the_files_of_a_run_are_those_of_its_variants_and_subjects(uneven):
    training = uneven.training
    assert training.inputs(of("both")) == {
        "split": "results/splits/high/trial/s02-k1.parquet",
        "segments": ["results/segments/default/s02.h5"],
        "tokens": ["results/tokens/few/big/s02.h5"],
        "faces": [],
    }
    assert training.inputs(of("eeg_only", "loso", "s02")) == {
        "split": "results/splits/default/loso/s02.parquet",
        "segments": [f"results/segments/wide/{s}.h5" for s in LOSO],
        "tokens": [],
        "faces": [],
    }
    assert training.inputs(of("face_only", "loso", "s02"))["tokens"] == [
        f"results/tokens/default/default/{s}.h5" for s in ("s02", "s03")
    ]
    assert training.inputs(of("face_only", "loso", "s02"))["segments"] == []


def test_a_split_has_the_labels_of_its_variant_and_the_seed(uneven):
    def split(labels, protocol):
        return json.loads(uneven.training.split_json(of("both", protocol, labels=labels)))

    high, default = split("high", "trial"), split("default", "loso")
    assert (high["labels"]["scheme"], high["labels"]["threshold"]) == ("arousal", 6)
    assert default["labels"]["scheme"] == "valence"
    assert (high["seed"], high["validation"], high["folds"]) == (5, 0.3, 2)
    assert (default["seed"], default["validation"], default.get("folds", 5)) == (5, 0.3, 5)
    assert split("permuted", "trial")["labels"]["permuted"] is True


def test_options_that_a_shell_would_not_take_are_in_a_file_named_by_what_it_holds(
    tmp_path, monkeypatch, inside
):
    (tmp_path / ".snakemake").mkdir()
    monkeypatch.chdir(tmp_path)
    short, one, other = (f'{{"a":"{text}"}}' for text in ("x", "x" * 140_000, "y" * 140_000))
    assert as_argument(short) == short
    names = [as_argument(text) for text in (one, other, one)]
    assert names[0] == names[2] != names[1]
    assert [Path(name).read_text() for name in names] == [one, other, one]
    status, _, said = inside("tables", "runs", "out", "--options", names[0])
    assert (status, "options: a: unknown key" in said) == (1, True)


def test_the_options_of_training_are_those_of_the_experiment(uneven):
    def trained(name):
        return json.loads(uneven.training.train_json(name))

    assert set(trained("both")) == {"model", "training", "validation"}
    assert (trained("both")["training"]["lr"], trained("both")["training"]["epochs"]) == (0.5, 3)
    assert trained("eeg_only")["training"]["epochs"] == 7
    assert [trained(name)["validation"] for name in ("both", "last")] == [True, False]
    assert trained("last")["training"]["select"] == "best_on_test"
    assert trained("eeg_only")["model"]["modalities"] == ["eeg"]
    # What changes no result is none of them.
    assert trained("both")["training"]["threads"] == 3  # sums in another order are other numbers
    assert not {"checkpoint_minutes", "device", "jobs_per_gpu"} & set(trained("both")["training"])
    assert str(uneven.training.arguments(of("both"))) == (
        "--device auto --jobs-per-gpu 3 --checkpoint-minutes 8.0"
    )


def gpus(training, on_cluster=False):
    devices = ("cpu", "auto", "cuda", "cuda:1")
    return [training.gpu_resources(device, on_cluster)["gpu"] for device in devices]


@pytest.mark.parametrize("on_login_node", [[], ["a"]])
def test_a_clusters_job_asks_for_a_gpu_in_the_words_of_the_site(uneven, monkeypatch, on_login_node):
    training = uneven.training
    monkeypatch.setattr("milmer.plan.training.visible_gpus", lambda: on_login_node)
    for name in ("PARTITION", "GRES", "MODEL"):
        monkeypatch.delenv(f"MILMER_GPU_{name}", raising=False)
    monkeypatch.setenv("SBATCH_PARTITION", "long")
    assert training.gpu_resource_names == ["gpu"]
    assert gpus(training, on_cluster=True) == [0, 1, 1, 1]
    monkeypatch.setenv("MILMER_GPU_PARTITION", "gpus")
    monkeypatch.setenv("MILMER_GPU_MODEL", "a100")
    assert training.gpu_resource_names == ["gpu", "slurm_partition", "gpu_model"]
    asked = {"gpu": 1, "slurm_partition": "gpus", "gres": None, "gpu_model": "a100"}
    assert training.gpu_resources("auto", True) == asked
    assert training.gpu_resources("cpu", True) == {"gpu": 0, "slurm_partition": "long"}
    assert training.gpu_resources("cuda", False) == {"gpu": 1, "slurm_partition": None}
    monkeypatch.setenv("MILMER_GPU_GRES", "gpu:a100:1")
    monkeypatch.delenv("MILMER_GPU_MODEL")
    asked = {"gpu": 0, "slurm_partition": "gpus", "gres": "gpu:a100:1", "gpu_model": None}
    assert training.gpu_resources("cuda:1", True) == asked


def test_what_a_job_asks_for(uneven, monkeypatch):
    training, installed = uneven.training, []
    monkeypatch.setattr("milmer.plan.training.visible_gpus", lambda: installed)
    assert gpus(training) == [0, 0, 1, 1]
    assert training.gpu_places == 0
    installed += ["a", "b"]
    assert gpus(training) == [0, 1, 1, 1]
    assert training.gpu_places == 6
    assert str(training.device("cpu")) == "--device cpu --jobs-per-gpu 3"
    assert training.memory(of("both")) == 4000
    assert training.group(of("both")) == "small_folds"
    assert training.group(of("eeg_only", "loso", "s02")) is None
    protocols = {"segment", "trial", "session", "stimulus", "loso"}
    assert set(training.protocol_pattern.split("|")) == protocols
    for fold in ("s03", "s03-k12", "k4"):
        assert re.fullmatch(training.fold_pattern, fold)
    assert not re.fullmatch(training.fold_pattern, "s03-k")


def test_the_tables_read_all_seeds_and_each_experiments_labels(uneven):
    tables = json.loads(uneven.results.tables_json())
    assert tables["seeds"] == [5, 6]
    assert (tables["report"]["resamples"], tables["report"]["seed"]) == (300, 4)
    labels = {name: experiment["labels"] for name, experiment in tables["experiments"].items()}
    assert labels == {
        **{"eeg_only": "default", "both": "high", "face_only": "default", "last": "permuted"}
    }
    assert tables["experiments"]["both"]["folds"] == {"trial": FILMED}
    changes = tables["experiments"]["both"]["changes"]
    assert changes["training"] == {"checkpoint_minutes": 8, "epochs": 3, "lr": 0.5, "threads": 3}
    assert list(changes["training"]) == sorted(changes["training"])
    readable = {
        f"{t}.{k}" for t in ("summary", "inflation", "ablation", "tests") for k in ("md", "tex")
    }
    names = {path.removeprefix("results/tables/") for path in uneven.results.tables()}
    assert readable | {"conclusions.md", "calibration.csv", "folds.parquet"} <= names


def test_evaluating_reads_all_runs_of_an_experiment_under_a_protocol(uneven):
    results = uneven.results
    assert results.evaluated_files(of("face_only", "loso")) == [
        f"results/runs/face_only/loso/{fold}/seed{seed}/{table}.parquet"
        for fold in ("s02", "s03")
        for seed in (5, 6)
        for table in ("predictions", "validation", "history")
    ]
    options = json.loads(results.evaluate_json(of("both")))
    assert (options["folds"], options["seeds"]) == (FILMED, [5, 6])
    assert results.evaluations() == [
        f"results/runs/{name}/evaluation.parquet"
        for name in ("eeg_only/loso", "eeg_only/trial", "both/trial", "face_only/loso", "last/loso")
    ] + ["results/runs/last/trial/evaluation.parquet"]


def test_explanations_are_of_honest_runs_with_all_seeds(uneven):
    results = uneven.results
    explained = {run[:2] for run in results.explained_runs()}
    assert explained == {
        *(("eeg_only", "loso"), ("eeg_only", "trial"), ("both", "trial"), ("face_only", "loso"))
    }
    assert "results/explanations/both/trial/s03-k1/seed6.h5" in results.explanations()
    assert json.loads(results.explain_json(of("both"))) == {"segments": 9, "threads": 3}


def test_the_report_reads_the_data_of_the_variants_in_use(uneven):
    report = json.loads(uneven.results.report_json())
    variants = {n: (e["eeg"], e["faces"]) for n, e in report["experiments"].items()}
    assert variants == {
        "eeg_only": ("wide", None),
        "both": ("default", "few"),
        "face_only": (None, "default"),
        "last": ("default", "default"),
    }
    assert (report["seeds"], report["subjects"], report["source"]) == ([5, 6], LOSO, "dat")
    assert report["report"]["resamples"] == 300
    inputs = uneven.results.report_inputs()
    data = [p for p in inputs if not p.startswith(("results/runs/", "results/explanations/"))]
    assert data == [
        *(f"results/trials/{s}.parquet" for s in LOSO),
        *(f"results/segments/{v}/{s}.h5" for v in ("wide", "default") for s in LOSO),
        *(f"results/faces/{v}/{s}.h5" for v in ("few", "default") for s in ("s02", "s03")),
    ]
    runs = {path for path in inputs if path.startswith("results/runs/")}
    of_runs = {p for p in runs if p.endswith(("predictions.parquet", "history.parquet"))}
    assert len(of_runs) == 2 * len(uneven.experiments.all_runs())
    assert runs - of_runs == set(uneven.results.evaluations())


def test_the_page_is_made_anew_where_any_of_its_files_changes(tmp_path, monkeypatch):
    names = ("a/style.css", "a/page.html", "b/page.html", "b/page.js")
    for name in ("a/__init__.py", "b/__init__.py", *names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for part, folder in (("drawing", "a"), ("report", "b")):
        package = SimpleNamespace(__file__=str(tmp_path / folder / "__init__.py"))
        monkeypatch.setattr(f"milmer.plan.results.{part}", package)
    digests = [ResultsPlan.page_files()]
    for name in names:
        (tmp_path / name).write_text(f"{name} edited")
        digests.append(ResultsPlan.page_files())
    (tmp_path / "a/__init__.py").write_text("code has its own fingerprint")
    assert len(set(digests)) == 5
    assert ResultsPlan.page_files() == digests[-1]


def test_a_complete_run_makes_each_of_these(uneven):
    targets = list(uneven.targets())
    counts = Counter(stage for stage, _, _ in targets)
    assert counts == {
        "trials": 3,
        **{"segments default": 3, "segments wide": 3, "faces few": 2, "faces default": 2},
        **{"tokens few big": 2, "tokens default default": 2},
        **{"split default loso": 3, "split default trial": 6, "split high trial": 4},
        **{"split permuted loso": 2, "split permuted trial": 4},
        **{"train eeg_only loso": 6, "train eeg_only trial": 12, "train both trial": 8},
        **{"train face_only loso": 4, "train last loso": 4, "train last trial": 8},
        **{"evaluate eeg_only": 2, "evaluate both": 1, "evaluate face_only": 1, "evaluate last": 2},
        **{"explain eeg_only loso": 6, "explain eeg_only trial": 12, "explain both trial": 8},
        "explain face_only loso": 4,
        **{"baseline default": 2, "baseline high": 1, "baseline permuted": 2},
        **{"controls default": 2, "controls high": 1},  # none of labels that are permuted
        **{"tables": 1, "report": 1},
    }
    assert ("train both trial", "s03-k0/seed6", paths.run("both", "trial", "s03-k0", 6)
            + "/predictions.parquet") in targets  # fmt: skip


def test_arguments_of_files_are_quoted(uneven):
    inputs = SimpleNamespace(segments=["a b.h5", "c.h5"], tokens=[], split=["s"])
    assert uneven.file_arguments(inputs, "segments", "tokens") == (
        "--segments 'a b.h5' --segments c.h5"
    )


def test_the_paths_of_the_plan_are_the_patterns_of_the_rules():
    """Each path, with its arguments as wildcards, is an output of a rule, or a folder of some."""
    rules = "".join(file.read_text() for file in sorted((REPOSITORY / "rules").glob("*.smk")))
    names = {"variant": "faces"}
    for function in (f for f in vars(paths).values() if inspect.isfunction(f)):
        arguments = inspect.signature(function).parameters
        wildcards = [f"{{{names.get(argument, argument)}}}" for argument in arguments]
        if function is paths.backbone:
            wildcards = ["{backbone}"]
        assert f'"{function(*wildcards)}' in rules, function


def test_a_brace_in_the_working_directory_is_refused_at_once(shipped, copy, tmp_path, monkeypatch):
    user = shipped | copy(2, [1, 2])
    (tmp_path / "in{side}").mkdir()
    monkeypatch.chdir(tmp_path / "in{side}")
    with pytest.raises(MilmerError, match=r"^the working directory: .*in\{side\} holds a brace"):
        Plan.read(user)


def test_a_header_that_names_another_folder_is_refused_before_any_job(shipped, tmp_path, hostile):
    rows = f"subject,trial,stimulus,eeg_file,label\np,1,a,{hostile}/inside/elsewhere.vhdr,x\n"
    (tmp_path / "m.csv").write_text(f"{rows}p,2,a,,y\n")
    manifest = {"kind": "manifest", "manifest": str(tmp_path / "m.csv")}
    with pytest.raises(MilmerError, match=r"elsewhere.vhdr: names '../secret.bin'"):
        require_ready(Plan.read(shipped | {"dataset": manifest, "labels": {"scheme": "label"}}))
