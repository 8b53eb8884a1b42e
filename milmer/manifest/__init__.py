"""A lab's own recordings, described by a table of one row a trial: the manifest."""
