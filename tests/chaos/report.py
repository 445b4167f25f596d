"""What a run says of itself: a line for each round, a summary by kind, and the same as JSON."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.campaign import Outcome, Round

HEAD = (
    f"{'round':>5}  {'kind':<19} {'history':<7} {'trouble s':>9} {'recovery s':>10} {'events':>7} {'documents':>9} "
    f"{'as-of':>6} {'unknown':>7} {'daemon MB':>9} {'disk MB':>7}"
)


def line(each: Round) -> str:
    """A round in one line, below `HEAD`."""
    compared = each.compared
    as_of = compared.get("as-of", 0) + compared.get("collections as-of", 0)
    return (
        f"{each.number:>5}  {each.kind:<19} {'apart' if each.apart else 'same':<7} {each.trouble_s:>9.2f} "
        f"{each.recovery_s:>10.2f} {compared.get('events', 0):>7} {compared.get('documents', 0):>9} {as_of:>6} "
        f"{each.unknown:>7} {each.daemon_mb:>9} {each.disk_mb:>7}"
    )


def summary(outcome: Outcome) -> str:
    """The whole run."""
    lines = ["", f"{'kind':<19} {'rounds':>6} {'recovery p50 s':>14} {'longest s':>9} {'events':>9}"]
    for kind in sorted({each.kind for each in outcome.rounds}):
        rounds = [each for each in outcome.rounds if each.kind == kind]
        times = [each.recovery_s for each in rounds]
        events = sum(each.compared.get("events", 0) for each in rounds)
        lines.append(f"{kind:<19} {len(rounds):>6} {median(times):>14.2f} {max(times):>9.2f} {events:>9}")
    compared = ", ".join(f"{number:,} {what}" for what, number in outcome.compared.items())
    unknown = sum(each.unknown for each in outcome.rounds)
    lines += ["", f"seed {outcome.seed}: {len(outcome.rounds)} rounds in {outcome.seconds / 60:.1f} minutes"]
    lines += [f"compared: {compared}; {unknown:,} writes of unknown outcome looked up"]
    if outcome.failure is None:
        lines.append("lost 0, twice 0, order kept, as-of equal")
    else:
        lines.append(f"FAILED\n{outcome.failure}")
    return "\n".join(lines)


def write_json(outcome: Outcome, file: Path) -> None:
    """The whole run for programs."""
    document = {
        "seed": outcome.seed,
        "seconds": round(outcome.seconds, 1),
        "failure": outcome.failure,
        "compared": dict(outcome.compared),
        "rounds": [each._asdict() for each in outcome.rounds],
    }
    file.write_text(json.dumps(document, indent=2) + "\n")
