"""A lab's own recordings, described by a manifest: a table of one row a trial."""
