"""The app at Panel's Jupyter route: ``panel-preview/render/binder/app.py``, behind the address of a Jupyter server.

A Jupyter server has no route to the app's sounds and pictures, so they are embedded; ``eegviz app`` serves them as files.
"""

import os
from pathlib import Path

import panel as pn

if pn.state.rel_path:
    # In a kernel panel-material-ui asks a server elsewhere for its script, although the Jupyter server has it too. The library
    # puts its version and the script's name behind this address: here they end in the query.
    script = f"{pn.state.rel_path}/static/extensions/panel-material-ui/panel-material-ui.bundle.js"
    os.environ.setdefault("PANEL_MATERIAL_UI_CDN_ROOT", f"{script}?v=")

from eegviz import catalogue
from eegviz.app import create_app

create_app(catalogue.find([Path(__file__).resolve().parents[1] / "reports" / "demo"])).servable()
