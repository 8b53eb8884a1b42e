"""What a recording is, whoever recorded it: subjects, trials, segments, labels."""
