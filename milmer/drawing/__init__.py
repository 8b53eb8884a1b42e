"""SVG panels and head maps, for the report and for the page of a prediction."""
