"""What readers of a number should know: labels of doubt, in the same words wherever it stands."""

from milmer.splits.protocols import PROTOCOLS


def caveat(*, leaky: bool, select: str = "", permuted: bool = False) -> str:
    """Why a number says nothing about new data; empty where it does."""
    reasons = {
        "leaky": leaky,
        "chosen on the test part": select == "best_on_test",
        "permuted": permuted,
    }
    return "; ".join(text for text, applies in reasons.items() if applies)


def note(protocol: str) -> str:
    """What else there is to know about a number."""
    return "folds are dependent" if PROTOCOLS[protocol].leaves_subject_out else ""
