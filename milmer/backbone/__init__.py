"""The backbone: loading a vision encoder, encoding face crops as tokens, pre-training."""
