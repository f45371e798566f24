"""Bring in the JavaScript that the book's pages need, so that they work with no network (`make vendor`).

Needs `npm` (only for `npm pack`, nothing is built) and the book's environment, whose anywidget supplies its own
bundle: that one always matches the Python side. What is brought in, and under which licence: `_static/LICENSES.md`.
`_static/widgets/setup.js` and `_static/kdlib.css` are this project's own and are left alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "_static"

# package and version -> {file in the package: place under _static}
PACKAGES = {
    "requirejs@2.3.8": {"require.js": "widgets/require.js"},
    "@jupyter-widgets/html-manager@1.0.15": {
        "dist/embed-amd.js": "widgets/embed-amd.js",
        # Font Awesome 5, for the icons of Play and of buttons; the bundle asks for these very names
        "dist/1551f4f60c37af51121f.woff2": "widgets/1551f4f60c37af51121f.woff2",
        "dist/7a3337626410ca2f4071.woff2": "widgets/7a3337626410ca2f4071.woff2",
        "dist/d878b0a6a1144760244f.woff2": "widgets/d878b0a6a1144760244f.woff2",
    },
    # SVG output needs no font files, so the same single file also serves the pages `kdlib run` writes.
    "mathjax@3.2.2": {"es5/tex-svg.js": "mathjax/tex-svg.js", "LICENSE": "mathjax/LICENSE"},
}


def fetch(package: str, files: dict[str, str], folder: Path) -> None:
    """Download one npm package into `folder` and copy the named files out of it."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        for name, place in files.items():
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise FileNotFoundError(f"{package} has no file {name}")
            target = STATIC / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(member.read())
            print(f"{target.relative_to(STATIC.parent)}: {target.stat().st_size:,} bytes, from {package}")


def main() -> None:
    """Fetch every package and copy anywidget's bundle out of the running environment."""
    with tempfile.TemporaryDirectory() as folder:
        for package, files in PACKAGES.items():
            fetch(package, files, Path(folder))
    bundle = Path(sys.prefix) / "share/jupyter/nbextensions/anywidget/index.js"
    shutil.copyfile(bundle, STATIC / "widgets/anywidget.js")
    print(f"_static/widgets/anywidget.js: {bundle.stat().st_size:,} bytes, from the installed anywidget")


if __name__ == "__main__":
    main()
