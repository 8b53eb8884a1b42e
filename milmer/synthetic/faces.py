"""The twin's faces: clips of a swaying face that shows the class in some of its frames."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from milmer.synthetic.options import FACE, FRAMES, PERIOD, PRINT, TwinOptions, generator

_SLOTS = 10  # of a bag: each is entirely neutral or shows the class
_CANVAS = 288  # height in px at which frames are drawn; the encoder's scaler does the rest
_EYES, _BROWS = ((83, 100), (127, 102)), ((83, 89), (128, 92))  # px of the face picture
_CORNERS, _MOUTH, _CHEEKS = ((83, 142), (123, 142)), (103, 147), ((77, 128), (130, 128))


def film(path: Path, options: TwinOptions, subject: int, experiment_id: int, label: int) -> dict:
    """Write a trial's clip; return its truth: number of frames, informative and faceless runs."""
    import av

    size = _CANVAS * options.width // options.height // 2 * 2, _CANVAS
    frames = round((options.seconds - options.video_missing) * options.fps)
    rng = generator(options, subject, experiment_id, FRAMES)
    shows, hidden = _plan(rng, options, frames)
    neutral, telling = _faces(options, subject, experiment_id, label)
    # a plain ground: YuNet takes even a hand in front of the face for a face
    away = np.broadcast_to(neutral[:1, :1], neutral.shape)
    moves, light = _sway(rng, frames, options.fps)
    hold = max(1, round(options.fps / 12.5))
    grow = 1.1 + 0.08 * generator(options, subject, 0, FACE).uniform(-1, 1)

    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=options.fps)
        stream.width, stream.height, stream.pix_fmt = options.width, options.height, "yuv420p"
        # one thread: the number of threads changes the bytes
        stream.options = {"preset": "ultrafast", "crf": "20", "threads": "1", "g": str(options.fps)}
        stream.thread_count = 1
        for i in range(frames):
            # drawing takes the time, so only at 12.5 Hz and where the face changes
            if i % hold == 0 or shows[i] != shows[i - 1] or hidden[i] != hidden[i - 1]:
                face = away if hidden[i] else telling if shows[i] else neutral
                planes = _picture(face, moves[i], light[i], size, grow)
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame = frame.reformat(options.width, options.height, interpolation="BILINEAR")
            frame.pts, frame.time_base = i, Fraction(1, options.fps)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return {"frames": frames, "informative": _runs(shows), "faceless": _runs(hidden)}


def _picture(
    face: np.ndarray, moves: np.ndarray, light: np.ndarray, size: tuple[int, int], grow: float
) -> np.ndarray:
    """The face on its ground, moved and lit: YUV 4:2:0 planes of a picture of ``size`` in px."""
    import cv2

    dx, dy, turn, zoom = moves
    strength, side, warmth = light
    centre = face.shape[1] / 2, face.shape[0] / 2
    matrix = cv2.getRotationMatrix2D(centre, 6 * turn, grow * (1 + 0.05 * zoom))
    matrix[:, 2] += np.array(size) / 2 - centre + 0.03 * _CANVAS * np.array([dx, dy])
    picture = cv2.warpAffine(face, matrix, size, borderValue=tuple(map(float, face[0, 0])))
    ramp = 1 + 0.15 * side * np.linspace(-1, 1, size[0])[:, None]
    colour = (1 + 0.15 * strength) * (1 + 0.04 * warmth * np.array([1, 0, -1]))
    lit = np.broadcast_to((ramp * colour).astype(np.float32), (size[1], size[0], 3))
    picture = cv2.multiply(picture, np.ascontiguousarray(lit), dtype=cv2.CV_8U)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)


