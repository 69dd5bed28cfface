"""Starts the app: `python app.py --help` lists the options. On Spaces this file is what runs."""

import argparse
import os
import sys
from pathlib import Path

from pinlab.cores import limit_threads

BUNDLED = Path(__file__).parent / "assets" / "illustrations"


def main() -> int:
    """Open the lab and serve it until interrupted; 2 and one line when the lab cannot be opened."""
    limit_threads()  # before torch is imported
    on_spaces = "SPACE_ID" in os.environ
    parser = argparse.ArgumentParser(description="PinLab in the browser")
    parser.add_argument("--lab", default=str(BUNDLED), help="a lab folder (default: the bundled one)")
    parser.add_argument("--host", default="0.0.0.0" if on_spaces else "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860 if on_spaces else None, help="default: the first free one")
    parser.add_argument("--checkpoints", type=Path, help="visitors may load the Qwen3-VL folders in this one")
    parser.add_argument("--hub", action="store_true", help="visitors may load checkpoints of the Hugging Face Hub")
    args = parser.parse_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read, as the next, when libraries are imported
    if Path(args.lab).exists() and not args.hub:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from pinlab.lab import open_lab
    from pinlab.records import PinLabError
    from pinlab.ui.app import Sources, serve

    try:
        serve(open_lab(args.lab), args.host, args.port, Sources(args.checkpoints, args.hub))
    except PinLabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
