"""The table of the stage ``trials``."""

from milmer.contracts.tables import Table

TRIALS = Table(
    "trials",
    {
        **{"subject": "text", "session": "text?", "trial": "integer", "trial_name": "text"},
        **{"experiment_id": "integer", "group": "text?"},
        **{"eeg_file": "text?", "eeg_digest": "text?"},
        **dict.fromkeys(("eeg_start", "eeg_seconds", "eeg_stop"), "measure?"),
        **{"video_file": "text?", "video_digest": "text?"},
        **dict.fromkeys(("video_start", "video_stop"), "measure?"),
    },
    optional={  # those of some datasets
        **dict.fromkeys(("valence", "arousal", "dominance", "liking", "familiarity"), "measure?"),
        "video_rate": "measure?",
        **dict.fromkeys(("video_times", "stimulus", "face"), "text?"),
    },
    key=("subject", "trial"),
)
