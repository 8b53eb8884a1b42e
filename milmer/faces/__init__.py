"""From face video to face crops."""
