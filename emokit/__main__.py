"""Command line: ``python -m emokit demo`` and ``python -m emokit assets [seed DIR]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import emokit as ek
from emokit import pyfeat


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m emokit", description="Explore emotion in video, in a notebook."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="analyse a clip and write what there is to see")
    demo.add_argument("clip", nargs="?", help="a video; the sample clip by default")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder (default: demo)")
    assets = commands.add_parser("assets", help="list the model files, or place them by hand")
    actions = assets.add_subparsers(dest="action")
    seed = actions.add_parser("seed", help="put files brought by hand in their places")
    seed.add_argument("folder", type=Path, help="folder that holds them, itself or below")
    options = parser.parse_args(arguments)
    try:
        if options.command == "assets" and options.action == "seed":
            return _seed(options.folder)
        if options.command == "assets":
            print(ek.assets.describe(), pyfeat.describe(), sep="\n\n")
        else:
            _demo(options.clip, options.out)
    except (ek.ClipError, ek.AssetError) as error:
        print(f"emokit: {error}", file=sys.stderr)
        return 1
    return 0


def _seed(folder: Path) -> int:
    if not folder.is_dir():
        print(f"emokit: there is no folder {folder}", file=sys.stderr)
        return 1
    placed = [*ek.assets.seed(folder), *filter(None, [pyfeat.seed_weights(folder)])]
    if not placed:
        wanted = [*(asset.filename for asset in ek.assets.ASSETS.values()), pyfeat.WEIGHTS]
        print(f"emokit: {folder} holds none of {', '.join(wanted)}", file=sys.stderr)
        return 1
    print(*placed, sep="\n")
    return 0


def _demo(path: str | None, out: Path) -> None:
    clip = ek.open_clip(path) if path else ek.sample_clip()
    out.mkdir(parents=True, exist_ok=True)
    print(f"Analysing {clip.name}: {clip.duration:.1f} s")
    result = ek.analyze(clip)
    ek.save(result, out / "result.nc")
    picture = out / "overview.png"
    partial = picture.with_suffix(".partial.png")
    ek.plot(result, clip=clip).savefig(partial, dpi=150)
    partial.replace(picture)
    player = ek.play(result, clip=clip)
    player.to_html(out / "player.html")
    player.close()
    opened = f'ek.open_clip("{path}")' if path else "ek.sample_clip()"
    print(
        f"""
{out / "result.nc"}      the numbers, as an xarray DataTree: ek.load(...)
{out / "overview.png"}   one figure of it all
{out / "player.html"}    the clip beside its timelines; open it in a browser, no network needed

The same in a notebook:

    import emokit as ek
    result = ek.analyze({opened})
    ek.play(result)

`make lab` opens the first notebook.
What you see are model estimates of displayed behaviour, not of what anybody feels."""
    )


if __name__ == "__main__":
    sys.exit(main())