def _plan(
    rng: np.random.Generator, options: TwinOptions, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which frames show the class, and which have no face; bool (frame,) each.

    Ten slots to each 3 s: evenly spaced frames of a bag fall into slots of their own, so that
    each bag has its share of both.
    """
    bags = int(np.ceil(options.seconds / PERIOD))
    wanted = options.informative * _SLOTS + rng.random(bags)  # rounded up or down by chance
    order = rng.permuted(np.tile(np.arange(_SLOTS), (bags, 1)), axis=1)
    shows = (order < np.floor(wanted)[:, None]).ravel()
    hidden = np.zeros(len(shows), bool)  # in stretches of two slots
    pairs = len(shows) // 2
    count = int(options.faceless * pairs + rng.random())
    for pair in rng.permutation(pairs)[:count]:
        hidden[2 * pair : 2 * pair + 2] = True
    slot = (np.arange(frames) / options.fps * _SLOTS / PERIOD + 1e-9).astype(int)
    return shows[slot] & ~hidden[slot], hidden[slot]


def _sway(rng: np.random.Generator, frames: int, fps: int) -> tuple[np.ndarray, np.ndarray]:
    """Slow random courses within ±1: moves (frame, 4) and light (frame, 3)."""
    t = np.arange(frames)[:, None, None] / fps
    rate, phase = rng.uniform(0.05, 0.5, (7, 3)), rng.uniform(0, 2 * np.pi, (7, 3))
    course = np.sin(2 * np.pi * rate * t + phase).mean(2)  # (frame, 7)
    return course[:, :4], course[:, 4:]


def _faces(options: TwinOptions, subject: int, experiment_id: int, label: int) -> tuple:
    """The subject's face in a trial, neutral and showing the class, on a plain ground.

    uint8 (210, 210, 3) each.
    """
    import cv2
    from skimage.data import astronaut

    face = astronaut()[0:210, 120:330].astype(np.float32)
    rng = generator(options, subject, 0, FACE)
    face *= rng.uniform(0.92, 1.08, 3).astype(np.float32)  # the subject's complexion
    y, x = np.mgrid[0:210, 0:210].astype(np.float32)
    inside = 1 - np.hypot((x - 107) / 86, (y - 97) / 94)
    inside = np.clip(inside * 12, 0, 1)[..., None]
    ground = rng.uniform(150, 190) * np.array([0.96, 1, 1.04])

    grid = generator(options, subject, experiment_id, PRINT).standard_normal((6, 6, 3))
    grid -= grid @ [[0.299], [0.587], [0.114]]  # colour alone: the detectors see grey
    patches = cv2.resize(grid, (210, 210), interpolation=cv2.INTER_CUBIC)
    patches = 1 + 0.27 * options.fingerprint * patches

    def finish(picture: np.ndarray) -> np.ndarray:
        blended = picture * patches * inside + ground * (1 - inside)
        return np.clip(blended.round(), 0, 255).astype(np.uint8)

    return finish(face), finish(_express(face, x, y, label, options.face_signal))


def _express(
    face: np.ndarray, x: np.ndarray, y: np.ndarray, label: int, strength: float
) -> np.ndarray:
    """The face with the expression of a class: warps of mouth and eyes, and the shade with them."""
    import cv2

    def spot(centre: tuple[int, int], width: float, height: float | None = None) -> np.ndarray:
        dx, dy = (x - centre[0]) / width, (y - centre[1]) / (height or width)
        return np.exp(-(dx**2 + dy**2) / 2)

    valence = strength * (1 if label in (0, 1) else -1)
    arousal = strength * (1 if label in (0, 3) else -1)
    from_x, from_y = x.copy(), y.copy()  # where each pixel's colour comes from
    for (corner_x, corner_y), side in zip(_CORNERS, (-1, 1), strict=True):
        near = spot((corner_x, corner_y), 9)
        from_y += 7 * valence * near
        from_x -= 3 * side * valence * near
    for eye, brow in zip(_EYES, _BROWS, strict=True):
        from_y += 5 * arousal * spot(brow, 12, 6)
        from_y -= 0.35 * arousal * (y - eye[1]) * spot(eye, 11, 7)
    warped = cv2.remap(face, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    flush = sum(spot(cheek, 14, 12) for cheek in _CHEEKS) + spot(_MOUTH, 16, 8)
    rings = sum(spot(eye, 16, 12) for eye in _EYES)
    shade = flush[..., None] * valence * np.array([0.14, -0.09, -0.09])
    shade = shade + rings[..., None] * arousal * np.array([0.0, 0.06, 0.16])
    return warped * (1 + shade.astype(np.float32))


def _runs(flags: np.ndarray) -> list[list[int]]:
    """The runs [start, stop) in which flags are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return edges.reshape(-1, 2).tolist()
