"""What the files between stages hold: the arrays, columns and facts that readers count on.

A file that was tampered with may carry this package's mark and lack any of them, or hold them as
something else. :mod:`milmer.storage` compares a file with the contract that its reader names, so
that no code after it has to. A module a kind of file: an edit reruns what writes or reads it.
"""
