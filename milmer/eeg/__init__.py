"""EEG: from a subject's recording to clean, filtered segments."""
