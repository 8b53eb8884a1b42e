"""What a recording is, of any origin: subjects, trials, segments, labels."""
