"""The Milmer model: scoring, selection, fusion and the transformer."""
