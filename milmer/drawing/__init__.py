"""SVG panels and head maps, for the report and for a prediction's page."""
