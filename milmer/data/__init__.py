"""What a recording is, whoever made it: subjects, trials, segments, labels."""
