"""Starts the app: `python app.py --help` lists the options. On Spaces this file is what runs."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from pinlab.cores import limit_threads

BUNDLED = Path(__file__).parent / "assets" / "illustrations"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def main() -> int:
    """Open the lab and serve it until interrupted; 2 and one line when it cannot be opened or served."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C while libraries are imported: no traceback
    limit_threads()  # before torch is imported
    on_spaces = "SPACE_ID" in os.environ
    parser = Parser(description="PinLab in the browser")
    parser.add_argument("--lab", default=str(BUNDLED), help="a lab folder (default: the bundled one)")
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_spaces else "127.0.0.1")
    port = os.environ.get("GRADIO_SERVER_PORT") or (7860 if on_spaces else None)
    parser.add_argument("--host", default=host, help="address to listen on")
    parser.add_argument("--port", type=int, default=port, help="default: the first free one")
    parser.add_argument("--checkpoints", type=Path, help="visitors may load the Qwen3-VL folders in this one")
    parser.add_argument("--hub", action="store_true", help="visitors may load checkpoints of the Hugging Face Hub")
    args = parser.parse_args()
    network = args.hub or not Path(args.lab).exists()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read, as the next, when libraries are imported
    if not network:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from pinlab.records import PinLabError
    from pinlab.ui.environment import find_address, reach_directly, uploads_folder

    try:
        find_address(args.host, args.port)
        reach_directly(args.host, network)
        with uploads_folder():
            from pinlab.lab import open_lab
            from pinlab.ui.app import Sources, serve

            serve(open_lab(args.lab), args.host, args.port, Sources(args.checkpoints, args.hub))
    except PinLabError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # once more, while it was closing
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
