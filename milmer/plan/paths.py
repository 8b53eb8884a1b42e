"""Where results lie, relative to the working directory.

The rules spell the same paths as patterns; a test compares them.
"""

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""A regular expression that names of variants and experiments match."""


def trials(subject: str) -> str:
    """A subject's table of trials."""
    return f"results/trials/{subject}.parquet"


def segments(eeg: str, subject: str) -> str:
    """A subject's EEG segments."""
    return f"results/segments/{eeg}/{subject}.h5"


def faces(variant: str, subject: str) -> str:
    """A subject's face crops."""
    return f"results/faces/{variant}/{subject}.h5"


def tokens(variant: str, backbone: str, subject: str) -> str:
    """A subject's tokens."""
    return f"results/tokens/{variant}/{backbone}/{subject}.h5"


def backbone(variant: str) -> str:
    """The folder of a backbone that is pre-trained here."""
    return f"results/backbones/{variant}"


def split(labels: str, protocol: str, fold: str) -> str:
    """The split of a fold."""
    return f"results/splits/{labels}/{protocol}/{fold}.parquet"


def run(experiment: str, protocol: str, fold: str, seed: int) -> str:
    """The folder of a run."""
    return f"results/runs/{experiment}/{protocol}/{fold}/seed{seed}"


def evaluation(experiment: str, protocol: str) -> str:
    """The table that says that an experiment's runs under a protocol were evaluated."""
    return f"results/runs/{experiment}/{protocol}/evaluation.parquet"


def explanation(experiment: str, protocol: str, fold: str, seed: int) -> str:
    """What a run's model goes by."""
    return f"results/explanations/{experiment}/{protocol}/{fold}/seed{seed}.h5"


def baseline(baseline: str, labels: str, protocol: str) -> str:
    """A baseline's predictions under a protocol."""
    return f"results/baselines/{baseline}/{labels}/{protocol}.parquet"


def controls(labels: str, protocol: str) -> str:
    """What controls and priors reach under a protocol."""
    return f"results/controls/{labels}/{protocol}.parquet"


TABLES = "results/tables"
REPORT = "results/report/index.html"
