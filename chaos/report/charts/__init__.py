"""The charts of pages: Vega-Lite specifications as plain data, and the script that draws them in the page."""
