"""A trained model on a new recording."""
