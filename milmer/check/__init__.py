"""What a copy of the data holds, said before the first run: facts, findings, needs, text."""
