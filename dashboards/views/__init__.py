"""The pages: one script each, run by `dashboards/app.py`."""
