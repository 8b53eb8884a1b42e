"""What a dataset and a configuration will do, before they do it."""
