"""The app in a browser: what stands on it, and what went wrong."""

import re

import pytest

# the text of all parts of which none waits for long work
TEXT = """() => { const parts = []; const walk = (root) => { for (const node of root.querySelectorAll('*')) {
  if (node.shadowRoot) walk(node.shadowRoot); if (node.matches('.head, .body') && !node.parentNode.querySelector('.body[aria-busy="true"]'))
  parts.push(node.textContent); } }; walk(document); return parts.join(' ').trim(); }"""
ERRORS = """() => { const parts = []; const walk = (root) => { for (const node of root.querySelectorAll('*')) {
  if (node.shadowRoot) walk(node.shadowRoot); if (node.matches('.alert.error')) parts.push(node.textContent); } };
  walk(document); return parts; }"""


class Seen:
    """A page, and what went wrong on it."""

    def __init__(self, running, *, width=1100, dark=False):
        self.context = running.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        self.page = self.context.new_page()
        self.problems, self.outside = [], []
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.problems.append(f"error {error}"))
        self.page.on("console", lambda one: self.problems.append(one.text) if one.type == "error" else None)
        self.page.on("request", self._asked)

    def _asked(self, request):
        if not re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:", request.url):
            self.outside.append(request.url)

    def open(self, address, query):
        self.page.goto(f"{address}/?{query}", timeout=90_000)
        return self.until(lambda: len(self.page.evaluate(TEXT)) > 20)

    def until(self, true, seconds=120):
        for _ in range(int(seconds * 4)):
            found = true()
            if found:
                return found
            self.page.wait_for_timeout(250)
        pytest.fail(f"not there after {seconds} s; on the page: {self.page.evaluate(TEXT)[:300]!r}; {self.problems}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()
