"""Every step names the deployment that it needs, in words that people read in the log and in `/ready`."""

from __future__ import annotations

from watcher.steps import Deployment, Step


def test_no_two_steps_are_told_alike() -> None:
    """A retry of one would be taken for one of the other, and its end for the other's; equal members are aliases."""
    assert len({str(step) for step in Step}) == len(Step.__members__)


def test_a_reason_begins_with_the_deployment_that_is_at_fault() -> None:
    """Or else the wrong people are called."""
    assert f"{Step.WRITE.deployment.phrase}: {Step.WRITE}" == "history deployment: writing history"
    assert Step.LISTEN.deployment.phrase == "watched deployment"
    assert Deployment.EITHER.phrase == "watched or history deployment"
