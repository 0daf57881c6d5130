"""A real browser for tests: Debian's (or any) Chromium, headless, cut off from the network.

Where there is no browser a test skips and says why; in continuous integration (environment variable ``CI``) it fails,
because there a skip would hide that nothing was looked at.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


def find_browser() -> str:
    """Path of a Chromium, or a skip (a failure in CI) with the reason."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    missing(f"no browser: none of {', '.join(NAMES)} is on the PATH (Debian: apt-get install chromium)")
    raise AssertionError("unreachable")


def missing(reason: str) -> None:
    """Skip the test for `reason`; fail instead where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def browser() -> Iterator:
    """A headless Chromium, driven through playwright."""
    path = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install -e '.[test]')")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def offline_page(running, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator:
    """Open a file with the network off; yields the page with the lists ``requests`` and ``problems`` beside it.

    Yields
    ------
    (page, requests, problems)
        Every address asked for, and every console error, page error and failed request.
    """
    context = running.new_context(
        offline=True, viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    requests, problems = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:200]}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    try:
        page.goto(Path(path).resolve().as_uri(), wait_until="load")
        yield page, requests, problems
    finally:
        context.close()


def wait_until(page, expression: str, *, seconds: float = 20) -> None:
    """Wait for a JavaScript expression to be true. (playwright's own wait evaluates inside the page, which our pages'
    content security policy forbids.)"""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > deadline:
            pytest.fail(f"not true after {seconds:g} s: {expression}")
        page.wait_for_timeout(50)


def serious_findings(page) -> list[str]:
    """axe-core's serious and critical findings, one line each; skips (fails in CI) where axe is not installed."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing("axe-playwright-python is not installed (pip install -e '.[test]')")
    found = Axe().run(page).response["violations"]
    return [
        f"{v['impact']} {v['id']}: {n['html'][:160]} | {n.get('failureSummary', '')[:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for n in v["nodes"]
    ]
