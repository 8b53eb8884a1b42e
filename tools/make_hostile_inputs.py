#!/usr/bin/env python3
"""Write small files that a careless or hostile stranger could hand to the pipeline.

    python tools/make_hostile_inputs.py OUT

None does harm by itself. Each would crash a stage that trusts it, take gigabytes, or have it read
what it should not; OUT/README.md says what is right. Tests read all of them.
"""

import argparse
import json
import struct
import zlib
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS: list[tuple[str, str, str]] = []


def case(path: Path, what: str, right: str) -> None:
    """Note a case: its file, what is hostile in it, and what is right to do with it."""
    ROWS.append((path.name, what, right))


# Pickle opcodes, as far as these files need them.
def name(module: str, attribute: str) -> bytes:
    """Push a name of a module."""
    return b"c%s\n%s\n" % (module.encode(), attribute.encode())


def text(value: str) -> bytes:
    """Push a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    """Push a whole number."""
    return b"I%d\n" % value


def raw(value: bytes) -> bytes:
    """Push bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def group(*parts: bytes) -> bytes:
    """Push a tuple."""
    return b"(" + b"".join(parts) + b"t"


def dtype(spelling: str) -> bytes:
    """Push a dtype."""
    return name("numpy", "dtype") + group(text(spelling), number(0), number(1)) + b"R"


def object_dtype() -> bytes:
    """A dtype of Python objects whose state says that it holds none."""
    state = [number(3), text("|"), b"N", b"N", b"N", number(-1), number(-1), number(0)]
    return dtype("O8") + group(*state) + b"b"


def reconstructed(shape: bytes, kind: bytes, content: bytes) -> bytes:
    """Push an array as NumPy pickles it."""
    make = name("numpy._core.multiarray", "_reconstruct")
    empty = make + group(name("numpy", "ndarray"), group(number(0)), raw(b"b")) + b"R"
    return empty + group(number(1), shape, kind, number(0), raw(content)) + b"b"


def zero_strides(*shape: int) -> bytes:
    """Push an array of that shape over four bytes."""
    sizes, steps = group(*map(number, shape)), group(*(number(0) for _ in shape))
    arguments = group(sizes, dtype("f4"), raw(bytes(4)), number(0), steps)
    return name("numpy", "ndarray") + arguments + b"R"


def dat(path: Path, **entries: bytes) -> None:
    """Write a pickled dictionary."""
    items = b"".join(text(key) + value + b"s" for key, value in entries.items())
    path.write_bytes(b"\x80\x03}" + items + b".")


def pickles(out: Path) -> None:
    """Files of DEAP's kind."""
    labels = reconstructed(group(number(2), number(4)), dtype("f8"), bytes(64))
    scalar = name("numpy._core.multiarray", "scalar") + group(object_dtype(), raw(b"A" * 8)) + b"R"
    dat(out / "object_scalar.dat", data=scalar, labels=labels)
    array = name("numpy", "ndarray")
    objects = array + group(group(number(1)), object_dtype(), raw(b"A" * 8)) + b"R"
    dat(out / "object_array.dat", data=array + group(objects) + b"R", labels=labels)
    for file in ("object_scalar.dat", "object_array.dat"):
        case(
            out / file,
            "bytes of the file become an object's address",
            "refused in a line; never a signal",
        )
    dat(out / "zero_strides.dat", data=zero_strides(40000, 40, 8064), labels=zero_strides(40000, 4))
    case(
        out / "zero_strides.dat",
        "claims 48 GB by strides of zero",
        "refused before memory is asked for",
    )
    body = raw(b"A" * 1000)
    for _ in range(22):
        body = name("_codecs", "encode") + group(body, text("hex")) + b"R"
    (out / "nested_encoding.dat").write_bytes(b"\x80\x03" + body + b".")
    case(
        out / "nested_encoding.dat",
        "doubles 22 times while it is read",
        "refused; only latin1 is ever asked for",
    )


def edf(path: Path, duration: str, records: int = 1, samples: int = 128) -> None:
    """Write an EDF of four channels."""
    names = ["Fz", "Cz", "Pz", "Oz"]
    count = len(names)
    fields = [
        ("0", 8),
        ("", 80),
        ("", 80),
        ("01.01.01", 8),
        ("01.01.01", 8),
        (256 * (count + 1), 8),
    ]
    fields += [("", 44), (records, 8), (duration, 8), (count, 4)]
    fields += [(n, 16) for n in names] + [("", 80)] * count + [("uV", 8)] * count
    fields += [(v, 8) for v in ("-100", "100", "-32768", "32767") for _ in names]
    fields += [("", 80)] * count + [(samples, 8)] * count + [("", 32)] * count
    header = "".join(str(value).ljust(width)[:width] for value, width in fields)
    path.write_bytes(header.encode() + bytes(2 * count * samples * records))


