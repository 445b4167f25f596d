"""What the server says of how it answers."""

from __future__ import annotations

from typing import Any


def stages(plan: Any) -> set[str]:
    """The names of all stages of a plan, of a query or of an aggregation."""
    return {found["stage"] for found in _walk(plan) if isinstance(found.get("stage"), str)}


def indexes(plan: Any) -> set[str]:
    """The names of the indexes that a plan reads."""
    return {found["indexName"] for found in _walk(plan) if "indexName" in found}


def winning(explained: dict[str, Any]) -> Any:
    """The plan that is carried out: of a query, or of the part of an aggregation that the query engine does."""
    if "stages" in explained:
        explained = explained["stages"][0]["$cursor"]
    return explained["queryPlanner"]["winningPlan"]


def examined(explained: dict[str, Any]) -> int:
    """How many documents were looked at."""
    if "stages" in explained:
        explained = explained["stages"][0]["$cursor"]
    return int(explained["executionStats"]["totalDocsExamined"])


def _walk(plan: Any) -> list[dict[str, Any]]:
    if isinstance(plan, dict):
        return [plan, *(found for value in plan.values() for found in _walk(value))]
    return [found for value in plan for found in _walk(value)] if isinstance(plan, list) else []
