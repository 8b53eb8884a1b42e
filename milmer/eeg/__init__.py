"""From a trial's EEG to filtered segments."""