def recordings(out: Path) -> None:
    """EEG whose header lies."""
    for word in ("1e-9", "nan", "0", "-1"):
        edf(out / f"duration_{word}.edf", word)
    case(
        out / "duration_*.edf",
        "a record lasts 1e-9, nan, 0 or -1 s",
        "a line that names the header's field",
    )
    header = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]"]
    header += [
        "DataFile=../secret.bin",
        "MarkerFile=",
        "DataFormat=BINARY",
        "DataOrientation=MULTIPLEXED",
    ]
    header += [
        "NumberOfChannels=4",
        "SamplingInterval=7812.5",
        "[Binary Infos]",
        "BinaryFormat=INT_16",
    ]
    header += [
        "[Channel Infos]",
        *(f"Ch{i + 1}={n},,1,uV" for i, n in enumerate(("Fz", "Cz", "Pz", "Oz"))),
    ]
    (out / "inside").mkdir(exist_ok=True)
    (out / "inside" / "elsewhere.vhdr").write_text("\n".join(header) + "\n")
    (out / "secret.bin").write_bytes(
        np.random.default_rng(0).integers(-99, 99, 4096).astype("<i2").tobytes()
    )
    case(
        out / "inside",
        "elsewhere.vhdr names ../secret.bin as its data",
        "refused: data lie beside the header",
    )


def videos(out: Path) -> None:
    """Lists of files under the names of videos."""
    with av.open(str(out / "private.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(50):
            picture = np.full((240, 320, 3), 5 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (out / "playlist.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nprivate.ts\n#EXT-X-ENDLIST\n"
    )
    (out / "list.mp4").write_text("ffconcat version 1.0\nfile private.ts\n")
    case(
        out / "playlist.m3u8, list.mp4",
        "opens another file, private.ts",
        "refused: no playlist is a video",
    )


def bombs(out: Path) -> None:
    """Small files that claim much."""
    side = 30000

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (out / "pictures" / "happy").mkdir(parents=True, exist_ok=True)
    (out / "pictures" / "happy" / "large.png").write_bytes(png)
    case(
        out / "pictures",
        "900 million pixels in a small PNG, for pre-training",
        "refused by its header, with its size",
    )
    rows = 20_000_000
    columns = {
        n: pa.array(np.zeros(rows, np.int32)).dictionary_encode()
        for n in ("subject", "trial", "label")
    }
    pq.write_table(pa.table(columns), out / "rows.parquet", compression="zstd")
    case(out / "rows.parquet", f"a manifest of {rows:,} rows", "refused by its row count")
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (out / "aliases.yaml").write_text(
        "\n".join(levels).replace("a8: &a8", "training:\n  epochs:") + "\n"
    )
    case(
        out / "aliases.yaml",
        "aliases of aliases of aliases in training.epochs",
        "a short line at once",
    )
    values = ", ".join(str(i) for i in range(1, 100))
    keys = ("epochs", "batch_size", "seed", "warmup")
    grid = ", ".join(f"training.{key}: [{values}]" for key in keys)
    (out / "grid.yaml").write_text(f"experiments: {{many: {{grid: {{{grid}}}}}}}\n")
    case(out / "grid.yaml", "a grid of 96 million experiments", "refused with the number, at once")


def links(out: Path) -> None:
    """An HDF5 file that reaches into others."""
    with h5py.File(out / "external.h5", "w") as file:
        file.create_dataset("bag", (2, 4), "i4", external=[("secret.bin", 0, 32)])
        file["tokens"] = h5py.ExternalLink("other.h5", "/tokens")
    case(
        out / "external.h5",
        "an HDF5 whose data lie in another file",
        "refused where one of our files is read",
    )


def labels(out: Path) -> None:
    """A manifest whose labels do something elsewhere."""
    words = ["=1+1", "@SUM(A1)", "<script>alert(1)</script>", "red\x1b[31m", "a\u202eb"]
    lines = ["subject,trial,stimulus,eeg_file,eeg_start,eeg_stop,label"]
    lines += [f'p01,{i + 1},v{i},e.fif,{3 + 8 * i},{9 + 8 * i},"{w}"' for i, w in enumerate(words)]
    (out / "labels.csv").write_text("\n".join(lines) + "\n")
    case(
        out / "labels.csv",
        "labels that are formulas, HTML, terminal codes",
        "text everywhere, or refused by row",
    )


def models(out: Path) -> None:
    """A model's folder with code in it."""
    folder = out / "model_with_code"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps(
            {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd", "AutoModel": "odd.Odd"}}
        )
    )
    (folder / "odd.py").write_text("raise SystemExit('code of the model folder was run')\n")
    case(
        folder,
        "a backbone that asks to run its own code",
        "refused, on a terminal too, without a question",
    )


def write(out: Path) -> None:
    """Write all files to the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    ROWS.clear()
    for make in (pickles, recordings, videos, bombs, links, labels, models):
        make(out)
    table = ["| what | hostile in | right |", "|---|---|---|"]
    table += [f"| {' | '.join(row)} |" for row in ROWS]
    (out / "README.md").write_text("# Hostile inputs\n\n" + "\n".join(table) + "\n")


def main() -> None:
    """Write them to the folder that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the folder to write")
    out = parser.parse_args().out
    write(out)
    print(f"wrote {out}: {len(ROWS)} cases")


if __name__ == "__main__":
    main()
