"""The file of the stage ``faces``."""

from milmer.contracts.arrays import GRID, Array, Arrays

FOUND = ("searched", "detected", "several", "tracks", "switches", "second_searches", "gaps")
"""What was found in a clip: milmer.faces.cropper.Found."""

FACES = Arrays(
    "faces",
    {
        "image": Array("jpeg", ("frame",)),
        "box": Array("float32", ("frame", "side")),
        "score": Array("float32", ("frame",)),
        "detected": Array("bool", ("frame",)),
        "faces_seen": Array("int32", ("frame",)),
        "track": Array("int32", ("frame",)),  # from 1 in each clip, 0 where the box is borrowed
        "time": Array("float32", ("frame",)),
        "bag": Array("int32", ("segment", "instance"), indexes="frame"),
        **GRID,
        **{f"clip_{name}": Array("int32", ("clip",)) for name in FOUND},
    },
)
