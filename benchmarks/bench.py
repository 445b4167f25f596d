"""Everything that is measured, in one run: its own servers, the daemon, and its peers side by side.

Ratios within one run mean something on any machine; absolute figures are of the machine that is printed with them.

Usage: python benchmarks/bench.py [--quick] [--only PART]… [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import disk, earlier, lag, machine, page, plot
from benchmarks.debezium.engine import Debezium, DebeziumMissingError
from benchmarks.figures import Figures
from benchmarks.scaling import MEGABYTE, Scaling
from benchmarks.servers import Servers, servers
from benchmarks.source import Source
from benchmarks.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Callable

    Part = Callable[[Servers, Figures], None]


PARTS = ("throughput", "kinds", "lag", "scaling", "source", "disk")


def main() -> None:
    """Run the parts that are asked for, print one table, and write it down."""
    options = _options()
    figures, began, begun_at = Figures(), time.monotonic(), datetime.now(UTC)
    about: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    parts, failed = _parts(options), []
    for name in options.only or parts:
        try:
            with servers(keep=options.keep) as started:
                about |= machine.about(started.uri, debezium=not options.without_debezium)
                parts[name](started, figures)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one part must not cost all the others
            failed.append(name)
            print(f"{name}: failed: {error!r}", file=sys.stderr, flush=True)
        about |= {"begun_at": begun_at.isoformat(timespec="seconds"), "took_s": round(time.monotonic() - began)}
        about |= {"seed": options.seed, "failed": failed}
        if options.json:
            figures.write(options.json, about)
    figures.show()
    print(about)
    if options.svg:
        options.svg.write_text(plot.svg(figures.lines))
    if options.page:
        page.publish(options.page, figures.lines, about)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="small counts, to see that it works; no result")
    arguments.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    arguments.add_argument("--events", type=int, help="small updates to catch up with")
    arguments.add_argument("--repetitions", type=int, default=3, help="of the peers that ratios are of")
    arguments.add_argument("--without-debezium", action="store_true", help="neither install nor run it")
    arguments.add_argument("--without-earlier", action="store_true", help="neither make nor run the earlier build")
    arguments.add_argument("--seed", type=int, default=random.randrange(10**6), help="draws the random shapes")
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments.add_argument("--svg", type=Path, help="also draw the main figures into this file")
    arguments.add_argument("--page", type=Path, help="also write them into this page, in place of its section “A run”")
    arguments.add_argument("--publish", action="store_true", help="all three into docs/performance.{json,svg,md}")
    arguments.add_argument("--keep", action="store_true", help="leave the servers' folder for a look")
    options = arguments.parse_args()
    if options.publish:
        target = Path(__file__).resolve().parent.parent / "docs" / "performance"
        options.json, options.svg, options.page = (target.with_suffix(end) for end in (".json", ".svg", ".md"))
    return options


def _parts(options: argparse.Namespace) -> dict[str, Part]:
    quick = options.quick
    events = options.events or (20_000 if quick else 200_000)

    def throughput(started: Servers) -> Callable[[Figures], Throughput]:
        debezium = None if options.without_debezium else _debezium(started)
        before = None if options.without_earlier else _earlier()
        return lambda figures: Throughput(started, debezium, figures, before)

    def scaling(started: Servers, figures: Figures) -> None:
        part = Scaling(started, figures)
        part.events(10_000 if quick else 1_000_000)
        part.collections(5000 if quick else 20_000, 100 if quick else 1000)
        part.sizes((50 if quick else 200) * MEGABYTE)

    return {
        "throughput": lambda started, figures: throughput(started)(figures).small_updates(events, options.repetitions),
        "kinds": lambda started, figures: throughput(started)(figures).all_kinds(
            5000 if quick else 30_000, options.seed, options.repetitions
        ),
        "lag": lambda started, figures: lag.measure(started, figures, 5 if quick else 20),
        "scaling": scaling,
        "source": lambda started, figures: Source(started, figures).measure(
            5000 if quick else 30_000, 1 if quick else 3
        ),
        "disk": lambda started, figures: disk.measure(started, figures, events),
    }


def _debezium(started: Servers) -> Debezium | None:
    try:
        return Debezium(started.folder)
    except DebeziumMissingError as error:
        print(f"without Debezium: {error}", file=sys.stderr)
        return None


def _earlier() -> Path | None:
    try:
        return earlier.build()
    except earlier.NoEarlierBuildError as error:
        print(f"without the earlier build: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
