"""Names of channels, as recorders write them and as the 10–05 system does.

``Fc5.`` of EDF files, ``EEG Fp1-REF`` and ``Fp1 - Ref`` are FC5 and Fp1; the old names T3, T4, T5
and T6 are T7, T8, P7 and P8 (Oostenveld & Praamstra 2001).
"""

import re
from collections.abc import Sequence

from milmer.readers.channels import placed_names

REFERENCES = ("A1", "A2", "M1", "M2")
"""Electrodes at the ears that EEG is referred to; TP9 and TP10 are of the scalp."""

_OLD = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_REFERENCE = re.compile(
    r"\s*[-_ ]\s*(ref\d?|v?ref|le|ler|re|ar|aa|avg|av|car|org|linked|[am][12]|[am]1\+?[am]2)$",
    re.I,
)
_MODALITY = re.compile(r"^(eeg|pol)[ \-_:.]+", re.I)
_BLANK = re.compile(r"(?<=[A-Za-z])[ _](?=\d+$)")
NOT_EEG = re.compile(
    r"eog|ecg|ekg|emg|gsr|eda|resp|temp|plet|ppg|spo2|sao2|pulse|status|trig|marker|event|annot|"
    r"acc|gyr|photo|^(exg|erg|aux|bip|dc|sti|ex)[ _-]?\d*$",
    re.I,
)
"""Names of what is recorded beside EEG."""

_OF_A_CAP = re.compile(r"(eeg[ _-]?)?[a-z]{0,2}[ _-]?\d{1,3}", re.I)  # A1 … H32, E128, EEG 001


def channel_name(label: str) -> str:
    """A channel's name as the 10–05 system writes it, else without the blanks around it."""
    places = placed_names()
    plain = label.strip()
    name = places.get(plain.lower()) or places.get(_key(plain).lower()) or plain
    return _OLD.get(name, name)


def file_names(labels: Sequence[str]) -> tuple[list[str], list[bool]]:
    """The name of each channel of a file, and whether it is a place of the 10–05 system.

    In a cap whose electrodes have numbers or letters of their own, A1 or F7 is no such place.
    """
    names = [channel_name(label) for label in labels]
    placed = [name in placed_names().values() for name in names]
    numbered = sum(
        not place and _OF_A_CAP.fullmatch(label.strip()) is not None and not NOT_EEG.search(label)
        for label, place in zip(labels, placed, strict=True)
    )
    sure = sum(p and n not in REFERENCES for n, p in zip(names, placed, strict=True))
    if numbered > sure:
        return [label.strip() for label in labels], [False] * len(labels)
    return names, placed


def _key(label: str) -> str:
    """A name without what recorders add: ``EEG`` before it, dots and the reference after it."""
    bare = _REFERENCE.sub("", _MODALITY.sub("", label).rstrip(". ")).strip()
    return _BLANK.sub("", bare)
