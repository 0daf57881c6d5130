"""The app: Panel views of `eegviz.state`, and the server that shows them. Panel is imported here and nowhere else.

Functions: `create_app` (the page of a session), `serve` (the server).
"""

from eegviz.app.page import create_app
from eegviz.app.server import serve

__all__ = ["create_app", "serve"]
