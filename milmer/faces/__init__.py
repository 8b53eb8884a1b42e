"""Faces: from face video to bags of face crops."""
