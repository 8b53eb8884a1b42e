"""The table of the stage ``trials``."""

from milmer.contracts.tables import Table

TRIALS = Table(
    "trials",
    {
        **{"subject": "text", "trial": "integer", "experiment_id": "integer"},
        **{"eeg_file": "text?", "eeg_seconds": "measure?", "video_file": "text?"},
    },
    optional={  # those of some datasets
        **dict.fromkeys(("valence", "arousal", "dominance", "liking", "familiarity"), "measure?"),
        **dict.fromkeys(("eeg_start", "video_start", "video_rate"), "measure?"),
        **dict.fromkeys(("video_times", "stimulus", "face"), "text?"),
        **dict.fromkeys(("session", "trial_name", "group"), "text?"),
        **{"eeg_digest": "text?", "eeg_stop": "measure?"},
        **{"video_digest": "text?", "video_stop": "measure?"},
    },
    key=("subject", "trial"),
)
