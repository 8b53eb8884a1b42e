"""Take the pictures of docs/images from the report of a finished demo, with a headless Chromium.

python -m tools.make_pictures results/demo
"""

import sys
import tempfile
from base64 import b64decode
from pathlib import Path

from tests.browser import Page, browser, found

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PICTURES = {"report.png": (900, 900), "report-phone.png": (390, 844)}
"""Width and height in px of the part of the report that each shows, from its top."""


def take(page: Page, report: Path, picture: Path, width: int, height: int) -> None:
    """Write the top of a report, in a window of that width, as a PNG."""
    page.open(report, width)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = page.call("Page.captureScreenshot", clip=clip)
    picture.write_bytes(b64decode(taken["data"]))


if __name__ == "__main__":
    chromium = found()
    if chromium is None:
        sys.exit("Chromium is not installed")
    IMAGES.mkdir(exist_ok=True)
    report = Path(sys.argv[1]) / "results/report/index.html"
    with tempfile.TemporaryDirectory() as profile, browser(chromium, Path(profile)) as page:
        for name, (width, height) in PICTURES.items():
            take(page, report, IMAGES / name, width, height)
