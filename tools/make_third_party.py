#!/usr/bin/env python3
"""Write THIRD_PARTY.md: the licence of each package that Milmer installs by default.

    tools/make_third_party.py > THIRD_PARTY.md

Names and licences are those that the installed packages state of themselves; versions are those of
requirements.lock.
"""

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]

TEXT = """# Third-party software

Milmer itself is under the [BSD 3-Clause License](LICENSE). It installs the packages below, each under its own licence; of theirs, one file is in this repository: the weights of the face detector YuNet, under the [MIT License](milmer/faces/face_detection_yunet_LICENSE.txt). This page is made by `make docs` from what the packages state of themselves.

## What this means for an image that you pass on
Code that only runs is no matter. Who passes on a container image, or an archive of an environment, passes on all that is in it:

* **PyAV's wheel (`av`) bundles FFmpeg with x264 and x265, which are under the GPL, version 2 or later.** An image with it has to be passed on under the terms of the GPL: with the corresponding source of these libraries or an offer of it, and without further restrictions. An FFmpeg without them avoids this: `pip install av --no-binary av` against FFmpeg libraries that were configured without `--enable-gpl`. Milmer only decodes.
* **OpenCV's wheel bundles FFmpeg under the LGPL 2.1**: pass on its licence and where its source is.
* **torch's builds with CUDA bring NVIDIA's libraries**, whose own terms say which of them may be passed on. The builds for CPUs bring none.

The vision encoder is downloaded by you, not passed on with Milmer; a pre-trained model and the recordings that it was trained on have terms of their own.

## Packages
| package | version | licence |
|---|---|---|
"""  # noqa: E501


def default_packages() -> dict[str, Distribution]:
    """The distributions that the project's dependencies bring, by canonical name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    packages: dict[str, Distribution] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ["", *requirement.extras]
        )
        if name in packages or not applies:
            continue
        try:
            packages[name] = distribution(name)
        except PackageNotFoundError:  # of another system or Python
            continue
        waiting += [Requirement(line) for line in packages[name].requires or ()]
    return dict(sorted(packages.items()))


def licence(package: Distribution) -> str:
    """The licence that a package states: an expression, classifiers, a field, or a file's title."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [
        line.rpartition(" :: ")[2].removeprefix("OSI Approved")
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    texts = [metadata.get("License") or ""]
    texts += [f.read_text() for f in package.files or () if f.name.upper().startswith("LICEN")]
    titles = [text.strip().splitlines()[0][:60] for text in texts if text.strip()]
    return ", ".join(classifiers) or (titles[0] if titles else "not stated")


def locked_versions() -> dict[str, str]:
    """Versions by canonical name, as the lock files name them."""
    text = "".join((REPOSITORY / f"requirements{n}").read_text() for n in ("-torch.txt", ".lock"))
    pins = re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def main() -> None:
    """Print the page."""
    versions = locked_versions()
    rows = [
        f"| {package.metadata['Name']} | {versions[name]} | {licence(package)} |"
        for name, package in default_packages().items()
    ]
    sys.stdout.write(TEXT + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
