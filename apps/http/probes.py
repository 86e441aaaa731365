"""Probes: does this process answer, and can it do its work. They need no token; `/livez` needs no database."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["probes"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """This process answers requests."""
    return {"status": "ok"}
