"""Vision encoders: loading, tokens, pre-training."""
